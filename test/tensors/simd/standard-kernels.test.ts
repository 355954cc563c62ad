/** Operations whose stock kernel is replaced, against the cpu backend: random shapes, broadcasts, axes of length 0 and 1, integers, NaN and infinities. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { startBackend } from '../../../src/tensors/backend.js';

const RUNS = { numRuns: 60 };
const length = fc.oneof({ arbitrary: fc.integer({ min: 1, max: 9 }), weight: 6 }, fc.constantFrom(0, 1, 33, 130));
/** A few axes of 130 make hundreds of millions of elements, drawn once in some hundred properties and waited for without end. */
const MOST = 50_000;
const shape = (min: number, max: number) =>
  fc.array(length, { minLength: min, maxLength: max }).filter((axes) => tf.util.sizeFromShape(axes) <= MOST);
const seed = fc.integer({ min: 1, max: 1e6 });

beforeAll(async () => {
  await startBackend({ backend: 'cpu' });
  await startBackend({ backend: 'simd', threads: 2 });
});

/** Normal numbers, and here and there one that is not. */
function values(shape: readonly number[], from: number, special = true): Float32Array {
  const numbers = tf.tidy(() => tf.randomNormal([tf.util.sizeFromShape([...shape]), 1], 0, 2, 'float32', from).dataSync() as Float32Array);
  return numbers.map((x, i) => (special && (i * 7 + from) % 29 === 0 ? [NaN, Infinity, -Infinity, 0, -0, 100, -100][(i + from) % 7] : x));
}

/** Runs on both backends and compares shapes, types and values. */
async function expectSame(operation: () => tf.Tensor, tolerance = 0): Promise<void> {
  const run = async (backend: 'cpu' | 'simd') => {
    await tf.setBackend(backend);
    return tf.tidy(() => {
      const y = operation();
      return { shape: y.shape, dtype: y.dtype, values: Array.from(y.dataSync()) };
    });
  };
  const expected = await run('cpu');
  const actual = await run('simd');
  expect(actual.shape).toEqual(expected.shape);
  expect(actual.dtype).toBe(expected.dtype);
  actual.values.forEach((value, i) => {
    const wanted = expected.values[i];
    const close = Math.abs(value - wanted) <= tolerance * Math.max(1, Math.abs(wanted));
    if (!close && !Object.is(value + 0, wanted + 0)) expect.fail(`element ${i}: expected ${wanted}, got ${value}`);
  });
}

const binary = {
  ...{
    add: tf.add,
    sub: tf.sub,
    mul: tf.mul,
    div: tf.div,
    maximum: tf.maximum,
    minimum: tf.minimum,
    squaredDifference: tf.squaredDifference,
  },
} as Record<string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor>;

test.each(Object.keys(binary))('%s, with broadcasts', async (name) => {
  await fc.assert(
    fc.asyncProperty(shape(0, 5), fc.nat(31), fc.nat(31), fc.nat(5), fc.boolean(), seed, async (full, ones, otherOnes, cut, swap, from) => {
      const a = full.map((n, i) => ((ones >> i) & 1 ? 1 : n));
      const b = full.map((n, i) => ((otherOnes >> i) & 1 ? 1 : n)).slice(Math.min(cut, full.length));
      const [x, y] = [values(a, from), values(b, from + 1)];
      const operands = () => [tf.tensor(x, a), tf.tensor(y, b)];
      await expectSame(() => binary[name](...((swap ? operands().reverse() : operands()) as [tf.Tensor, tf.Tensor])), 1e-6);
    }),
    RUNS,
  );
});

test('rows longer than a unit are combined whole', async () => {
  for (const n of [4095, 4096, 4097, 20_003]) {
    const [x, y] = [values([3, n], n), values([n], n + 1)];
    await expectSame(() => tf.add(tf.tensor(x, [3, n]), tf.tensor(y, [n])));
    await expectSame(() => tf.sub(2, tf.tensor(x, [3, n])));
  }
});

const unary = {
  ...{
    neg: tf.neg,
    abs: tf.abs,
    sqrt: tf.sqrt,
    rsqrt: tf.rsqrt,
    square: tf.square,
    exp: tf.exp,
    sigmoid: tf.sigmoid,
    reciprocal: tf.reciprocal,
  },
} as Record<string, (x: tf.Tensor) => tf.Tensor>;

