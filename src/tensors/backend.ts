/**
 * Which TensorFlow.js backend the numbers run on: the best there is, measured and said, never changed without a word.
 *
 * tfjs itself falls back silently (a failed start leaves another backend active), and tfjs-node-gpu without CUDA runs on the CPU under the same
 * name; so the active backend is asked after each start, and every fallback is a note in the report.
 */
import * as tf from '@tensorflow/tfjs-core';
import { environment } from '../platform/environment.js';
import { noThreads } from '../platform/threads.js';
import { checkSlices } from './checked-slice.js';
import { useKernels } from './dispatch.js';
import { startSimd, wantedThreads } from './simd/start.js';
import { nvidiaDriver, startTensorFlow } from './tensorflow/start.js';
import { openWebGpu } from './webgpu/device.js';
import { PROVIDER } from './webgpu/packages.js';
import { registerWebGpuKernels } from './webgpu/register.js';

/** The four backends: TensorFlow itself (a card or the CPU), WebGPU (a card), WebAssembly with SIMD on threads, and TensorFlow.js's plain JavaScript. */
export type BackendName = 'tensorflow' | 'webgpu' | 'simd' | 'cpu';
/** What matrix products multiply in. */
export type Compute = 'float32' | 'float16';

/** What `startBackend` is told; an environment variable goes before it. */
export interface BackendOptions {
  /** `auto` takes tensorflow or webgpu on a graphics card, else simd, else what starts. The environment variable SEARCH_E1_BACKEND overrides. */
  readonly backend?: 'auto' | BackendName;
  /** Whether this project's fused kernels replace the plain formulas where the backend has them. */
  readonly kernels?: boolean;
  /**
   * What matrix products of more than sixteen rows multiply in: float32, or on `webgpu` float16 with float32 sums. It shows what float16 would change and is
   * no faster: WebGPU has no float16 products with float32 sums outside an experiment of Dawn's. Each operand is scaled so that nothing overflows; the
   * error is in environment.md. Not in the paper: ours. The environment variable SEARCH_E1_COMPUTE overrides.
   */
  readonly compute?: Compute;
  /**
   * Threads of simd, this one included, and of tensorflow, which keeps what it was started with; default: one a processor, at most 16. The environment
   * variable SEARCH_E1_THREADS overrides.
   */
  readonly threads?: number;
}

/** What computes from now on, as it was found and not as it was asked for. */
export interface BackendReport {
  /** The active backend. */
  readonly name: BackendName;
  /** For people: library, version, device. */
  readonly description: string;
  /** Which build of this project's fused kernels is in use. */
  readonly kernels: 'relaxed-simd' | 'simd' | 'wgsl' | 'c++' | 'none';
  /** What matrix products multiply in. */
  readonly compute: Compute;
  /** Where it computes; `software`: a processor that pretends to be a graphics card. */
  readonly device: 'gpu' | 'cpu' | 'software';
  /** Every fallback and its reason. */
  readonly notes: readonly string[];
}

/** What the numbers of a run depend on: recorded with it. */
export type ComputedOn = Pick<BackendReport, 'name' | 'description' | 'kernels' | 'compute'>;

export const computedOn = ({ name, description, kernels, compute }: BackendReport): ComputedOn => ({ name, description, kernels, compute });

/** What a starter says once its backend is the active one; starting it again changes nothing but its threads. */
type Started = Pick<BackendReport, 'description' | 'kernels' | 'device'> & Partial<Pick<BackendReport, 'notes'>>;

/** From fast to slow. */
const STARTERS: Readonly<Record<BackendName, (options: BackendOptions) => Promise<Started>>> = {
  tensorflow: ({ threads }) => startTensorFlow(wantedThreads(threads)),
  webgpu: startWebGpu,
  simd: startSimdThreads,
  cpu: startCpu,
};
const ORDER = Object.keys(STARTERS) as BackendName[];

/** All backends; AUTO says which is taken. */
export const backendNames: readonly BackendName[] = ORDER;

let automatic: { readonly name: BackendName; readonly notes: readonly string[] } | undefined;

