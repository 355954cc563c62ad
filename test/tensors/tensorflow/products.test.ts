/** Products of matrices by the kernel for TensorFlow, at and beside the sizes of its tiles, panels, parts and slices. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { random } from '../../../src/random.js';
import { startBackend } from '../../../src/tensors/backend.js';
import { useKernels } from '../../../src/tensors/dispatch.js';
import { linear } from '../../../src/tensors/linear.js';
import { expectKernelEqualsFormula, expectSame } from '../equals-formula.js';
import { tensorFlow } from './set-up.js';

const edges = fc.constantFrom(1, 2, 5, 6, 7, 12, 13, 16, 17, 48, 63, 64, 65, 96, 128, 129, 240, 241, 481, 512, 513, 1100);

function draw(count: number, seed: number): Float32Array {
  const source = random(seed, 'numbers');
  return Float32Array.from({ length: count }, () => 2 * source.uniform() - 1);
}

/** In double precision; a [m, k] or, turned, [k, m], b [k, n] or [n, k]. */
function plainProduct(a: Float32Array, b: Float32Array, [m, n, k]: readonly number[], turnA: boolean, turnB: boolean): Float32Array {
  const c = new Float32Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += a[turnA ? p * m + i : i * k + p] * b[turnB ? j * k + p : p * n + j];
      c[i * n + j] = sum;
    }
  return c;
}

describe.skipIf(!tensorFlow.kernels)(`products on tensorflow${tensorFlow.missing}`, () => {
  beforeAll(async () => {
    await startBackend({ backend: 'tensorflow' });
    useKernels(true);
  });

  test('are the sums of products, whichever way their factors lie', () => {
    const sizes = fc.tuple(edges, edges, edges).filter(([m, n, k]) => m * n * k <= 4e6);
    fc.assert(
      fc.property(sizes, fc.boolean(), fc.boolean(), fc.nat(1000), ([m, n, k], turnA, turnB, seed) => {
        const [a, b] = [draw(m * k, seed), draw(k * n, seed + 1)];
        const c = tf.tidy(() =>
          tf.matMul(tf.tensor(a, turnA ? [k, m] : [m, k]), tf.tensor(b, turnB ? [n, k] : [k, n]), turnA, turnB).dataSync(),
        );
        expectSame(c as Float32Array, plainProduct(a, b, [m, n, k], turnA, turnB), 1e-5, `${m} x ${n} x ${k}`);
      }),
      { numRuns: 60 },
    );
  });

  test('of no numbers are zeros', () => {
    tf.tidy(() => {
      expect(tf.matMul(tf.zeros([3, 0]), tf.zeros([0, 2])).arraySync()).toEqual([...Array(3)].map(() => [0, 0]));
      expect(tf.matMul(tf.zeros([0, 4]), tf.zeros([4, 2])).shape).toEqual([0, 2]);
    });
  });

  test('are the same on any rows around a row, and after any number of slices', () => {
    tf.tidy(() => {
      const [x, dy] = [tf.tensor(draw(1300 * 70, 1), [1300, 70]), tf.tensor(draw(1300 * 33, 2), [1300, 33])];
      const again = () => tf.matMul(dy, x, true, false).dataSync();
      expect(again()).toEqual(again());
      const w = tf.tensor(draw(90 * 70, 3), [90, 70]) as tf.Tensor2D;
      const all = linear(x, w).arraySync() as number[][];
      for (const row of [0, 95, 96, 700, 1299]) expect(linear(tf.slice(x, [row, 0], [1, -1]), w).arraySync()).toEqual([all[row]]);
    });
  });

  test('belong to a linear layer and its adapter over more rows than a slice has', () => {
    for (const [rows, rank] of [
      [255, 16],
      [257, 5],
      [700, 17],
    ]) {
      tf.tidy(() => {
        const shapes = [[1, rows, 70], [130, 70], [rank, 70], [130, rank], [130], [1, rows, 130]]; // biome-ignore format: a row
        const inputs = shapes.map((shape, i) => tf.tensor(draw(tf.util.sizeFromShape(shape), i), shape));
        const operation = (x: tf.Tensor, weight: tf.Tensor, a: tf.Tensor, b: tf.Tensor, bias: tf.Tensor, plus: tf.Tensor) =>
          linear(x, weight as tf.Tensor2D, bias as tf.Tensor1D, {
            plus,
            adapter: { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 2 / rank },
          });
        expectKernelEqualsFormula(inputs, operation as (...inputs: tf.Tensor[]) => tf.Tensor, 2e-5);
      });
    }
  });
});
