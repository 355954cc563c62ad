/**
 * Every WGSL kernel against its formula on the cpu backend, values and gradients: shapes on either side of the shaders' blocks, each variant of a shader
 * once, as compiling is what takes time on a software GPU. The tests run them on SwiftShader, `npm run bench:gpu` on the machine's own card.
 */
import * as tf from '@tensorflow/tfjs-core';
import { random } from '../../src/random.js';
import { AdamW } from '../../src/tensors/adamW.js';
import { attention } from '../../src/tensors/attention.js';
import { type Compute, startBackend } from '../../src/tensors/backend.js';
import { embedding } from '../../src/tensors/embedding.js';
import { forwardKl } from '../../src/tensors/forward-kl.js';
import { type HalfFormat, halfFormat, halfMatMulTransposed, markHalf, widenHalves } from '../../src/tensors/half.js';
import { KeyValueCache } from '../../src/tensors/kv-cache.js';
import { linear } from '../../src/tensors/linear.js';
import { rmsNorm } from '../../src/tensors/rms-norm.js';
import { rotary, rotaryTables } from '../../src/tensors/rotary.js';
import { sampleTokens } from '../../src/tensors/sample-tokens.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { swiglu } from '../../src/tensors/swiglu.js';
import { webGpuDevice } from '../../src/tensors/webgpu/device.js';
import { matMul } from '../../src/tensors/webgpu/mat-mul.js';
import { registerWebGpuKernels } from '../../src/tensors/webgpu/register.js';
import type { Tile } from '../../src/tensors/webgpu/tiles.js';

export interface Check {
  readonly name: string;
  readonly tolerance: number;
  /** The largest difference of any value, relative to the largest expected, or to 1 where all are smaller. */
  readonly run: () => Promise<number>;
}

type Operation = (...inputs: tf.Tensor[]) => tf.Tensor;
type Shape = readonly number[];

const onCpu = () => startBackend({ backend: 'cpu', kernels: false });
const onGpu = () => startBackend({ backend: 'webgpu' });

export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let scale = 1;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  for (let i = 0; i < expected.length; i++) {
    const off = Math.abs(actual[i] - expected[i]) / scale;
    worst = Math.max(worst, Number.isNaN(off) ? Number.POSITIVE_INFINITY : off);
  }
  return worst;
}

/** The same work on both backends, in order; the difference of what it gives. Tensors left over on the GPU count as wrong. */
async function both(work: () => Promise<ArrayLike<number>[]>): Promise<number> {
  await onCpu();
  const expected = await work();
  await onGpu();
  const before = tf.memory().numTensors;
  const actual = await work();
  if (tf.memory().numTensors !== before) return Number.POSITIVE_INFINITY;
  return Math.max(...expected.map((values, i) => difference(actual[i], values)));
}

/** An operation's value and the gradient of each of its inputs, which are normal numbers of the given shapes. */
const kernel = (name: string, shapes: readonly Shape[], operation: Operation, tolerance = 1e-5): Check => ({
  name,
  tolerance,
  run: () =>
    both(async () => {
      const results = tf.tidy(() => {
        const inputs = shapes.map((shape, i) => tf.randomNormal([...shape], 0, 1, 'float32', i + 1));
        const value = operation(...inputs);
        const dy = tf.randomNormal(value.shape, 0, 1, 'float32', 99);
        return [value, ...tf.grads(operation)(inputs, dy)];
      });
      const values = await Promise.all(results.map((tensor) => tensor.data()));
      tf.dispose(results);
      return values;
    }),
});

interface Product {
  readonly tile: Tile;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly compute?: Compute;
  /** Standard deviation of the operands: in float16 none may be too large or too small. */
  readonly magnitude?: number;
  readonly tolerance?: number;
}

