/**
 * Memory for the length of one call. Each thread has its own instance of the module, and with it its own place to work in.
 */
let place: usize = 0;

/** Called before a kernel that needs scratch memory. */
export function setScratch(at: usize): void {
  place = at;
}

// @ts-ignore: decorator
@inline
export function scratch(): usize {
  return place;
}
