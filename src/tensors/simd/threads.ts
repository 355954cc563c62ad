/**
 * Threads that share the work of a kernel: the same compiled module, instantiated once a thread on one shared memory.
 *
 * A job is a function of the module, its arguments and a number of units; it is cut into chunks that threads claim one after the other, the calling
 * thread among them, so a thread that is slow, asleep or not yet started delays nobody. A kernel's result must not depend on where it is cut.
 * Idle threads spin for some microseconds, then sleep until the next job; they never keep the process alive.
 */
import { startThread, type Thread, warn } from '../../platform/threads.js';
import type { Heap } from './heap.js';
import { KERNEL_FUNCTIONS, type KernelFunction, type KernelModule } from './module.js';

export interface Cut {
  /** Chunks start at multiples of this many units (default 1). */
  readonly grain?: number;
  /** Roughly how long one unit takes, in nanoseconds: short jobs are not shared. */
  readonly cost: number;
  /** Floats of memory that each thread needs to work in. */
  readonly scratch?: number;
}

/** Positions in the control block: integers that all threads see, then the arguments as doubles. */
const JOB = 0; // counts jobs; threads sleep on it
const TICKET = 1; // job number and next chunk in one integer, so that no thread can claim a chunk of a job that is over; -1: none
const DONE = 2; // job number and chunks finished, likewise: a chunk of a job that was cut off, as by vm's watchdog, does not count in the next
const FUNCTION = 3;
const ARGUMENTS = 4;
const UNITS = 5;
const CHUNKS = 6;
const CHUNK_SIZE = 7;
const SCRATCH = 8;
const SCRATCH_BYTES = 9;
const FAILED = 10;
const WORKERS = 16; // from here on, who works in each place: a worker that was replaced, and is still about, takes no part
export const MAXIMUM_THREADS = 64;
const NUMBERS = 4 * (WORKERS + MAXIMUM_THREADS); // where the arguments start, in bytes
const MAXIMUM_ARGUMENTS = 32;
const LAYOUT = { JOB, TICKET, DONE, FUNCTION, ARGUMENTS, UNITS, CHUNKS, CHUNK_SIZE, SCRATCH, SCRATCH_BYTES, FAILED, WORKERS, NUMBERS };

/** Work below this many nanoseconds is not worth waking a thread. */
const WORTH_SHARING = 12_000;
/** Loads before an idle thread sleeps, some tens of microseconds. */
const SPINS = 30_000;

export class Threads {
  readonly #integers: Int32Array;
  readonly #arguments: Float64Array;
  readonly #functions: readonly KernelFunction[];
  readonly #names = new Map<KernelName, number>(KERNEL_FUNCTIONS.map((name, at) => [name, at]));
  readonly #workers: Thread[] = [];
  #started = 0;
  #scratch = 0;
  #scratchBytes = 0;

  constructor(
    private readonly module: WebAssembly.Module,
    private readonly kernels: KernelModule,
    private readonly heap: Heap,
  ) {
    // Of a memory of its own: a browser has the constructor SharedArrayBuffer on isolated pages alone, and shared memory everywhere.
    const control = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer;
    this.#integers = new Int32Array(control, 0, NUMBERS / 4);
    this.#arguments = new Float64Array(control, NUMBERS, MAXIMUM_ARGUMENTS);
    this.#integers[TICKET] = -1;
    this.#functions = KERNEL_FUNCTIONS.map((name) => kernels[name]);
  }

  /** How many work together, the calling one included. */
  get count(): number {
    return this.#workers.length + 1;
  }

