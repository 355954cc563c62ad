/** What a browser tab is told that asks to write: it has no disk, and what it keeps it keeps itself. */
export function noDisk(what: string): never {
  throw new Error(`${what}: a browser tab has no disk; it reads from addresses, and what is to be kept is sent or stored by the page`);
}
