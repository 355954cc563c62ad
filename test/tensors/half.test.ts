/** Weights in 16 bits compute what their float32 values compute, forwards and backwards, and never need the whole matrix in float32. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { embedding } from '../../src/tensors/embedding.js';
import {
  bands,
  type HalfFormat,
  halfFormat,
  halfMatMulTransposed,
  markHalf,
  matrixShape,
  narrowToHalves,
  widenHalves,
  widenRows,
} from '../../src/tensors/half.js';
import { linear } from '../../src/tensors/linear.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { tensorFlow } from './tensorflow/set-up.js';

/** Random halves [rows, columns], and the float32 matrix they stand for. */
function matrix(rows: number, columns: number, format: HalfFormat, seed: number) {
  const stream = random(seed, 'half');
  const bits = Uint16Array.from({ length: rows * columns }, () => {
    const value = stream.normal();
    if (format === 'BF16') return new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;
    return ((value < 0 ? 1 : 0) << 15) | ((14 + stream.integer(2)) << 10) | stream.integer(1024); // +-[0.5, 2)
  });
  const values = new Float32Array(bits.length);
  widenHalves(bits, format, values);
  const packed = markHalf(tf.tensor(new Int32Array(bits.buffer), [rows, columns / 2], 'int32'), format);
  return { packed: packed as tf.Tensor2D, wide: tf.tensor2d(values, [rows, columns]) };
}

const far = (a: tf.Tensor, b: tf.Tensor) => tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]);

const BACKENDS = [
  { backend: 'simd', skip: false, missing: '' },
  { backend: 'tensorflow', skip: !tensorFlow.kernels, missing: tensorFlow.missing },
  { backend: 'cpu', skip: false, missing: '' },
] as const;

for (const { backend, skip, missing } of BACKENDS)
  describe.skipIf(skip)(`on ${backend}${missing}`, () => {
    beforeAll(async () => {
      await startBackend({ backend });
    });

    test.each(['F16', 'BF16'] as const)('%s: linear, its gradients, and the embedding equal those of the widened matrix', (format) => {
      const { packed, wide } = matrix(19, 8, format, 1);
      const x = tf.tensor3d(
        Array.from({ length: 2 * 3 * 8 }, (_, i) => Math.sin(i)),
        [2, 3, 8],
      );
      const bias = tf.tensor1d(Array.from({ length: 19 }, (_, i) => Math.cos(i)));
      expect(matrixShape(packed)).toEqual([19, 8]);
      expect(far(linear(x, packed, bias), linear(x, wide, bias))).toBeLessThan(1e-5);
      const gradients = (w: tf.Tensor2D) => tf.grads((x, bias) => tf.sum(tf.square(linear(x, w, bias as tf.Tensor1D))))([x, bias]);
      const [half, whole] = [gradients(packed), gradients(wide)];
      for (const i of [0, 1]) expect(far(half[i], whole[i])).toBeLessThan(1e-3);
      const ids = tf.tensor1d([18, 0, 7, 7], 'int32');
      expect([...embedding(packed, ids).dataSync()]).toEqual([...embedding(wide, ids).dataSync()]);
      expect([...widenRows(packed, 5, 9).dataSync()]).toEqual([...tf.slice(wide, [5, 0], [4, -1]).dataSync()]);
    });

    test('log-probabilities and entropies over a packed head, and the gradient of what is below it', () => {
      const vocabulary = backend === 'cpu' ? 23 : 120_000; // so many that their logits are computed in several parts
      const { packed, wide } = matrix(vocabulary, 6, 'BF16', 2);
      const hidden = tf.tensor2d(
        Array.from({ length: 100 * 6 }, (_, i) => Math.sin(i * i)),
        [100, 6],
      );
      const targets = tf.tensor1d(
        Array.from({ length: 100 }, (_, i) => i % 23),
        'int32',
      );
      const [half, whole] = [packed, wide].map((head) => selectedLogProbs(hidden, head, targets));
      expect(far(half.logProbs, whole.logProbs)).toBeLessThan(1e-5);
      expect(far(half.entropy, whole.entropy)).toBeLessThan(1e-5);
      const [a, b] = [packed, wide].map((head) =>
        tf.grad((h) => tf.sum(tf.square(selectedLogProbs(h as tf.Tensor2D, head, targets).logProbs)))(hidden),
      );
      // Up to 150, sums over the vocabulary, which tensorflow's float32 product adds up one by one: 0.001 from the sum in double precision; its packed one 0.0001.
      expect(far(a, b)).toBeLessThan(backend === 'tensorflow' ? 2e-3 : 1e-4);
    });

    test('leaves no tensor behind', () => {
      const { packed, wide } = matrix(5, 4, 'F16', 3);
      const x = tf.ones([2, 4]) as tf.Tensor2D;
      const before = tf.memory().numTensors;
      tf.tidy(() => {
        linear(x, packed);
        embedding(packed, tf.tensor1d([1], 'int32'));
      });
      tf.grad((x) => tf.sum(linear(x, packed)))(x).dispose();
      expect(tf.memory().numTensors).toBe(before);
      tf.dispose([packed, wide, x]);
    });
  });