/** A product in tiles of one size and in all transpositions, against sums in double precision. */
const products = ({ tile, m, n, k, compute = 'float32', magnitude = 1, tolerance = 1e-5 }: Product): Check => ({
  name: `matrix products [${m}, ${k}] by [${k}, ${n}] in tiles of ${tile}, in all transpositions${compute === 'float16' ? `, in float16, numbers around ${magnitude}` : ''}`,
  tolerance,
  async run() {
    await startBackend({ backend: 'webgpu', compute });
    const queue = registerWebGpuKernels(webGpuDevice() as NonNullable<ReturnType<typeof webGpuDevice>>);
    let worst = 0;
    for (const [transposeA, transposeB] of [
      [false, false],
      [false, true],
      [true, false],
    ]) {
      const a = tf.randomNormal(transposeA ? [k, m] : [m, k], 0, magnitude, 'float32', 1);
      const b = tf.randomNormal(transposeB ? [n, k] : [k, n], 0, magnitude, 'float32', 2);
      const [left, right] = [await a.data(), await b.data()];
      const c = queue.output([m, n]);
      matMul(queue, a, b, c, { m, n, k, transposeA, transposeB, tile });
      const product = tf.engine().makeTensorFromTensorInfo(c);
      const scale = 1 / magnitude ** 2;
      const expected = Float32Array.from({ length: m * n }, (_, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        let sum = 0;
        for (let l = 0; l < k; l++) sum += left[transposeA ? l * m + i : i * k + l] * right[transposeB ? j * k + l : l * n + j];
        return sum * scale;
      });
      const actual = (await product.data<'float32'>()).map((value) => value * scale);
      worst = Math.max(worst, difference(actual, expected));
      tf.dispose([a, b, product]);
    }
    await onGpu();
    return worst;
  },
});

/** Of operands rounded to float16, 2^-11 relative each, over sums of random signs. */
const FLOAT16_TOLERANCE = 1e-3;

const float16: Check = {
  name: 'float16 with a NaN, and with zeros alone: as in float32',
  tolerance: 0,
  async run() {
    await startBackend({ backend: 'webgpu', compute: 'float16' });
    const results = tf.tidy(() => {
      const ones = tf.ones([40, 40]) as tf.Tensor2D;
      const bad = tf.tensor2d(Array.from({ length: 40 }, (_, i) => Array(40).fill(i === 3 ? Number.NaN : 1)));
      return [tf.matMul(bad, ones), tf.matMul(tf.zerosLike(ones), ones)];
    });
    const [spread, zero] = await Promise.all(results.map((result) => result.data()));
    tf.dispose(results);
    await onGpu();
    const right =
      [...spread].every((value, at) => (at >= 120 && at < 160 ? Number.isNaN(value) : value === 40)) && zero.every((value) => value === 0);
    return right ? 0 : 1;
  },
};

/** Random halves [rows, columns], and the float32 matrix they stand for. */
function halfMatrix(rows: number, columns: number, format: HalfFormat) {
  const stream = random(rows, 'halves', columns);
  const bits = Uint16Array.from({ length: rows * columns }, () => {
    if (format === 'BF16') return new Uint32Array(Float32Array.of(stream.normal()).buffer)[0] >>> 16;
    return (stream.integer(2) << 15) | (stream.integer(17) << 10) | stream.integer(1024); // below 4, subnormal ones among them
  });
  const values = new Float32Array(bits.length);
  widenHalves(bits, format, values);
  const packed = () => markHalf(tf.tensor2d(new Int32Array(bits.slice().buffer), [rows, columns / 2], 'int32'), format);
  return { packed, values };
}