/** The start that was asked for last. */
let latest: Promise<BackendReport> | undefined;

/**
 * Makes a backend the active one. Calling it again gives the same report; naming another backend switches.
 *
 * @throws TypeError or RangeError for options it does not know, before anything is started
 * @throws Error when a backend that was named does not start (`auto` goes on to the next and notes it)
 *
 * @example
 * ```ts
 * import { startBackend } from 'search-e1/tensors';
 *
 * const { name, device, notes } = await startBackend({ backend: 'simd', threads: 1 });
 * name; // 'simd'
 * device; // 'cpu'
 * notes; // []
 * ```
 */
export async function startBackend(options: BackendOptions = {}): Promise<BackendReport> {
  checkBackendOptions(options);
  const before = latest;
  latest = (async () => {
    await before?.catch(() => undefined); // one after the other: each start ends by asking which backend is active
    return start(options);
  })();
  return latest;
}

/**
 * Starts the best backend where none is active: left alone, tfjs would compute in plain JavaScript, some fifty times slower than here. What opens a policy
 * calls it, so `startBackend` need be called only to choose, or to read its report.
 */
export async function ensureBackend(): Promise<void> {
  await latest?.catch(() => undefined); // its caller hears of it
  if (!tf.getBackend()) await startBackend();
}

/** What makes tensors without waiting cannot start a backend. @throws Error where none is active */
export function requireBackend(what: string): void {
  if (!tf.getBackend()) throw new Error(`${what}: no backend is started; call \`await startBackend()\` before`);
}

const OPTIONS: readonly (keyof BackendOptions)[] = ['backend', 'kernels', 'compute', 'threads'];

/**
 * Checks what `startBackend` is given, and the environment variables that override it: what is no option would otherwise be left out without a word.
 *
 * @throws TypeError or RangeError naming the option or the variable, what was expected and what was got
 */
export function checkBackendOptions(options: unknown = {}): asserts options is BackendOptions {
  if (typeof options === 'string')
    throw new TypeError(`startBackend('${options}'): expected options; write startBackend({ backend: '${options}' })`);
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new TypeError(`startBackend: expected options such as { backend: 'simd' }, got ${JSON.stringify(options)}`);
  const unknown = Object.keys(options).find((name) => !(OPTIONS as readonly string[]).includes(name));
  if (unknown !== undefined) throw new TypeError(`startBackend: there is no option '${unknown}'; expected ${OPTIONS.join(', ')}`);
  const { backend, kernels, compute } = options as BackendOptions;
  if (backend !== undefined && backend !== 'auto' && !ORDER.includes(backend))
    throw new RangeError(`startBackend: backend: expected auto, ${ORDER.join(', ')}; got ${String(backend)}`);
  if (kernels !== undefined && typeof kernels !== 'boolean')
    throw new TypeError(`startBackend: kernels: expected true or false; got ${String(kernels)}`);
  if (compute !== undefined && !COMPUTES.includes(compute))
    throw new RangeError(`startBackend: compute: expected ${COMPUTES.join(' or ')}; got ${String(compute)}`);
  wantedBackend(backend ?? 'auto');
  wantedCompute(compute);
  wantedThreads((options as BackendOptions).threads);
}

async function start(options: BackendOptions): Promise<BackendReport> {
  const { backend = 'auto', kernels = true } = options;
  const wanted = wantedBackend(backend);
  const compute = wantedCompute(options.compute);
  const { name, notes } = wanted === 'auto' ? await bestBackend(options) : { name: wanted, notes: [] };
  if (compute === 'float16' && name !== 'webgpu')
    throw new RangeError(
      `compute float16: the ${name} backend multiplies in float32 alone; only webgpu can. Name that backend, or leave it out`,
    );
  await import('./tfjs-gradients.js');
  const started = await activate(name, { ...options, compute });
  useKernels(kernels);
  return { name, ...started, compute, kernels: kernels ? started.kernels : 'none', notes: [...notes, ...(started.notes ?? [])] };
}

const COMPUTES: readonly Compute[] = ['float32', 'float16'];

