/** How the `tensorflow` backend is started: tfjs-node-gpu, which brings TensorFlow itself. In a browser `start.browser.ts` takes this file's place. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { packageRoot } from '../../platform/datasets.js';
import { BackendUnavailable } from '../unavailable.js';
import { registerTensorFlowKernels, type TensorFlowBackend } from './register.js';

/** The script that sets TensorFlow up is for one platform, and in a clone of the project alone: the installed package does not bring it. */
export const setUpTensorFlow = (...args: readonly string[]): string | undefined =>
  process.platform === 'linux' && process.arch === 'x64' && existsSync(join(packageRoot(), 'scripts', 'setup-tensorflow.mjs'))
    ? ['npm run setup:tensorflow', ...args].join(' ')
    : undefined;

/** Whether NVIDIA's driver is loaded, so that TensorFlow need not be to find out. */
export const nvidiaDriver = (): boolean =>
  process.platform === 'win32' || ['/proc/driver/nvidia/version', '/dev/nvidiactl', '/dev/dxg'].some((path) => existsSync(path));

/** Outside a clone: the package with its own download, TensorFlow 2.9.1, on the systems that it has one for. */
const installTensorFlow = (): string | undefined =>
  ['linux', 'win32'].includes(process.platform) && process.arch === 'x64' ? 'npm install @tensorflow/tfjs-node-gpu@4.22.0' : undefined;

/** The package is an optional peer. */
export async function startTensorFlow(
  threads: number,
): Promise<{ readonly description: string; readonly kernels: 'c++' | 'none'; readonly device: 'gpu' | 'cpu' }> {
  restoreUtilFunctions();
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '1'; // else TensorFlow tells about its build on stderr
  process.env.TF_NUM_INTRAOP_THREADS ??= String(threads); // read when it is loaded, as the next
  process.env.TF_NUM_INTEROP_THREADS ??= '1'; // one operation follows the other here
  const packageName: string = '@tensorflow/tfjs-node-gpu'; // not a literal: the compiler shall not look for its types
  await import(packageName).catch((error: NodeJS.ErrnoException) => {
    if (/^(ERR_)?MODULE_NOT_FOUND$/.test(error.code ?? ''))
      throw new BackendUnavailable('not installed', setUpTensorFlow() ?? installTensorFlow());
    const reason = firstLine(error).replace(/ at path: .*/, ''); // a path says nothing to a reader
    throw new BackendUnavailable(`installed, but does not load: ${reason}`, setUpTensorFlow());
  });
  await tf.setBackend('tensorflow');
  const backend = tf.backend() as unknown as TensorFlowBackend;
  const count = Number(process.env.TF_NUM_INTRAOP_THREADS);
  const place = backend.isUsingGpuDevice ? 'GPU' : `CPU, ${count === 1 ? 'one thread' : `${count} threads`}`;
  return {
    description: `TensorFlow ${backend.binding.TF_Version ?? '(version unknown)'} on ${place}`,
    kernels: registerTensorFlowKernels(backend) ? 'c++' : 'none',
    device: backend.isUsingGpuDevice ? 'gpu' : 'cpu',
  };
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0];

/** tfjs-node 4.22 calls functions that Node 23 took out of `util`. */
function restoreUtilFunctions(): void {
  const util = createRequire(__filename)('node:util') as Record<string, unknown>;
  util.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
  util.isArray ??= Array.isArray;
}