/** Products of few rows and of more, whole vectors of four and not, forwards and backwards, and looked-up rows: equal to those of the widened matrix. */
const halves = (['F16', 'BF16'] as const).flatMap((format) =>
  (
    [
      [3, 36, 45],
      [7, 38, 20],
      [16, 2052, 10],
      [40, 68, 70],
      [33, 22, 37],
    ] as const
  ).map(
    ([rows, inputs, outputs]): Check => ({
      name: `${format} weights [${outputs}, ${inputs}] under ${rows} rows, with all that is added, their gradient, and rows of them`,
      tolerance: 1e-5,
      async run() {
        const { packed, values } = halfMatrix(outputs, inputs, format);
        const work = async (weight: tf.Tensor2D) => {
          const results = tf.tidy(() => {
            const x = tf.randomNormal([rows, inputs], 0, 1, 'float32', 1) as tf.Tensor2D;
            const dy = tf.randomNormal([rows, outputs], 0, 1, 'float32', 2) as tf.Tensor2D;
            const ids = tf.tensor1d([outputs - 1, 0, 2, 2], 'int32');
            const back = halfFormat(weight) ? halfMatMulTransposed(dy, weight) : tf.matMul(dy, weight);
            const gradient = tf.grad((x) => linear(x, weight))(x, dy);
            const normal = (shape: number[], seed: number) => tf.randomNormal(shape, 0, 1, 'float32', seed);
            const adapter = { a: normal([3, inputs], 3) as tf.Tensor2D, b: normal([outputs, 3], 4) as tf.Tensor2D, scale: 0.5 };
            const whole = linear(x, weight, normal([outputs], 5) as tf.Tensor1D, { plus: normal([rows, outputs], 6), adapter });
            return [linear(x, weight), whole, back, gradient, embedding(weight, ids)];
          });
          const read = await Promise.all(results.map((tensor) => tensor.data()));
          tf.dispose([...results, weight]);
          return read;
        };
        await onCpu();
        const expected = await work(tf.tensor2d(values, [outputs, inputs]));
        await onGpu();
        const actual = await work(packed());
        return Math.max(...expected.map((value, i) => difference(actual[i], value)));
      },
    }),
  ),
);

/** Head sizes for one, two and four threads a row, and one that is not whole vectors; queries of one group and of more; grouped keys. */
const attentions = [
  [70, 70, 4, 2, 8],
  [19, 19, 2, 1, 6],
  [40, 40, 2, 2, 64],
  [20, 33, 4, 1, 128],
  [3, 150, 4, 2, 8],
].map(([queries, keys, heads, keyHeads, size]) =>
  kernel(
    `attention of ${queries} queries over ${keys} keys, ${heads} heads over ${keyHeads}, size ${size}`,
    [[2, queries, heads, size], [2, keys, keyHeads, size], [2, keys, keyHeads, size]], // biome-ignore format: a line
    (q, k, v) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D),
  ),
);

const paddedAttentions = [20, 2].map((queries) =>
  kernel(
    `attention of ${queries} queries with padding`,
    [
      [2, queries, 2, 8],
      [2, 20, 1, 8],
      [2, 20, 1, 8],
    ],
    (q, k, v) => {
      // biome-ignore format: a line
      const keyMask = tf.tensor2d([Array(20).fill(1), [...Array(6).fill(0), ...Array(14).fill(1)]]);
      const out = attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { keyMask });
      return tf.slice(out, [0, Math.max(0, queries - 14), 0, 0], [-1, -1, -1, -1]); // what a padded query reads means nothing
    },
  ),
);

const segments = kernel(
  'attention over segments of several lengths that share keys',
  [
    [1, 40, 4, 8],
    [1, 40, 2, 8],
    [1, 40, 2, 8],
  ],
  (q, k, v) =>
    attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, {
      segments: [
        { queries: 17, keys: 17, from: 0 },
        { queries: 9, keys: 9, from: 17, before: [{ from: 0, keys: 12 }] },
        { queries: 1, keys: 1, from: 26, before: [{ from: 0, keys: 12 }] },
        {
          queries: 13,
          keys: 13,
          from: 27,
          before: [
            { from: 0, keys: 12 },
            { from: 17, keys: 3 },
          ],
        },
      ],
    }),
);

const cache: Check = {
  name: 'a key/value cache whose slots have lengths of their own, grow and are copied',
  tolerance: 1e-5,
  run: () =>
    both(async () => {
      const cache = new KeyValueCache(1, 3, 100);
      const read = tf.tidy(() => {
        const draw = (length: number, heads: number, seed: number) =>
          tf.randomNormal([1, length, heads, 8], 0, 1, 'float32', seed) as tf.Tensor4D;
        const feed = (lengths: readonly number[], seed: number) => {
          const tokens = lengths.reduce((a, b) => a + b);
          const step = cache.step(lengths.flatMap((tokens, slot) => (tokens ? [{ slot, tokens }] : [])));
          const { k, v } = step.append(0, draw(tokens, 2, seed), draw(tokens, 2, seed + 1));
          return attention(draw(tokens, 4, seed + 2), k, v, { segments: step.segments });
        };
        feed([7, 40, 0], 1);
        cache.copy(1, [2], 33);
        feed([1, 30, 1], 4);
        return feed([1, 5, 1], 7);
      });
      const values = await read.data();
      read.dispose();
      cache.dispose();
      return [values];
    }),
};