test.each(Object.keys(unary))('%s, also of what is not finite', async (name) => {
  await fc.assert(
    fc.asyncProperty(shape(0, 4), seed, async (full, from) => {
      const x = values(full, from);
      await expectSame(() => unary[name](tf.tensor(x, full)), 1e-6);
    }),
    RUNS,
  );
});

const reductions = { sum: tf.sum, mean: tf.mean, max: tf.max } as Record<
  string,
  (x: tf.Tensor, axes: number[], keep: boolean) => tf.Tensor
>;

test.each(Object.keys(reductions))('%s over any axes', async (name) => {
  await fc.assert(
    fc.asyncProperty(shape(1, 4), fc.nat(15), fc.boolean(), fc.boolean(), seed, async (full, which, keep, special, from) => {
      const axes = full.flatMap((_, i) => ((which >> i) & 1 ? [i] : []));
      const x = values(full, from, special);
      await expectSame(() => reductions[name](tf.tensor(x, full), axes, keep), 1e-5);
    }),
    RUNS,
  );
});

test('matMul, also with no rows, columns or terms, in memory that held other things', async () => {
  await fc.assert(
    fc.asyncProperty(length, length, length, fc.constantFrom(0, 1, 3), fc.boolean(), fc.boolean(), seed, async (...drawn) => {
      const [m, n, k, batch, transposeA, transposeB, from] = drawn;
      const [a, b] = [
        [batch, ...(transposeA ? [k, m] : [m, k])],
        [batch, ...(transposeB ? [n, k] : [k, n])],
      ];
      const [x, y] = [values(a, from, false), values(b, from + 1, false)];
      await expectSame(() => {
        tf.fill([batch * m * n + 1], 7).dispose();
        return tf.matMul(tf.tensor(x, a), tf.tensor(y, b), transposeA, transposeB);
      }, 1e-4);
    }),
    RUNS,
  );
});

test('softmax and logSoftmax', async () => {
  await fc.assert(
    fc.asyncProperty(shape(1, 3), fc.constantFrom(1, 30), seed, async (full, scale, from) => {
      const x = values(full, from, false).map((value) => value * scale);
      await expectSame(() => tf.softmax(tf.tensor(x, full)), 1e-6);
      await expectSame(() => tf.logSoftmax(tf.tensor(x, full)), 1e-6);
    }),
    RUNS,
  );
});

test('transpose, slice, concat, gather and addN, of floats and integers', async () => {
  await fc.assert(
    fc.asyncProperty(
      shape(1, 5),
      fc.array(fc.nat(), { minLength: 10, maxLength: 10 }),
      fc.constantFrom('float32', 'int32'),
      seed,
      async (full, draws, dtype, from) => {
        const x = values(full, from, false).map((value) => Math.round(value * 100));
        const tensor = () => tf.tensor(x, full, dtype as 'float32');
        const order = full.map((_, i) => i).sort((i, j) => (draws[i] % 97) - (draws[j] % 97) || i - j);
        await expectSame(() => tf.transpose(tensor(), order));
        const begin = full.map((n, i) => draws[i] % (n + 1));
        const size = full.map((n, i) => (draws[i + 5] % 5 === 0 ? -1 : draws[i + 5] % (n - begin[i] + 1)));
        await expectSame(() => tf.slice(tensor(), begin, size));
        const axis = draws[0] % full.length;
        await expectSame(() =>
          tf.concat(
            [
              tensor(),
              tf.slice(
                tensor(),
                begin.map((b, i) => (i === axis ? b : 0)),
              ),
              tensor(),
            ],
            axis,
          ),
        );
        if (full[0] > 0)
          await expectSame(() =>
            tf.gather(
              tensor(),
              tf.tensor1d(
                draws.map((n) => n % full[0]),
                'int32',
              ),
            ),
          );
        await expectSame(() => tf.addN([tensor(), tensor(), tensor()]));
        await expectSame(() => tf.add(tensor(), tf.cast(tf.greater(tensor(), 0), 'float32')));
      },
    ),
    RUNS,
  );
});
