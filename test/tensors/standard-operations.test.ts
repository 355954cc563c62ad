/** Operations of TensorFlow.js that this project's own stand on: alike on every backend, and equal to TensorFlow.js' plain JavaScript. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { startBackend } from '../../src/tensors/backend.js';
import { topKForwardKl } from '../../src/tensors/top-k-forward-kl.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';
import { tensorFlow } from './tensorflow/set-up.js';

const BACKENDS = [
  { backend: 'cpu', there: true },
  { backend: 'simd', there: true },
  { backend: 'tensorflow', there: tensorFlow.kernels },
  { backend: 'webgpu', there: swiftShaderCanRun },
] as const;

const RUNS = { numRuns: 60 };
/** Shapes of up to four axes, and draws for what is done to each. */
const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
const perAxis = (least: number, most: number) => fc.array(fc.integer({ min: least, max: most }), { minLength: 4, maxLength: 4 });
const numbered = (shape: number[], dtype: 'float32' | 'int32') => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    Array.from({ length: size }, (_, i) => (dtype === 'int32' ? i - 3 : Math.sin(i))),
    shape,
    dtype,
  );
};
const dtypes = fc.constantFrom('float32', 'int32');

for (const { backend, there } of BACKENDS) {
  describe.skipIf(!there)(`on ${backend}, if it is there,`, { timeout: 120_000 }, () => {
    beforeAll(async () => {
      if (backend === 'webgpu') useSwiftShader();
      await startBackend({ backend });
    });

    /** What an operation gives: shape, type and numbers, or that it refuses. */
    async function outcome(on: string, operation: () => tf.Tensor): Promise<object> {
      await tf.setBackend(on);
      let result: tf.Tensor;
      try {
        result = tf.tidy(operation);
      } catch {
        return { refused: true };
      }
      const found = { shape: result.shape, dtype: result.dtype, values: [...(await result.data())] };
      result.dispose();
      return found;
    }
    async function expectAsInJavaScript(operation: () => tf.Tensor): Promise<void> {
      const expected = await outcome('cpu', operation);
      const found = await outcome(backend, operation);
      // TensorFlow makes a tensor of nothing where JavaScript's stridedSlice cannot.
      if (backend === 'tensorflow' && 'refused' in expected) expect(found).toMatchObject({ values: [] });
      else expect(found).toEqual(expected);
    }

    test('exp is e^x from the smallest normal number to the largest, 0 and infinity beyond', async () => {
      const inside = [88.5, 88.72, 88, 80.25, 1, 1e-3, 0, -1e-3, -1, -40.5, -80, -87, -87.2, -87.33].map(Math.fround);
      const far = [89, 100, 1e4, Number.POSITIVE_INFINITY, -104, -1e4, Number.NEGATIVE_INFINITY];
      // As a row and alone: vectors and what is left of them.
      for (const values of [inside, [88.5], [-87.20000457763672], [...inside, ...inside, 88.5]]) {
        const x = tf.tensor1d(values);
        const y = tf.exp(x);
        // WGSL grants 3 + 2 |x| units in the last place, 2e-5 at the ends; elsewhere two units.
        const tolerance = backend === 'webgpu' ? 2.2e-5 : 2.4e-7;
        const found = await y.data();
        values.forEach((value, i) => {
          const expected = Math.exp(Math.fround(value)); // 2.7231e38 at 88.5
          expect(Math.abs(found[i] / expected - 1), `e^${value} is ${expected}, found ${found[i]}`).toBeLessThan(tolerance);
        });
        tf.dispose([x, y]);
      }
      const [x, y] = tf.tidy(() => [tf.tensor1d(far), tf.exp(tf.tensor1d(far))]);
      const found = await y.data();
      far.forEach((value, i) => {
        expect(found[i], `e^${value}`).toBe(value > 0 ? Number.POSITIVE_INFINITY : 0);
      });
      tf.dispose([x, y]);
    });

    test('a slice never holds numbers that are not the tensor’s: beginnings and lengths outside are refused', async () => {
      const x = tf.tensor2d(
        Array.from({ length: 12 }, (_, i) => 100 + i),
        [4, 3],
      );
      for (const [begin, size] of [
        [[-2, 0], [2, 3]],
        [[0, -1], [4, 1]],
        [[-4, 0], [4, 3]],
        [[3, 0], [2, 3]],
        [[0, 2], [4, 2]],
        [[5, 0], [1, 3]],
      ] as [number[], number[]][]) // biome-ignore format: a table
        expect(() => tf.tidy(() => tf.slice(x, begin, size).dataSync()), `from ${begin}, ${size} long`).toThrow();
      const line = tf.tensor1d([100, 101, 102]);
      expect(() => tf.tidy(() => tf.slice(line, [-2], [2]).dataSync())).toThrow();
      expect(() => tf.tidy(() => tf.slice(line, -2).dataSync())).toThrow();
      const rest = tf.slice(x, [2, 1], [-1, 1]); // -1: up to the end
      expect([...(await rest.data())]).toEqual([107, 110]);
      tf.dispose([x, line, rest]);
    });

    test('pad, tile, slice and reverse', async () => {
      await fc.assert(
        fc.asyncProperty(shapes, perAxis(0, 3), perAxis(0, 3), perAxis(1, 3), dtypes, async (shape, before, after, times, dtype) => {
          const x = () => numbered(shape, dtype);
          const paddings = shape.map((_, i) => [before[i], after[i]] as [number, number]);
          await expectAsInJavaScript(() => tf.pad(x(), paddings, 7));
          await expectAsInJavaScript(() => tf.tile(x(), times.slice(0, shape.length)));
          const begin = shape.map((n, i) => before[i] % n);
          const size = shape.map((n, i) => (after[i] === 0 ? -1 : 1 + (after[i] % (n - begin[i]))));
          await expectAsInJavaScript(() => tf.slice(x(), begin, size));
          await expectAsInJavaScript(() => tf.reverse(x(), before[0] % shape.length));
        }),
        RUNS,
      );
    });

    test('stridedSlice, forwards and backwards, from either end', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }),
          perAxis(-5, 5),
          perAxis(-5, 5),
          fc.array(fc.constantFrom(-2, -1, 1, 2, 3), { minLength: 4, maxLength: 4 }),
          fc.nat(7),
          fc.nat(7),
          async (shape, begin, end, strides, beginMask, endMask) => {
            const upTo = (values: number[]) => values.slice(0, shape.length);
            await expectAsInJavaScript(() =>
              tf.stridedSlice(numbered(shape, 'float32'), upTo(begin), upTo(end), upTo(strides), beginMask, endMask),
            );
          },
        ),
        RUNS,
      );
    });

    test('oneHot, of ids beyond its depth too', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: -2, max: 9 }), { minLength: 1, maxLength: 20 }),
          fc.integer({ min: 2, max: 7 }),
          fc.constantFrom([1, 0], [5, -2]),
          async (ids, depth, [on, off]) => {
            await expectAsInJavaScript(() => tf.oneHot(tf.tensor1d(ids, 'int32'), depth, on, off));
          },
        ),
        RUNS,
      );
    });

    test('topKForwardKl does not depend on the order of its tokens; a row that names one twice, or none of the vocabulary, is NaN', async () => {
      const student = tf.tensor2d([[0.5, -1, 2, 0, 1]]);
      const teacher = [-1.2, -0.8, -2.5]; // log-probabilities of tokens 4, 0, 3
      const ids = [4, 0, 3];
      const total = Math.log([0.5, -1, 2, 0, 1].reduce((sum, z) => sum + Math.exp(z), 0));
      const logits = [1, 0.5, 0];
      const expected = teacher.reduce((sum, t, i) => sum + Math.exp(t) * (t - (logits[i] - total)), 0);
      const run = async (order: number[], named = ids) => {
        const y = tf.tidy(() =>
          topKForwardKl(
            tf.tensor2d([order.map((i) => teacher[i])]),
            tf.tensor2d([order.map((i) => named[i])], [1, order.length], 'int32'),
            student,
            { clamp: Number.POSITIVE_INFINITY, renormalise: false },
          ),
        );
        const [value] = await y.data();
        y.dispose();
        return value;
      };
      for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0]]) expect(await run(order)).toBeCloseTo(expected, 5); // biome-ignore format: a table
      for (const named of [[4, 4, 3], [4, 0, 4], [3, 3, 3], [4, 0, 5], [-1, 0, 3]]) expect(await run([0, 1, 2], named), `${named}`).toBeNaN(); // biome-ignore format: a table
      student.dispose();
    });
  });
}