const logProbs = [1, 70].map((rows) =>
  kernel(
    `selectedLogProbs of ${rows} tokens`,
    [
      [rows, 12],
      [301, 12],
    ],
    (hidden, head) => {
      // biome-ignore format: a line
      const targets = tf.tensor1d(Int32Array.from({ length: rows }, (_, i) => (i * 37) % 301), 'int32'); // biome-ignore format: a line
      const { logProbs, entropy } = selectedLogProbs(hidden as tf.Tensor2D, head as tf.Tensor2D, targets);
      return tf.stack([logProbs, entropy]);
    },
  ),
);

const divergences = [Number.POSITIVE_INFINITY, 0.01].map((clamp) =>
  kernel(`forwardKl with clamp ${clamp}`, [[9, 300]], (student) => {
    const teacher = tf.randomNormal([9, 300], 0, 2, 'float32', 5) as tf.Tensor2D;
    const { perToken, unclamped } = forwardKl(teacher, student as tf.Tensor2D, { clamp });
    return tf.stack([perToken, unclamped]);
  }),
);

const samples = [0, 0.7, 1].map(
  (temperature): Check => ({
    name: `sampleTokens at temperature ${temperature}`,
    tolerance: 1e-5,
    run: () =>
      both(async () => {
        const logits = tf.randomNormal([40, 700], 0, 3, 'float32', 11) as tf.Tensor2D;
        const { tokens, logProbs } = await sampleTokens(
          logits,
          temperature,
          Float32Array.from({ length: 40 }, (_, i) => (i + 0.5) / 40),
        );
        logits.dispose();
        return [tokens, logProbs];
      }),
  }),
);

const optimizer: Check = {
  name: 'AdamW with clipping and decay, weights and norms',
  tolerance: 1e-5,
  run: () =>
    both(async () => {
      const variable = tf.tidy(() => tf.variable(tf.randomNormal([3, 700], 0, 1, 'float32', 1)));
      const adamW = new AdamW({ w: variable });
      const norms: number[] = [];
      for (let step = 1; step <= 3; step++) {
        const gradient = tf.randomNormal([3, 700], 0, step, 'float32', step);
        norms.push(await adamW.step({ w: gradient }, { learningRate: 0.01, weightDecay: 0.1, clipNorm: 1 }));
        gradient.dispose();
      }
      const weights = Float32Array.from(await variable.data<'float32'>());
      adamW.dispose();
      variable.dispose();
      return [weights, norms];
    }),
};

const adaptedLinears = [5, 40].map((rows) =>
  kernel(
    `linear with bias, residual and adapter, ${rows} rows`,
    [[rows, 12], [20, 12], [20], [rows, 20], [3, 12], [20, 3]], // biome-ignore format: a line
    (x, weight, bias, plus, a, b) =>
      linear(x, weight as tf.Tensor2D, bias as tf.Tensor1D, { plus, adapter: { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 2 } }),
  ),
);

const residualLinears = [3, 40].map((rows) =>
  kernel(
    `linear with residual, ${rows} rows`,
    [[rows, 12], [18, 12], [rows, 18]], // biome-ignore format: a line
    (x, weight, plus) => linear(x, weight as tf.Tensor2D, undefined, { plus }),
  ),
);

