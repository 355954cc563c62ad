/** How fast the active backend is: products of matrices, and memory. */
import * as tf from '@tensorflow/tfjs-core';

/** How fast the active backend is here. */
export interface BackendSpeed {
  /** Matrix products of n x n x n, GFLOP/s. */
  readonly gigaflops: number;
  /** Rows and columns of the matrices that were multiplied. */
  readonly n: number;
  /** Memory that an elementwise sum reads and writes, GB/s. */
  readonly gigabytes: number;
}

export interface MeasureOptions {
  /** Seconds that a round takes at least: long beside what it takes to hear of its end, which a graphics card makes 0.1 ms or more. */
  readonly seconds?: number;
  readonly rounds?: number;
  /** Calls of a round at most. */
  readonly most?: number;
}

/**
 * Seconds of one call, best of several rounds. A graphics card works behind the program's back: a round queues all its calls and then waits for one
 * number of the last result.
 *
 * @param call gives a new tensor, which is disposed
 */
export async function secondsPerCall(
  call: () => tf.Tensor,
  { seconds = 0.05, rounds = 3, most = 1000 }: MeasureOptions = {},
): Promise<number> {
  const round = async (times: number): Promise<number> => {
    const start = performance.now();
    for (let i = 1; i < times; i++) call().dispose();
    const result = call();
    const one = tf.tidy(() => tf.slice(tf.reshape(result, [-1]), 0, 1));
    await one.data();
    tf.dispose([one, result]);
    return (performance.now() - start) / 1000;
  };
  await round(1); // compiles shaders, fills caches
  let times = 1;
  let took = await round(times);
  while (took < seconds && times < most) {
    times = Math.min(most, Math.max(2 * times, Math.min(10 * times, Math.ceil((1.2 * times * seconds) / took))));
    took = await round(times);
  }
  let best = took;
  for (let i = 1; i < rounds; i++) best = Math.min(best, await round(times));
  return best / times;
}

/**
 * Speed of an n x n x n matrix product on the active backend.
 *
 * @returns GFLOP/s, the best of several rounds
 *
 * @example
 * ```ts
 * import { measureMatMul, startBackend } from 'search-e1/tensors';
 *
 * await startBackend();
 * (await measureMatMul(64, { rounds: 1, seconds: 0.01 })) > 0; // true
 * ```
 */
export async function measureMatMul(n: number, options: MeasureOptions = {}): Promise<number> {
  const [a, b] = [1, 2].map((seed) => randomMatrix(n, seed));
  const seconds = await secondsPerCall(() => tf.matMul(a, b), options);
  tf.dispose([a, b]);
  return (2 * n ** 3) / seconds / 1e9;
}

/** A few random columns over and over: what is multiplied is not constant, and JavaScript's numbers are slow to draw. */
function randomMatrix(n: number, seed: number): tf.Tensor2D {
  const drawn = Math.min(n, 32);
  return tf.tidy(() => {
    const columns = tf.randomUniform([n, drawn], -1, 1, 'float32', seed);
    return tf.slice(tf.tile(columns, [1, Math.ceil(n / drawn)]), [0, 0], [n, n]) as tf.Tensor2D;
  });
}

/**
 * Speed of memory on the active backend: two arrays are read, their sum is written (the Add of STREAM, McCalpin, 1995).
 *
 * @param megabytes size of each of the three; larger than the processor's cache
 * @returns GB/s, bytes read and written together
 *
 * @example
 * ```ts
 * import { measureBandwidth, startBackend } from 'search-e1/tensors';
 *
 * await startBackend();
 * (await measureBandwidth(1, { rounds: 1, seconds: 0.01 })) > 0; // true
 * ```
 */
export async function measureBandwidth(megabytes: number, options: MeasureOptions = {}): Promise<number> {
  const [x, y] = [1, 2].map((value) => tf.fill([megabytes * 2 ** 18], value));
  const seconds = await secondsPerCall(() => tf.add(x, y), options);
  tf.dispose([x, y]);
  return (3 * megabytes * 2 ** 20) / seconds / 1e9;
}

/**
 * Both, with matrices as large as the backend can multiply in about a tenth of a second.
 *
 * @example
 * ```ts
 * import { measureSpeed, startBackend } from 'search-e1/tensors';
 *
 * await startBackend({ backend: 'simd' });
 * const { gigaflops, gigabytes } = await measureSpeed();
 * gigaflops > 0 && gigabytes > 0; // true
 * ```
 */
export async function measureSpeed(): Promise<BackendSpeed> {
  let n = 128;
  let gigaflops = await measureMatMul(n, { rounds: 1, seconds: 0.01 });
  while (n < 8192 && (2 * (2 * n) ** 3) / gigaflops / 1e9 < 0.1) {
    n *= 2;
    gigaflops = await measureMatMul(n, { rounds: 1, seconds: 0.01 });
  }
  gigaflops = Math.max(gigaflops, await measureMatMul(n, { rounds: 5, seconds: 0.1 }));
  return { gigaflops, n, gigabytes: await measureBandwidth(gigaflops > 1000 ? 512 : gigaflops > 5 ? 64 : 4) };
}
