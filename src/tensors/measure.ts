/** How fast the active backend is: products of matrices, and memory. */
import * as tf from '@tensorflow/tfjs-core';

export interface BackendSpeed {
  /** Float32 matrix products of n x n x n, GFLOP/s. */
  readonly gigaflops: number;
  readonly n: number;
  /** Memory that an elementwise operation reads and writes, GB/s. */
  readonly gigabytes: number;
}

/**
 * Seconds of one call, best of several rounds. A graphics card works behind the program's back: a round queues all calls and then waits for one number
 * of the last result.
 *
 * @param times calls a round
 * @param call gives a new tensor, which is disposed
 */
export async function secondsPerCall(
  times: number,
  call: () => tf.Tensor,
  { rounds = 3 }: { readonly rounds?: number } = {},
): Promise<number> {
  const finish = async (result: tf.Tensor) => {
    const one = tf.tidy(() => tf.slice(tf.reshape(result, [-1]), 0, 1));
    await one.data();
    tf.dispose([one, result]);
  };
  await finish(call()); // compiles shaders, fills caches
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let i = 1; i < times; i++) call().dispose();
    await finish(call());
    best = Math.min(best, (performance.now() - start) / 1000 / times);
  }
  return best;
}

/**
 * Speed of an n x n x n matrix product on the active backend.
 *
 * @returns GFLOP/s, the best of several runs
 */
export async function measureMatMul(n: number): Promise<number> {
  const [a, b] = [1, 2].map((seed) => tf.randomUniform([n, n], -1, 1, 'float32', seed));
  const once = await secondsPerCall(1, () => tf.matMul(a, b), { rounds: 1 });
  const best = await secondsPerCall(Math.max(1, Math.min(50, Math.round(0.05 / once))), () => tf.matMul(a, b), { rounds: 5 });
  tf.dispose([a, b]);
  return (2 * n ** 3) / best / 1e9;
}

/**
 * Speed of reading one array and writing another, on the active backend.
 *
 * @param megabytes size of each of the two; larger than the processor's cache
 * @returns GB/s, bytes read and written together
 */
export async function measureBandwidth(megabytes: number): Promise<number> {
  const x = tf.ones([megabytes * 2 ** 18]);
  const seconds = await secondsPerCall(3, () => tf.neg(x));
  x.dispose();
  return (2 * megabytes * 2 ** 20) / seconds / 1e9;
}

/** Both, with matrices as large as the backend can multiply in about a tenth of a second. */
export async function measureSpeed(): Promise<BackendSpeed> {
  let n = 128;
  let gigaflops = await measureMatMul(n);
  while (n < 8192 && (2 * (2 * n) ** 3) / gigaflops / 1e9 < 0.1) {
    n *= 2;
    gigaflops = await measureMatMul(n);
  }
  return { gigaflops, n, gigabytes: await measureBandwidth(gigaflops > 1000 ? 512 : gigaflops > 5 ? 64 : 4) };
}