/** Over a packed head: as over the widened one, and so is the gradient of what is below it. */
const halfLogProbs: Check = {
  name: 'selectedLogProbs over a BF16 head',
  tolerance: 1e-5,
  async run() {
    const { packed, values } = halfMatrix(301, 12, 'BF16');
    const work = async (head: tf.Tensor2D) => {
      const results = tf.tidy(() => {
        const hidden = tf.randomNormal([70, 12], 0, 1, 'float32', 1) as tf.Tensor2D;
        const targets = tf.tensor1d(Int32Array.from({ length: 70 }, (_, i) => (i * 37) % 301), 'int32'); // biome-ignore format: a line
        const { logProbs, entropy } = selectedLogProbs(hidden, head, targets);
        const gradient = tf.grad((hidden) => tf.sum(tf.square(selectedLogProbs(hidden as tf.Tensor2D, head, targets).logProbs)))(hidden);
        return [logProbs, entropy, gradient];
      });
      const read = await Promise.all(results.map((tensor) => tensor.data()));
      tf.dispose([...results, head]);
      return read;
    };
    await onCpu();
    const expected = await work(tf.tensor2d(values, [301, 12]));
    await onGpu();
    const actual = await work(packed());
    return Math.max(...expected.map((value, i) => difference(actual[i], value)));
  },
};

const ids = [3, 0, 3, 5, 0, 3, ...Array(140).fill(1), 3];

export const CHECKS: readonly Check[] = [
  products({ tile: 32, m: 37, n: 45, k: 20 }),
  products({ tile: 32, m: 36, n: 44, k: 19 }),
  products({ tile: 64, m: 70, n: 68, k: 36 }),
  products({ tile: 128, m: 130, n: 136, k: 20 }),
  ...([64, 128] as const).map((tile) =>
    products({ tile, m: 130, n: 136, k: 76, compute: 'float16', magnitude: 1, tolerance: FLOAT16_TOLERANCE }),
  ),
  products({ tile: 64, m: 37, n: 45, k: 19, compute: 'float16', magnitude: 1e9, tolerance: FLOAT16_TOLERANCE }),
  products({ tile: 128, m: 140, n: 150, k: 70, compute: 'float16', magnitude: 1e-9, tolerance: FLOAT16_TOLERANCE }),
  float16,
  ...halves,
  kernel('batched matrix products', [[2, 3, 5, 7], [2, 3, 7, 6]], (a, b) => tf.matMul(a, b)), // biome-ignore format: a line
  ...adaptedLinears,
  ...residualLinears,
  ...(
    [
      [3, 40, 33],
      [130, 36, 70],
    ] as const
  ).map(
    (
      [rows, inputs, outputs], // biome-ignore format: a table
    ) =>
      kernel(
        `linear with bias, ${rows} rows`,
        [[rows, inputs], [outputs, inputs], [outputs]],
        (
          x,
          w,
          b, // biome-ignore format: a line
        ) => linear(x, w as tf.Tensor2D, b as tf.Tensor1D),
      ),
  ),
  ...(
    [
      [7, 1],
      [7, 70],
      [7, 300],
      [300, 6],
    ] as const
  ).map(
    ([rows, width]) => // biome-ignore format: a table
    kernel(`rmsNorm of [${rows}, ${width}]`, [[rows, width], [width]], (x, w) => rmsNorm(x, w as tf.Tensor1D, 1e-6), 1e-4), // biome-ignore format: a line
  ),
  ...[
    [0, 1, 2, 3, 4],
    [5, 4, 3, 2, 1, 0, 7, 8, 9, 100],
  ].map(
    (
      positions, // biome-ignore format: a table
    ) =>
      kernel(`rotary with tables of ${positions.length} rows`, [[2, 5, 3, 8]], (x) =>
        rotary(x as tf.Tensor4D, rotaryTables(positions, 8, 10_000)),
      ),
  ),
  kernel(
    'the sum of forty tensors',
    Array.from({ length: 40 }, () => [3, 5]),
    (...all) => tf.addN(all),
  ),
  kernel('swiglu', [[9, 33], [9, 33]], (gate, up) => swiglu(gate, up)), // biome-ignore format: a line
  kernel('embedding with repeated ids', [[6, 5]], (table) => embedding(table as tf.Tensor2D, tf.tensor1d(ids, 'int32'))),
  ...attentions,
  ...paddedAttentions,
  segments,
  cache,
  ...logProbs,
  halfLogProbs,
  ...divergences,
  ...samples,
  optimizer,
];
