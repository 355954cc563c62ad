/**
 * One shared WebAssembly memory, given out in blocks and taken back: tensors come and go a few thousand times a training step.
 *
 * First fit among free blocks of about the size asked for; neighbours that are both free become one. Memory grows where no block fits, up to
 * WebAssembly's 4 GB, and never shrinks: what was freed is used again.
 */

/** Blocks start at multiples of this many bytes: a cache line, so that no two threads write to the same one. */
const UNIT = 64;
const PAGE = 65536;
/** Pages taken at once when memory grows (64 MB); a page costs nothing until it is written to. */
const GROWTH = 1024;
/** WebAssembly's own limit for 32-bit addresses; assembly/ is compiled for it. */
const MAXIMUM_PAGES = 65536;

export class Heap {
  readonly memory: WebAssembly.Memory;
  #buffer: SharedArrayBuffer;
  /** Sizes in bytes of the blocks given out, by start. */
  readonly #used = new Map<number, number>();
  /** The free blocks, twice: size by start, start by end. */
  readonly #freeSizes = new Map<number, number>();
  readonly #freeStarts = new Map<number, number>();
  /** Starts of the free blocks, by size class. */
  readonly #bins: readonly Set<number>[] = Array.from({ length: 4 * 27 }, () => new Set());
  #bytesInUse = 0;

  /** @param maximumBytes beyond which `allocate` throws; at most (and by default) 4 GB */
  constructor(readonly maximumBytes: number = MAXIMUM_PAGES * PAGE) {
    const initial = Math.min(GROWTH, Math.floor(maximumBytes / PAGE));
    this.memory = new WebAssembly.Memory({ initial, maximum: MAXIMUM_PAGES, shared: true });
    this.#buffer = this.memory.buffer;
    this.#addFree(UNIT, initial * PAGE - UNIT); // address 0 stands for "no tensor"
  }

  /** Bytes given out. */
  get bytesInUse(): number {
    return this.#bytesInUse;
  }

  /** Bytes the memory has grown to. */
  get bytes(): number {
    return this.#buffer.byteLength;
  }

  /**
   * @returns the address of `bytes` bytes of memory, which hold anything
   * @throws RangeError where the maximum would be passed
   */
  allocate(bytes: number): number {
    const size = Math.max(1, Math.ceil(bytes / UNIT)) * UNIT;
    const start = this.#find(size) ?? this.#grow(size);
    const found = this.#removeFree(start);
    if (found > size) this.#addFree(start + size, found - size);
    this.#used.set(start, size);
    this.#bytesInUse += size;
    return start;
  }

  /** Gives a block back; its address comes from `allocate`. */
  release(start: number): void {
    const size = this.#used.get(start);
    if (size === undefined) throw new Error(`no block in use starts at ${start}: freed twice?`);
    this.#used.delete(start);
    this.#bytesInUse -= size;
    this.#merge(start, size);
  }

  /** The numbers at an address; valid as long as the block is. */
  floats(start: number, length: number): Float32Array {
    return new Float32Array(this.#buffer, start, length);
  }

  integers(start: number, length: number): Int32Array {
    return new Int32Array(this.#buffer, start, length);
  }

  doubles(start: number, length: number): Float64Array {
    return new Float64Array(this.#buffer, start, length);
  }

  #find(size: number): number | undefined {
    const own = sizeClass(size);
    for (const start of this.#bins[own]) if ((this.#freeSizes.get(start) as number) >= size) return start;
    for (let bin = own + 1; bin < this.#bins.length; bin++) for (const start of this.#bins[bin]) return start;
    return undefined;
  }

  /** Adds memory at the end, so that a free block of the size is there; returns its start. */
  #grow(size: number): number {
    const end = this.bytes;
    const start = this.#freeStarts.get(end) ?? end;
    const needed = Math.ceil((start + size - end) / PAGE);
    const available = Math.floor(this.maximumBytes / PAGE) - end / PAGE;
    if (needed > available || !this.#tryGrow(Math.min(Math.max(needed, GROWTH), available), needed)) {
      const megabytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MB`;
      throw new RangeError(
        `the simd backend's memory is full: ${megabytes(this.#bytesInUse)} in use of at most ${megabytes(this.maximumBytes)}, and no room for another ` +
          `${megabytes(size)}; use smaller batches, or dispose tensors`,
      );
    }
    return this.#merge(end, this.bytes - end);
  }

  #tryGrow(...sizes: readonly number[]): boolean {
    for (const pages of sizes) {
      try {
        this.memory.grow(pages);
        this.#buffer = this.memory.buffer; // views of the smaller buffer stay valid: it is the same memory
        return true;
      } catch {
        // less may still be had
      }
    }
    return false;
  }

  /** Makes a free block, joined with free neighbours; returns its start. */
  #merge(start: number, size: number): number {
    let from = start;
    let length = size;
    const before = this.#freeStarts.get(start);
    if (before !== undefined) {
      length += this.#removeFree(before);
      from = before;
    }
    if (this.#freeSizes.has(start + size)) length += this.#removeFree(start + size);
    this.#addFree(from, length);
    return from;
  }

  #addFree(start: number, size: number): void {
    this.#freeSizes.set(start, size);
    this.#freeStarts.set(start + size, start);
    this.#bins[sizeClass(size)].add(start);
  }

  #removeFree(start: number): number {
    const size = this.#freeSizes.get(start) as number;
    this.#freeSizes.delete(start);
    this.#freeStarts.delete(start + size);
    this.#bins[sizeClass(size)].delete(start);
    return size;
  }
}

/** Four classes to a doubling: every block of a higher class is larger than any of a lower one. */
function sizeClass(bytes: number): number {
  const units = bytes / UNIT;
  const doublings = 31 - Math.clz32(units);
  return 4 * doublings + (doublings >= 2 ? (units >>> (doublings - 2)) & 3 : ((units << 2) >>> doublings) & 3);
}
