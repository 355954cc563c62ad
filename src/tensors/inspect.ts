/** What this machine can compute on: every backend started and measured, or the reason and the remedy; for `search-e1 doctor` and the notebooks' first cell. */
import { environment } from '../platform/environment.js';
import { machine, printedBy } from '../platform/machine.js';
import { type BackendName, type BackendReport, backendNames, startBackend } from './backend.js';
import { type BackendSpeed, measureSpeed } from './measure.js';
import { setUpTensorFlow } from './tensorflow/start.js';
import { BackendUnavailable } from './unavailable.js';
import { webGpuDevice } from './webgpu/device.js';

/** What 32-bit addresses reach: the simd backend's memory. */
const WEBASSEMBLY_BYTES = 2 ** 32;

/** An NVIDIA card, as `nvidia-smi` says. */
export interface GraphicsCard {
  /** Of the card, such as `NVIDIA H200`. */
  readonly name: string;
  /** Version of the driver. */
  readonly driver: string;
  /** Bytes. */
  readonly memory: number;
  /** Bytes that nobody uses now. */
  readonly free: number;
}

/** One backend on this machine: started and measured, or why not. */
export interface BackendState {
  /** Which. */
  readonly name: BackendName;
  /** Undefined where it does not start. */
  readonly report?: BackendReport;
  /** As measured after its start; undefined where it does not start. */
  readonly speed?: BackendSpeed;
  /** Bytes that a model and its training may take; null where nobody says. */
  readonly memory?: number | null;
  /** Bytes of one tensor at most, where there is a limit below the memory. */
  readonly largestTensor?: number;
  /** Why it does not start, or does not do what its name promises. */
  readonly reason?: string;
  /** The one command that would change that. */
  readonly remedy?: string;
}

/** What this machine can compute on. */
export interface Inspection {
  /** Its name. */
  readonly processor: string;
  /** Processors that the system counts. */
  readonly cores: number;
  /** Bytes; what a container allows where it is less than the machine has. */
  readonly memory: number;
  /** Bytes that nobody uses now. */
  readonly free: number;
  /** NVIDIA's, by `nvidia-smi`; others are seen by the webgpu backend alone. */
  readonly cards: readonly GraphicsCard[];
  /** From fast to slow, those that do not start too. */
  readonly backends: readonly BackendState[];
  /** What `startBackend()` takes, and why. */
  readonly chosen: BackendName;
  /** In words, why that one. */
  readonly why: string;
}

/**
 * Starts and measures each backend in turn, then makes the one that `auto` takes the active one.
 *
 * @example
 * ```ts
 * import { inspectBackends } from 'search-e1/tensors';
 *
 * const stop = AbortSignal.abort(new Error('looked at no backend'));
 * const inspection = await inspectBackends({ signal: stop }).catch((error) => error.message); // without a signal: some seconds
 * inspection; // 'looked at no backend'
 * ```
 */
export async function inspectBackends({ signal }: { readonly signal?: AbortSignal } = {}): Promise<Inspection> {
  const cards = await nvidiaCards();
  const { processor, cores, memory, free } = machine();
  const backends: BackendState[] = [];
  for (const name of backendNames) {
    signal?.throwIfAborted();
    backends.push(await inspect(name, cards, memory));
  }
  const { name: chosen, device } = await startBackend();
  return {
    processor,
    cores,
    memory,
    free,
    cards,
    backends,
    chosen,
    why:
      environment().SEARCH_E1_BACKEND && environment().SEARCH_E1_BACKEND !== 'auto'
        ? 'SEARCH_E1_BACKEND says so'
        : device === 'gpu'
          ? 'the first that computes on a graphics card'
          : 'no backend computes on a graphics card here; of the others it is the fastest at training small models that starts',
  };
}

async function inspect(name: BackendName, cards: readonly GraphicsCard[], memory: number): Promise<BackendState> {
  try {
    const report = await withoutOverride(() => startBackend({ backend: name }));
    const state = { name, report, speed: await measureSpeed() };
    const card = cards.reduce((sum, { memory }) => Math.max(sum, memory), 0) || null;
    if (name === 'tensorflow' && report.device === 'cpu' && card)
      return {
        ...state,
        memory,
        reason: 'computes on the CPU, though there is an NVIDIA card',
        remedy: setUpTensorFlow('-- --cuda'),
      };
    if (report.device === 'gpu')
      return { ...state, memory: card, largestTensor: name === 'webgpu' ? webGpuDevice()?.maxBufferSize : undefined };
    if (report.device === 'software')
      return {
        ...state,
        memory,
        largestTensor: webGpuDevice()?.maxBufferSize,
        reason: 'software in a graphics card\u2019s place: right, and slow',
      };
    return { ...state, memory: name === 'simd' ? Math.min(memory, WEBASSEMBLY_BYTES) : memory };
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).split('\n')[0];
    return { name, reason, remedy: error instanceof BackendUnavailable ? error.remedy : undefined };
  }
}

/** The variables that name one backend, and what it multiplies in; here each is asked for. */
async function withoutOverride<T>(work: () => Promise<T>): Promise<T> {
  const named = ['SEARCH_E1_BACKEND', 'SEARCH_E1_COMPUTE'].map((name) => [name, environment()[name]] as const);
  for (const [name] of named) delete environment()[name];
  try {
    return await work();
  } finally {
    for (const [name, value] of named) if (value !== undefined) environment()[name] = value;
  }
}

/** Empty where there is no driver, or it does not answer within five seconds. */
export async function nvidiaCards(): Promise<readonly GraphicsCard[]> {
  const query = ['--query-gpu=name,driver_version,memory.total,memory.free', '--format=csv,noheader,nounits'];
  return parseCards(await printedBy('nvidia-smi', query));
}

/** Lines of `name, driver, MiB in all, MiB free`. */
export function parseCards(text: string): readonly GraphicsCard[] {
  return text
    .split('\n')
    .map((line) => line.split(', '))
    .filter((fields) => fields.length === 4)
    .map(([name, driver, memory, free]) => ({ name, driver, memory: Number(memory) * 2 ** 20, free: Number(free) * 2 ** 20 }));
}