function wantedCompute(option: Compute = 'float32'): Compute {
  const wanted = environment().SEARCH_E1_COMPUTE || option;
  if ((COMPUTES as readonly string[]).includes(wanted)) return wanted as Compute;
  throw new RangeError(`SEARCH_E1_COMPUTE (environment variable): expected ${COMPUTES.join(' or ')}; got ${wanted}`);
}

function wantedBackend(option: 'auto' | BackendName): 'auto' | BackendName {
  const wanted = environment().SEARCH_E1_BACKEND || option;
  if (wanted === 'auto' || (ORDER as readonly string[]).includes(wanted)) return wanted as 'auto' | BackendName;
  throw new RangeError(`SEARCH_E1_BACKEND (environment variable): expected auto, ${ORDER.join(', ')}; got ${wanted}`);
}

/**
 * What `auto` tries, in order. Where no graphics card computes, the SIMD kernels come before TensorFlow on the CPU: that takes a second and 300 MB to load,
 * and is the faster of the two from then on (README.md, Speed).
 */
const AUTO: readonly { readonly name: BackendName; readonly onCard: boolean }[] = [
  { name: 'tensorflow', onCard: true },
  { name: 'webgpu', onCard: true },
  { name: 'simd', onCard: false },
  { name: 'tensorflow', onCard: false },
  { name: 'cpu', onCard: false },
];

/** The first that starts and is what it is tried for, and why those before it are not; found once. */
async function bestBackend(options: BackendOptions): Promise<{ readonly name: BackendName; readonly notes: readonly string[] }> {
  if (automatic) return automatic;
  const notes: string[] = [];
  for (const { name, onCard } of AUTO) {
    try {
      if (name === 'tensorflow' && onCard && !nvidiaDriver())
        throw new Error('there is no NVIDIA card, and on the CPU simd comes first, which loads at once; name tensorflow for its speed');
      const { device, description } = await activate(name, options);
      if (onCard && device === 'software') throw new Error(`${description} is software, slower than simd`);
      if (onCard && device === 'cpu')
        throw new Error('computes on the CPU here, where simd comes first, which loads at once; name tensorflow for its speed');
      automatic = { name, notes };
      return automatic;
    } catch (error) {
      notes.push(`${name}: ${firstLine(error)}`);
    }
  }
  throw new Error(`No TensorFlow.js backend starts:\n${notes.join('\n')}`);
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0];

/** Starts a backend and checks that it is the active one. */
async function activate(name: BackendName, options: BackendOptions): Promise<Started> {
  const started = await STARTERS[name](options);
  const accepted = await tf.setBackend(name);
  if (!accepted || tf.getBackend() !== name) throw new Error(`setBackend('${name}') left the backend '${tf.getBackend()}' active`);
  return started;
}

async function startWebGpu({ compute }: BackendOptions): Promise<Started> {
  const device = await openWebGpu();
  await tf.setBackend('webgpu');
  const queue = registerWebGpuKernels(device);
  checkSlices('webgpu');
  queue.compute = compute ?? 'float32';
  const products = compute === 'float16' ? ', products rounded to float16' : '';
  return {
    description: `WebGPU (${PROVIDER}) on ${device.description}${products}`,
    kernels: 'wgsl',
    device: device.software ? 'software' : 'gpu',
  };
}

async function startSimdThreads({ threads }: BackendOptions): Promise<Started> {
  const { build, threads: pool } = await startSimd({ threads });
  const alone = noThreads();
  return {
    description: `SIMD kernels on shared WebAssembly memory, ${pool.count === 1 ? 'one thread' : `${pool.count} threads`}`,
    kernels: build,
    device: 'cpu',
    ...(alone && { notes: [`simd: one thread: ${alone}`] }),
  };
}

async function startCpu(): Promise<Started> {
  const { version_cpu } = await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  checkSlices('cpu');
  (tf.backend() as unknown as { firstUse: boolean }).firstUse = false; // else it prints an advertisement for tfjs-node on stderr
  return { description: `tfjs-backend-cpu ${version_cpu} (plain JavaScript, slow)`, kernels: 'none', device: 'cpu' };
}