for (const { backend, skip, missing } of BACKENDS.slice(0, 2))
  describe.skipIf(skip)(`the kernel of ${backend}${missing}`, { timeout: 60_000 }, () => {
    beforeAll(async () => {
      await startBackend({ backend });
    });

    test.each(['F16', 'BF16'] as const)('widens every %s number as the table does, special ones included', (format) => {
      const bits = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
      const values = new Float32Array(bits.length);
      widenHalves(bits, format, values);
      const rows = markHalf(tf.tensor2d(new Int32Array(bits.buffer), [0x800, 16], 'int32'), format); // whole vectors
      expect(embedding(rows as tf.Tensor2D, tf.range(0, 0x800, 1, 'int32') as tf.Tensor1D).dataSync()).toEqual(values);
      const pairs = markHalf(tf.tensor2d(new Int32Array(bits.buffer), [0x8000, 1], 'int32'), format); // the end of one
      // Each row holds two numbers; the product with a unit vector gives one of them, where the other is finite.
      for (const at of [0, 1]) {
        const product = linear(tf.tensor2d([at === 0 ? [1, 0] : [0, 1]]), pairs as tf.Tensor2D).dataSync();
        for (let row = 0; row < 0x8000; row++) {
          if (!Number.isFinite(values[2 * row + 1 - at])) continue;
          const found = product[row];
          let expected = values[2 * row + at];
          if (backend === 'tensorflow' && Math.abs(expected) < 2 ** -126) expected = 0; // in TensorFlow's threads products have no subnormal numbers
          if (!(found === expected || (Number.isNaN(found) && Number.isNaN(expected))))
            expect(found, `${format} ${2 * row + at}`).toBe(expected);
        }
      }
    });

    test.each([
      [300, 520, 1],
      [37, 258, 7],
      [37, 258, 16],
      [37, 258, 17],
      [1000, 64, 70],
      [290, 1030, 33],
      [5, 6, 3],
      [1, 2, 1],
    ])('sums over [%i, %i] for %i rows as the float32 product does', (rows, columns, count) => {
      // On simd bit for bit; on tensorflow sums have another order: a few units in the last place of the sum so far for each number that is added.
      const tolerance = backend === 'simd' ? 0 : 1e-6;
      for (const format of ['F16', 'BF16'] as const) {
        const { packed, wide } = matrix(rows, columns, format, rows);
        const x = tf.randomNormal([count, columns], 0, 1, 'float32', 5) as tf.Tensor2D;
        expectNear(linear(x, packed), linear(x, wide), tolerance * columns);
        const y = tf.randomNormal([count, rows], 0, 1, 'float32', 6) as tf.Tensor2D;
        expectNear(halfMatMulTransposed(y, packed), tf.matMul(y, wide), tolerance * rows);
      }
    });
  });

function expectNear(actual: tf.Tensor, expected: tf.Tensor, tolerance: number): void {
  expect(actual.shape).toEqual(expected.shape);
  expect(far(actual, expected)).toBeLessThanOrEqual(tolerance);
}

test('a matrix of any size is cut into bands that cover it once, each within the budget', () => {
  for (const shape of [
    [151_936, 448],
    [1, 2],
    [4, 4_000_000],
  ] as const) {
    const stub = { shape, dataId: {}, dtype: 'int32', rank: 2 } as unknown as tf.Tensor;
    const cut = bands(markHalf(stub, 'BF16'));
    expect(cut[0][0]).toBe(0);
    expect(cut.at(-1)?.[1]).toBe(shape[0]);
    cut.forEach(([from, to], i) => {
      if (i > 0) expect(from).toBe(cut[i - 1][1]);
      expect(to - from === 1 || (to - from) * 2 * shape[1] <= 1 << 22).toBe(true);
    });
  }
});

test('the format goes with the data: clones and variables have it, other tensors do not', () => {
  const { packed, wide } = matrix(2, 4, 'F16', 4);
  expect([packed, tf.clone(packed), tf.variable(packed, false)].map(halfFormat)).toEqual(['F16', 'F16', 'F16']);
  expect(halfFormat(wide)).toBeUndefined();
  expect(() => markHalf(wide, 'F16')).toThrow(/expected an int32 matrix, got float32/);
});

describe('rounding to 16 bits', () => {
  const all = Uint16Array.from({ length: 0x10000 }, (_, half) => half);
  const wide = (format: HalfFormat): Float32Array => {
    const values = new Float32Array(all.length);
    widenHalves(all, format, values);
    return values;
  };
  const narrow = (values: Float32Array, format: HalfFormat): Uint16Array => {
    const halves = new Uint16Array(values.length);
    narrowToHalves(values, format, halves);
    return halves;
  };

  test.each(['F16', 'BF16'] as const)('every %s number is itself, a NaN stays one', (format) => {
    const values = wide(format);
    const halves = narrow(values, format);
    const back = new Float32Array(values.length);
    widenHalves(halves, format, back);
    expect(back).toEqual(values);
    expect([...all].every((half) => Number.isNaN(values[half]) || halves[half] === half)).toBe(true);
  });

  test.each(['F16', 'BF16'] as const)('what lies between two %s numbers goes to the nearer, halfway to the even one', (format) => {
    const positive = wide(format).subarray(0, format === 'F16' ? 0x7c00 : 0x7f80); // finite, ascending
    for (const sign of [1, -1]) {
      for (let half = 0; half < positive.length - 1; half += 7) {
        const [low, high] = [positive[half], positive[half + 1]];
        const middle = Math.fround((low + high) / 2); // exact: one bit more
        const step = Math.fround((high - low) / 8);
        const found = narrow(Float32Array.of(sign * (middle - step), sign * middle, sign * (middle + step)), format);
        const bits = sign < 0 ? 0x8000 : 0;
        expect([...found], `${low}`).toEqual([half, half % 2 ? half + 1 : half, half + 1].map((each) => each | bits));
      }
    }
  });

  test('beyond the largest number is infinity, from halfway to the next on', () => {
    expect([...narrow(Float32Array.of(65519.99, 65520, -1e6, 1e-8), 'F16')]).toEqual([0x7bff, 0x7c00, 0xfc00, 0]);
    expect([...narrow(Float32Array.of(3.4e38, -3.4e38), 'BF16')]).toEqual([0x7f80, 0xff80]);
  });
});
