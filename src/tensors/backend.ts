/**
 * Which TensorFlow.js backend the numbers run on: the best there is, measured and said, never changed without a word.
 *
 * tfjs itself falls back silently (a failed start leaves another backend active), and tfjs-node-gpu without CUDA runs on the CPU under the same
 * name; so the active backend is asked after each start, and every fallback is a note in the report.
 */
import { createRequire } from 'node:module';
// For its side effect: under Node, tfjs-core alone registers no gradients of its operations.
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { useKernels } from './dispatch.js';
import { startSimd } from './simd/backend.js';
import { BackendUnavailable } from './unavailable.js';
import { openWebGpu } from './webgpu/device.js';
import { registerWebGpuKernels } from './webgpu/register.js';

export type BackendName = 'tensorflow' | 'webgpu' | 'simd' | 'cpu';

export interface BackendOptions {
  /** `auto` takes the first that computes on a GPU, else the first that starts, of tensorflow, webgpu, simd, cpu. The environment variable SEARCH_E1_BACKEND overrides. */
  readonly backend?: 'auto' | BackendName;
  /** Whether this project's fused kernels replace the plain formulas where the backend has them. */
  readonly kernels?: boolean;
  /** Threads of the simd backend, this one included; default: one a processor, at most 16. The environment variable SEARCH_E1_THREADS overrides. */
  readonly threads?: number;
}

export interface BackendReport {
  readonly name: BackendName;
  /** For people: library, version, device. */
  readonly description: string;
  /** Which build of this project's fused kernels is in use. */
  readonly kernels: 'relaxed-simd' | 'simd' | 'wgsl' | 'none';
  /** Where it computes; `software`: a processor that pretends to be a graphics card. */
  readonly device: 'gpu' | 'cpu' | 'software';
  /** Every fallback and its reason. */
  readonly notes: readonly string[];
}

/** What a starter says once its backend is the active one; starting it again changes nothing but its threads. */
type Started = Pick<BackendReport, 'description' | 'kernels' | 'device'>;

/** In the order of `auto`. */
const STARTERS: Readonly<Record<BackendName, (options: BackendOptions) => Promise<Started>>> = {
  tensorflow: startTensorFlow,
  webgpu: startWebGpu,
  simd: startSimdThreads,
  cpu: startCpu,
};
const ORDER = Object.keys(STARTERS) as BackendName[];

/** All backends, in the order in which `auto` tries them. */
export const backendNames: readonly BackendName[] = ORDER;

const MAY_BE_GPU: readonly BackendName[] = ['tensorflow', 'webgpu'];

let automatic: { readonly name: BackendName; readonly notes: readonly string[] } | undefined;

/**
 * Makes a backend the active one. Calling it again gives the same report; naming another backend switches.
 *
 * @throws Error when a backend that was named does not start (`auto` goes on to the next and notes it)
 */
export async function startBackend(options: BackendOptions = {}): Promise<BackendReport> {
  const { backend = 'auto', kernels = true } = options;
  const wanted = wantedBackend(backend);
  const { name, notes } = wanted === 'auto' ? await bestBackend(options) : { name: wanted, notes: [] };
  const started = await activate(name, options);
  useKernels(kernels);
  return { name, ...started, kernels: kernels ? started.kernels : 'none', notes };
}

function wantedBackend(option: 'auto' | BackendName): 'auto' | BackendName {
  const wanted = process.env.SEARCH_E1_BACKEND || option;
  if (wanted === 'auto' || (ORDER as readonly string[]).includes(wanted)) return wanted as 'auto' | BackendName;
  throw new RangeError(`SEARCH_E1_BACKEND: expected auto, ${ORDER.join(', ')}; got ${wanted}`);
}

