/**
 * Which TensorFlow.js backend the numbers run on: the best there is, measured and said, never changed without a word.
 *
 * tfjs itself falls back silently (a failed wasm start leaves the cpu backend active), and tfjs-node-gpu without CUDA runs on the CPU under the
 * same name; so the active backend is asked after each start, and every fallback is a note in the report.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
// For its side effect: under Node, tfjs-core alone registers no gradients of its operations.
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { useKernels } from './dispatch.js';
import { registerKernels } from './kernels/register.js';
import { repairWasmBackend } from './wasm-repairs.js';

export type BackendName = 'tensorflow' | 'wasm' | 'cpu';

export interface BackendOptions {
  /** `auto` takes the first that starts of tensorflow, wasm, cpu. The environment variable SEARCH_E1_BACKEND overrides. */
  readonly backend?: 'auto' | BackendName;
  /** Whether this project's SIMD kernels replace the plain formulas where the backend has them. */
  readonly kernels?: boolean;
}

export interface BackendReport {
  readonly name: BackendName;
  /** For people: library, version, device. */
  readonly description: string;
  /** Which build of this project's own kernels is in use. */
  readonly kernels: 'relaxed-simd' | 'simd' | 'none';
  /** Every fallback and its reason. */
  readonly notes: readonly string[];
}

const ORDER: readonly BackendName[] = ['tensorflow', 'wasm', 'cpu'];
const STARTERS: Readonly<Record<BackendName, () => Promise<string>>> = { tensorflow: startTensorFlow, wasm: startWasm, cpu: startCpu };

const started = new Map<BackendName, string>();
let automatic: { readonly name: BackendName; readonly notes: readonly string[] } | undefined;

/**
 * Makes a backend the active one. Calling it again gives the same report; naming another backend switches.
 *
 * @throws Error when a backend that was named does not start (`auto` goes on to the next and notes it)
 */
export async function startBackend({ backend = 'auto', kernels = true }: BackendOptions = {}): Promise<BackendReport> {
  const wanted = wantedBackend(backend);
  const { name, notes } = wanted === 'auto' ? await bestBackend() : { name: wanted, notes: [] };
  const description = await activate(name);
  const switched = kernels ? switchKernelsOn(name) : { kernels: 'none' as const, notes: [] };
  useKernels(switched.kernels !== 'none');
  return { name, description, kernels: switched.kernels, notes: [...notes, ...switched.notes] };
}

/**
 * Speed of an n x n x n matrix product on the active backend.
 *
 * @returns GFLOP/s, the best of several runs
 */
export async function measureMatMul(n: number): Promise<number> {
  const a = tf.randomUniform([n, n], -1, 1, 'float32', 1);
  const b = tf.randomUniform([n, n], -1, 1, 'float32', 2);
  let best = Number.POSITIVE_INFINITY;
  const until = performance.now() + 300;
  do {
    const start = performance.now();
    const product = tf.matMul(a, b);
    await product.data();
    product.dispose();
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < until);
  tf.dispose([a, b]);
  return (2 * n ** 3) / best / 1e6;
}

function wantedBackend(option: 'auto' | BackendName): 'auto' | BackendName {
  const wanted = process.env.SEARCH_E1_BACKEND || option;
  if (wanted === 'auto' || (ORDER as readonly string[]).includes(wanted)) return wanted as 'auto' | BackendName;
  throw new RangeError(`SEARCH_E1_BACKEND: expected auto, ${ORDER.join(', ')}; got ${wanted}`);
}

/** The first that starts, and why those before it do not; found once. */
async function bestBackend(): Promise<{ readonly name: BackendName; readonly notes: readonly string[] }> {
  if (automatic) return automatic;
  const notes: string[] = [];
  for (const name of ORDER) {
    try {
      await activate(name);
      automatic = { name, notes };
      return automatic;
    } catch (error) {
      notes.push(`${name}: ${firstLine(error)}`);
    }
  }
  throw new Error(`No TensorFlow.js backend starts:\n${notes.join('\n')}`);
}

/** This project's kernels exist for the wasm backend alone. */
function switchKernelsOn(name: BackendName): Pick<BackendReport, 'kernels' | 'notes'> {
  if (name !== 'wasm') return { kernels: 'none', notes: [] };
  try {
    return { kernels: registerKernels(), notes: [] };
  } catch (error) {
    return { kernels: 'none', notes: [`kernels: ${firstLine(error)}`] };
  }
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0];

/** Starts a backend once, makes it the active one and checks that it is. */
async function activate(name: BackendName): Promise<string> {
  const description = started.get(name) ?? (await STARTERS[name]());
  const accepted = await tf.setBackend(name);
  if (!accepted || tf.getBackend() !== name) throw new Error(`setBackend('${name}') left the backend '${tf.getBackend()}' active`);
  started.set(name, description);
  return description;
}

/** The package is an optional dependency: where its binary could not be downloaded it is not there. */
async function startTensorFlow(): Promise<string> {
  restoreUtilFunctions();
  const packageName: string = '@tensorflow/tfjs-node-gpu'; // not a literal: the compiler shall not look for its types
  await import(packageName).catch((error: NodeJS.ErrnoException) => {
    if (/^(ERR_)?MODULE_NOT_FOUND$/.test(error.code ?? '')) throw new Error('not installed (optional; see environment.md)');
    throw new Error(`installed, but does not load: ${firstLine(error).replace(/ at path: .*/, '')}`); // a path says nothing to a reader
  });
  await tf.setBackend('tensorflow');
  const { isUsingGpuDevice, binding } = tf.backend() as unknown as { isUsingGpuDevice?: boolean; binding?: { TF_Version?: string } };
  return `TensorFlow ${binding?.TF_Version ?? '(version unknown)'} on ${isUsingGpuDevice ? 'GPU' : 'CPU'}`;
}

/** tfjs-node 4.22 calls functions that Node 23 took out of `util`. */
function restoreUtilFunctions(): void {
  const util = createRequire(__filename)('node:util') as Record<string, unknown>;
  util.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
  util.isArray ??= Array.isArray;
}

async function startWasm(): Promise<string> {
  const { setWasmPaths, version_wasm } = await import('@tensorflow/tfjs-backend-wasm');
  setWasmPaths(`${dirname(createRequire(__filename).resolve('@tensorflow/tfjs-backend-wasm'))}/`);
  const startedWell = await withoutNewListeners(() => tf.setBackend('wasm'));
  if (!startedWell || tf.getBackend() !== 'wasm') throw new Error('the WebAssembly module of tfjs-backend-wasm does not start');
  repairWasmBackend();
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  return `tfjs-backend-wasm ${version_wasm}${simd ? ' with SIMD' : ' without SIMD'}, one thread`;
}

/** Emscripten listens for uncaught errors of the whole process and rethrows them from its one-line source, which Node then prints in full. */
async function withoutNewListeners<T>(work: () => Promise<T>): Promise<T> {
  const events = ['uncaughtException', 'unhandledRejection'];
  const before = events.map((event) => process.rawListeners(event));
  const result = await work();
  events.forEach((event, i) => {
    for (const listener of process.rawListeners(event)) if (!before[i].includes(listener)) process.off(event, listener as () => void);
  });
  return result;
}

async function startCpu(): Promise<string> {
  const { version_cpu } = await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  (tf.backend() as unknown as { firstUse: boolean }).firstUse = false; // else it prints an advertisement for tfjs-node on stderr
  return `tfjs-backend-cpu ${version_cpu} (plain JavaScript, slow)`;
}
