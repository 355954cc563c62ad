/** How the `simd` backend is started: registered with its kernels, which stand on it, and given its threads. */
import * as tf from '@tensorflow/tfjs-core';
import { environment } from '../../platform/environment.js';
import { noThreads, processors } from '../../platform/threads.js';
import { SimdBackend } from './backend.js';
import { registerFusedKernels } from './fused-kernels.js';
import { registerStandardKernels } from './standard-kernels.js';
import { MAXIMUM_THREADS } from './threads.js';

export interface SimdOptions {
  /** Threads that share the work, the calling one included; 1 starts no workers. Default: one a processor, at most 16. SEARCH_E1_THREADS overrides. */
  readonly threads?: number;
}

/**
 * Registers the backend with its kernels and makes it the active one; called again, it only sets the number of threads.
 *
 * @throws Error where it does not start
 */
export async function startSimd({ threads }: SimdOptions = {}): Promise<SimdBackend> {
  if (!tf.engine().registryFactory.simd) {
    const backend = new SimdBackend();
    tf.registerBackend('simd', () => backend);
    tf.copyRegisteredKernels('cpu', 'simd');
    registerStandardKernels();
    registerFusedKernels();
  }
  await tf.setBackend('simd');
  const backend = tf.backend() as unknown as SimdBackend;
  const wanted = wantedThreads(threads);
  backend.threads.count = noThreads() ? 1 : wanted;
  return backend;
}

/** The number of threads that is asked for. @throws RangeError for what is no number of threads */
export function wantedThreads(option: number | undefined): number {
  const text = environment().SEARCH_E1_THREADS;
  const wanted = text ? Number(text) : (option ?? Math.min(processors(), 16));
  if (Number.isInteger(wanted) && wanted >= 1 && wanted <= MAXIMUM_THREADS) return wanted;
  throw new RangeError(
    `${text ? 'SEARCH_E1_THREADS (environment variable)' : 'threads'}: expected an integer from 1 to ${MAXIMUM_THREADS}, got ${text || option}`,
  );
}