/** The first on a GPU, else the first that starts, and why those before it do not; found once. A software GPU is slower than the processor it runs on. */
async function bestBackend(options: BackendOptions): Promise<{ readonly name: BackendName; readonly notes: readonly string[] }> {
  if (automatic) return automatic;
  const notes: string[] = [];
  let best: BackendName | undefined;
  for (const name of ORDER) {
    if (best && !MAY_BE_GPU.includes(name)) break;
    try {
      const { device, description } = await activate(name, options);
      if (device === 'gpu') {
        if (best) notes.push(`${best}: does not compute on a GPU here`);
        automatic = { name, notes };
        return automatic;
      }
      if (device === 'software') notes.push(`${name}: ${description} is software, slower than simd`);
      else best ??= name;
    } catch (error) {
      notes.push(`${name}: ${firstLine(error)}`);
    }
  }
  if (!best) throw new Error(`No TensorFlow.js backend starts:\n${notes.join('\n')}`);
  automatic = { name: best, notes };
  return automatic;
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0];

/** Starts a backend and checks that it is the active one. */
async function activate(name: BackendName, options: BackendOptions): Promise<Started> {
  const started = await STARTERS[name](options);
  const accepted = await tf.setBackend(name);
  if (!accepted || tf.getBackend() !== name) throw new Error(`setBackend('${name}') left the backend '${tf.getBackend()}' active`);
  return started;
}

/** The one platform that the set-up script is for. */
const setUpTensorFlow = process.platform === 'linux' && process.arch === 'x64' ? 'npm run setup:tensorflow' : undefined;

/** The package is an optional dependency: where its binary could not be downloaded it is not there. */
async function startTensorFlow(): Promise<Started> {
  restoreUtilFunctions();
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '1'; // else TensorFlow tells about its build on stderr
  const packageName: string = '@tensorflow/tfjs-node-gpu'; // not a literal: the compiler shall not look for its types
  await import(packageName).catch((error: NodeJS.ErrnoException) => {
    if (/^(ERR_)?MODULE_NOT_FOUND$/.test(error.code ?? '')) throw new BackendUnavailable('not installed', setUpTensorFlow);
    const reason = firstLine(error).replace(/ at path: .*/, ''); // a path says nothing to a reader
    throw new BackendUnavailable(`installed, but does not load: ${reason}`, setUpTensorFlow);
  });
  await tf.setBackend('tensorflow');
  const { isUsingGpuDevice, binding } = tf.backend() as unknown as { isUsingGpuDevice?: boolean; binding?: { TF_Version?: string } };
  const description = `TensorFlow ${binding?.TF_Version ?? '(version unknown)'} on ${isUsingGpuDevice ? 'GPU' : 'CPU'}`;
  return { description, kernels: 'none', device: isUsingGpuDevice ? 'gpu' : 'cpu' };
}

async function startWebGpu(): Promise<Started> {
  const device = await openWebGpu();
  await tf.setBackend('webgpu');
  registerWebGpuKernels(device);
  return { description: `WebGPU (Dawn) on ${device.description}`, kernels: 'wgsl', device: device.software ? 'software' : 'gpu' };
}

/** tfjs-node 4.22 calls functions that Node 23 took out of `util`. */
function restoreUtilFunctions(): void {
  const util = createRequire(__filename)('node:util') as Record<string, unknown>;
  util.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
  util.isArray ??= Array.isArray;
}

async function startSimdThreads({ threads }: BackendOptions): Promise<Started> {
  const { build, threads: pool } = await startSimd({ threads });
  return {
    description: `SIMD kernels on shared WebAssembly memory, ${pool.count === 1 ? 'one thread' : `${pool.count} threads`}`,
    kernels: build,
    device: 'cpu',
  };
}

async function startCpu(): Promise<Started> {
  const { version_cpu } = await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  (tf.backend() as unknown as { firstUse: boolean }).firstUse = false; // else it prints an advertisement for tfjs-node on stderr
  return { description: `tfjs-backend-cpu ${version_cpu} (plain JavaScript, slow)`, kernels: 'none', device: 'cpu' };
}