  set count(count: number) {
    while (this.#workers.length > count - 1) {
      this.#integers[WORKERS + this.#workers.length] = 0;
      this.#workers.pop()?.end();
    }
    while (this.#workers.length < count - 1) this.#workers.push(this.#start(this.#workers.length + 1));
    this.#scratchBytes = 0;
  }

  /** Runs a kernel over units 0 to `units`; returns when all are done. */
  run(name: KernelName, args: readonly number[], units: number, { grain = 1, cost, scratch = 0 }: Cut): void {
    if (units === 0) return;
    if (scratch * 4 > this.#scratchBytes) this.#makeScratch(scratch * 4);
    const shares = Math.min(4 * this.count, Math.floor((units * cost) / WORTH_SHARING) + 1);
    const chunkSize = Math.ceil(units / shares / grain) * grain;
    const chunks = Math.ceil(units / chunkSize);
    if (this.count === 1 || chunks === 1) {
      this.kernels.setScratch(this.#scratch);
      this.kernels[name](...args, 0, units);
      return;
    }
    const at = this.#integers;
    Atomics.store(at, TICKET, -1);
    const job = (at[JOB] + 1) & 0x3ffff;
    Atomics.store(at, DONE, job << 12);
    at[FAILED] = 0;
    at[FUNCTION] = this.#names.get(name) as number;
    at[ARGUMENTS] = args.length;
    at[UNITS] = units;
    at[CHUNKS] = chunks;
    at[CHUNK_SIZE] = chunkSize;
    at[SCRATCH] = this.#scratch;
    at[SCRATCH_BYTES] = this.#scratchBytes;
    this.#arguments.set(args);
    Atomics.store(at, TICKET, job << 12);
    Atomics.add(at, JOB, 1);
    Atomics.notify(at, JOB);
    takeShare(LAYOUT, at, this.#arguments, this.#functions, this.kernels.setScratch, 0, 0);
    let spins = 0;
    for (let done = Atomics.load(at, DONE); (done & 4095) < chunks; done = Atomics.load(at, DONE)) {
      if (++spins > SPINS) Atomics.wait(at, DONE, done);
    }
    if (Atomics.load(at, FAILED)) throw new Error(`the kernel ${name} failed`);
  }

  dispose(): void {
    this.count = 1;
  }

  #makeScratch(bytes: number): void {
    if (this.#scratch) this.heap.release(this.#scratch);
    this.#scratchBytes = Math.ceil(bytes / 64) * 64;
    this.#scratch = this.heap.allocate(this.#scratchBytes * this.count);
  }

  /** The worker's program is made of the functions below, so it needs no file: bundlers, CommonJS and notebooks all find it. */
  #start(slot: number): Thread {
    const number = ++this.#started;
    this.#integers[WORKERS + slot] = number;
    const program = `(data) => (${work})(data, ${takeShare})`;
    const control = this.#integers.buffer;
    const workerData = {
      layout: LAYOUT,
      module: this.module,
      memory: this.heap.memory,
      control,
      names: KERNEL_FUNCTIONS,
      slot,
      number,
      spins: SPINS,
    };
    // It claims nothing, so the others do its share.
    return startThread(program, workerData, ({ message }) => warn(`a thread of the simd backend does not run: ${message}`));
  }
}

type KernelName = (typeof KERNEL_FUNCTIONS)[number];

/** Claims chunks of the present job until there are none left. Refers to nothing outside itself. */
function takeShare(
  layout: typeof LAYOUT,
  integers: Int32Array,
  numbers: Float64Array,
  functions: readonly KernelFunction[],
  setScratch: KernelFunction,
  slot: number,
  worker: number,
): void {
  for (;;) {
    const ticket = Atomics.load(integers, layout.TICKET);
    const chunk = ticket & 4095;
    const chunks = integers[layout.CHUNKS];
    if (ticket < 0 || chunk >= chunks || integers[layout.WORKERS + slot] !== worker) return;
    // What is read here belongs to this ticket's job if the ticket is still the same below.
    const kernel = functions[integers[layout.FUNCTION]];
    const args = Array.from(numbers.subarray(0, integers[layout.ARGUMENTS]));
    const start = chunk * integers[layout.CHUNK_SIZE];
    const end = Math.min(start + integers[layout.CHUNK_SIZE], integers[layout.UNITS]);
    const scratch = integers[layout.SCRATCH] + slot * integers[layout.SCRATCH_BYTES];
    if (Atomics.compareExchange(integers, layout.TICKET, ticket, ticket + 1) !== ticket) continue;
    let failed = 0;
    try {
      setScratch(scratch);
      kernel(...args, start, end);
    } catch {
      failed = 1;
    }
    for (let done = Atomics.load(integers, layout.DONE); done >> 12 === ticket >> 12; done = Atomics.load(integers, layout.DONE)) {
      if (failed) Atomics.store(integers, layout.FAILED, 1);
      if (Atomics.compareExchange(integers, layout.DONE, done, done + 1) !== done) continue;
      if ((done & 4095) + 1 === chunks) Atomics.notify(integers, layout.DONE);
      break;
    }
  }
}

interface WorkerData {
  readonly layout: typeof LAYOUT;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: SharedArrayBuffer;
  readonly names: readonly KernelName[];
  readonly slot: number;
  /** Which worker this is, of all that were started. */
  readonly number: number;
  readonly spins: number;
}

/** What a worker does for ever. Refers to nothing outside itself. */
function work({ layout, module, memory, control, names, slot, number, spins }: WorkerData, share: typeof takeShare): void {
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as KernelModule;
  const functions = names.map((name) => kernels[name]);
  const integers = new Int32Array(control, 0, layout.NUMBERS / 4);
  const numbers = new Float64Array(control, layout.NUMBERS);
  for (;;) {
    const job = Atomics.load(integers, layout.JOB);
    share(layout, integers, numbers, functions, kernels.setScratch, slot, number);
    let idle = 0;
    while (Atomics.load(integers, layout.JOB) === job && idle < spins) idle++;
    if (idle === spins) Atomics.wait(integers, layout.JOB, job);
  }
}
