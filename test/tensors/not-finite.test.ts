/** NaN, infinities and numbers far from zero, alike on every backend: what one of them would hide, another's user would build on. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { AdamW } from '../../src/tensors/adamW.js';
import { attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';
import { embedding } from '../../src/tensors/embedding.js';
import { forwardKl } from '../../src/tensors/forward-kl.js';
import { linear } from '../../src/tensors/linear.js';
import { rmsNorm } from '../../src/tensors/rms-norm.js';
import { rotary } from '../../src/tensors/rotary.js';
import { sampleTokens } from '../../src/tensors/sample-tokens.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { swiglu } from '../../src/tensors/swiglu.js';
import { topKForwardKl } from '../../src/tensors/top-k-forward-kl.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';
import { SETUPS } from './fixtures.js';
import { tensorFlow } from './tensorflow/set-up.js';

const { NaN: nan, POSITIVE_INFINITY: infinity, NEGATIVE_INFINITY: none } = Number;
const BACKENDS = [
  ...SETUPS.map((setup) => [...setup, true] as const),
  ['tensorflow', { backend: 'tensorflow' }, tensorFlow.kernels] as const,
  ['webgpu', { backend: 'webgpu' }, swiftShaderCanRun] as const,
];

type Operation = (...inputs: tf.Tensor[]) => tf.Tensor;

/** Values in another order than zeros and ones, so that nothing cancels. */
const plain = (shape: readonly number[], from = 0): tf.Tensor =>
  tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + 1 + from)),
    [...shape],
  );

async function read(...tensors: tf.Tensor[]): Promise<number[][]> {
  const values = await Promise.all(tensors.map(async (tensor) => [...(await tensor.data())]));
  tf.dispose(tensors);
  return values;
}

const ids = (values: number[]) => tf.tensor1d(values, 'int32');

/** Each with the shapes of its inputs; the value is read whole. */
const OPERATIONS: readonly (readonly [string, readonly (readonly number[])[], Operation])[] = [
  ['linear', [[5, 9], [7, 9], [7]], (x, w, b) => linear(x, w as tf.Tensor2D, b as tf.Tensor1D)],
  [
    'linear with a residual and an adapter',
    [
      [5, 9],
      [7, 9],
      [5, 7],
      [2, 9],
      [7, 2],
    ],
    (x, w, plus, a, b) => linear(x, w as tf.Tensor2D, undefined, { plus, adapter: { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 2 } }),
  ],
  ['rmsNorm', [[5, 9], [9]], (x, w) => rmsNorm(x, w as tf.Tensor1D, 1e-6)],
  ['rotary', [[1, 5, 2, 6]], (x) => rotary(x as tf.Tensor4D, { cos: tf.ones([5, 6]), sin: tf.ones([5, 6]) })],
  [
    'swiglu',
    [
      [5, 9],
      [5, 9],
    ],
    (gate, up) => swiglu(gate, up),
  ],
  ['embedding', [[5, 9]], (table) => embedding(table as tf.Tensor2D, ids([0, 1, 2, 3, 4]))],
  ...([1, 5] as const).map(
    (queries) =>
      [
        `attention of ${queries} queries`,
        [
          [1, queries, 2, 6],
          [1, 9, 1, 6],
          [1, 9, 1, 6],
        ],
        (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D),
      ] as const,
  ),
  [
    'the log-probabilities of selected tokens',
    [
      [5, 9],
      [21, 9],
    ],
    (hidden, head) => selectedLogProbs(hidden as tf.Tensor2D, head as tf.Tensor2D, ids([0, 5, 10, 15, 20])).logProbs,
  ],
  [
    'entropies',
    [
      [5, 9],
      [21, 9],
    ],
    (hidden, head) => selectedLogProbs(hidden as tf.Tensor2D, head as tf.Tensor2D, ids([0, 5, 10, 15, 20])).entropy,
  ],
  ...[infinity, 0.05].map(
    (clamp) =>
      [
        `forwardKl with a clamp of ${clamp}`,
        [
          [3, 21],
          [3, 21],
        ],
        (teacher: tf.Tensor, student: tf.Tensor) => forwardKl(teacher as tf.Tensor2D, student as tf.Tensor2D, { clamp }).perToken,
      ] as const,
  ),
];

describe.each(BACKENDS)('%s', (name, setup, there) => {
  describe.skipIf(!there)('computes, if it is there,', { timeout: 240_000 }, () => {
    beforeAll(async () => {
      if (name === 'webgpu') useSwiftShader();
      await startBackend(setup);
    });

    test.each(OPERATIONS)('NaN from a NaN in any input of %s, and gradients that show it', async (name, shapes, operation) => {
      for (const [bad] of shapes.entries()) {
        for (const at of [0, 1]) {
          const results = tf.tidy(() => {
            const inputs = shapes.map((shape, i) => {
              const values = plain(shape, i);
              if (i !== bad) return values;
              const size = values.size;
              const place = at === 0 ? 0 : size - 1;
              return tf.where(tf.reshape(tf.equal(tf.range(0, size), place), [...shape]), tf.fill([...shape], nan), values);
            });
            // Of forwardKl the teacher is a constant.
            const fixed = name.startsWith('forwardKl') ? inputs.slice(0, 1) : [];
            const { value, grads } = tf.valueAndGrads((...rest) => operation(...fixed, ...rest))(inputs.slice(fixed.length));
            return [value, ...grads];
          });
          const [value, ...gradients] = await read(...results);
          expect(value.some(Number.isNaN), `value, input ${bad}, ${at}`).toBe(true);
          // What is linear in an input has gradients in the others alone.
          if (/log-prob|forwardKl|attention|rmsNorm/.test(name))
            expect(gradients.flat().some(Number.isNaN), `gradients, input ${bad}`).toBe(true);
        }
      }
    });

    test.each([1000, -1000, 1e5])(
      'the divergence of [0, 1] and [0, 3] %d further on, of which log-softmax knows nothing',
      async (offset) => {
        // p = 1 / (1 + e) and 1 - p, against q = 1 / (1 + e^3) and 1 - q
        const [p, q] = [1 / (1 + Math.E), 1 / (1 + Math.exp(3))];
        const expected = p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q));
        const [teacher, student] = [tf.tensor2d([[offset, offset + 1]]), tf.tensor2d([[offset, offset + 3]])];
        const { perToken, unclamped } = forwardKl(teacher, student, { clamp: infinity });
        const [clipped, whole] = await read(perToken, unclamped);
        expect(clipped[0]).toBeCloseTo(expected, 6);
        expect(whole[0]).toBeCloseTo(expected, 6);
        const topK = tf.tidy(() =>
          topKForwardKl(tf.logSoftmax(teacher), tf.tensor2d([[0, 1]], [1, 2], 'int32'), student, { clamp: infinity, renormalise: false }),
        );
        expect((await read(topK))[0][0]).toBeCloseTo(expected, 6);
        tf.dispose([teacher, student]);
      },
    );

    test('the same log-probabilities, entropies and gradients with a constant added to all logits of a row', async () => {
      // Powers of two, so that hidden states and head give logits without rounding: logits v / 8, then the same and 1024.
      const vocabulary = 21;
      const head = tf.tensor2d(Array.from({ length: vocabulary }, (_, v) => [v / 8, 1]));
      const [near, far] = [0, 1024].map((offset) =>
        tf.tensor2d([
          [1, offset],
          [-1, offset],
        ]),
      );
      const targets = ids([3, 20]);
      const results: number[][][] = [];
      for (const hidden of [near, far]) {
        const tensors = tf.tidy(() => {
          const { logProbs, entropy } = selectedLogProbs(hidden, head, targets);
          const [dHidden] = tf.grads((h) => selectedLogProbs(h as tf.Tensor2D, head, targets).logProbs)([hidden]);
          return [logProbs, entropy, tf.slice(dHidden, [0, 0], [2, 1])];
        });
        results.push(await read(...tensors));
      }
      results[0].forEach((values, i) => values.forEach((value, j) => expect(results[1][i][j]).toBeCloseTo(value, 5)));
      const logits = Array.from({ length: vocabulary }, (_, v) => v / 8);
      const total = logits.reduce((sum, z) => sum + Math.exp(z), 0);
      expect(results[1][0][0]).toBeCloseTo(3 / 8 - Math.log(total), 5);
      tf.dispose([head, near, far, targets]);
    });

    test('nothing from an entry that the teacher rules out, and its gradient; infinity where the student alone does, which the clamp bounds', async () => {
      for (const width of [2, 5, 20]) {
        const row = (excluded: number) => [none, ...Array.from({ length: width - 1 }, (_, v) => (v === excluded ? none : 0))];
        const teacher = tf.tensor2d([row(-1)]);
        const student = tf.zeros([1, width]) as tf.Tensor2D;
        const { value, grads } = tf.valueAndGrads((s) => forwardKl(teacher, s as tf.Tensor2D, { clamp: infinity }).perToken)([student]);
        // The teacher spreads its mass over width - 1, the student over width: log(width / (width - 1)). d = q - p.
        const [divergence, gradient] = await read(value, ...grads);
        expect(divergence[0]).toBeCloseTo(Math.log(width / (width - 1)), 5);
        gradient.forEach((d, v) => expect(d).toBeCloseTo(1 / width - (v === 0 ? 0 : 1 / (width - 1)), 5));
        const same = forwardKl(teacher, teacher, { clamp: infinity });
        expect((await read(same.perToken, same.unclamped)).flat().map((x) => Math.abs(x) < 1e-6)).toEqual([true, true]);
        const swapped = forwardKl(student, teacher, { clamp: 0.5 });
        const [clipped, whole] = await read(swapped.perToken, swapped.unclamped);
        expect(whole[0]).toBe(infinity);
        // 0.5 for the entry that is ruled out, of the others p log(p / q), each below the clamp
        expect(clipped[0]).toBeCloseTo(0.5 + ((width - 1) / width) * Math.log((width - 1) / width), 5);
        tf.dispose([teacher, student]);
      }
    });

    test('the draw of a row with tokens that are ruled out, and no draw of one without a distribution, naming row and number', async () => {
      const uniforms = Float32Array.of(0.5, 0.5);
      for (const temperature of [0, 1]) {
        const fair = tf.tensor2d([
          [none, 0, none, none, none],
          [none, none, none, none, 2],
        ]);
        const drawn = await sampleTokens(fair, temperature, uniforms);
        expect([...drawn.tokens]).toEqual([1, 4]);
        drawn.logProbs.forEach((logProb) => expect(logProb).toBeCloseTo(0, 6));
        fair.dispose();
        const wrong = [
          [0, nan, 2, 3, 4],
          [0, 1, 2, 3, nan],
          [0, infinity, 2, 3, 4],
          [none, none, none, none, none],
          [nan, nan, nan, nan, nan],
        ];
        for (const row of wrong) {
          const logits = tf.tensor2d([[0, 1, 2, 3, 4], row]);
          const index = Math.max(
            0,
            row.findIndex((value) => !(value < infinity)),
          );
          await expect(sampleTokens(logits, temperature, uniforms)).rejects.toThrow(`logits of row 1: element ${index} is ${row[index]}`);
          logits.dispose();
        }
      }
    });

    test('no draw at a temperature that is no number, though it could be read as one', async () => {
      const logits = tf.tensor2d([[0, 1]]);
      for (const [temperature, said] of [
        ['0.5', '"0.5"'],
        [null, 'null'],
        [nan, 'NaN'],
        [true, 'true'],
      ]) {
        const message = `sampleTokens: the temperature should be a number of 0 or more, and finite, got ${said}`;
        await expect(sampleTokens(logits, temperature as number, Float32Array.of(0.5))).rejects.toThrow(message);
      }
      logits.dispose();
    });

    test('draws at any temperature: the coldest take the most probable, or fairly among equals; the hottest are even', async () => {
      const logits = tf.tensor2d([[0, 3, 1, 3]]);
      const draw = async (temperature: number, uniform: number) => {
        const { tokens, logProbs } = await sampleTokens(logits, temperature, Float32Array.of(uniform));
        return [tokens[0], logProbs[0]];
      };
      for (const temperature of [1e-39, 1e-45, 1e-30, 1e-5]) {
        for (const [uniform, token] of [
          [0.25, 1],
          [0.75, 3],
        ]) {
          const [drawn, logProb] = await draw(temperature, uniform);
          expect(drawn).toBe(token);
          expect(logProb).toBeCloseTo(-Math.LN2, 5);
        }
      }
      expect((await draw(1e39, 0.6))[0]).toBe(2);
      for (const temperature of [nan, infinity, -1]) await expect(draw(temperature, 0.5)).rejects.toThrow(/temperature should be/);
      for (const uniform of [nan, 1, -0.1]) await expect(draw(1, uniform)).rejects.toThrow(/uniforms/);
      logits.dispose();
    });

    test('no step of AdamW with a gradient that is not finite, or settings out of their range; all is as it was', async () => {
      const variables = { w: tf.variable(tf.tensor([1, 2, 3])), b: tf.variable(tf.tensor([4])) };
      const optimiser = new AdamW(variables);
      const good = { w: tf.tensor([1, 1, 1]), b: tf.tensor([1]) };
      await optimiser.step(good, { learningRate: 0.1 });
      const all = async () => JSON.stringify([await optimiser.state(), [...(await variables.w.data())], [...(await variables.b.data())]]);
      const before = await all();
      const tensors = tf.memory().numTensors;
      for (const value of [nan, infinity, none]) {
        const gradients = { w: tf.tensor([1, 1, value]), b: tf.tensor([1]) };
        await expect(optimiser.step(gradients, { learningRate: 0.1, clipNorm: 1 })).rejects.toThrow(`gradient of w: element 2 is ${value}`);
        tf.dispose(gradients);
      }
      const large = { w: tf.tensor([3e38, 3e38, 3e38]) };
      await expect(optimiser.step(large, { learningRate: 0.1 })).rejects.toThrow(/the norm of all gradients: is Infinity/);
      large.w.dispose();
      const wrong = [{ learningRate: nan }, { learningRate: -1 }, { learningRate: infinity }, { learningRate: 1e38, beta1: 0.999 }];
      for (const settings of wrong) await expect(optimiser.step(good, settings)).rejects.toThrow(/learningRate should be/);
      for (const more of [{ beta1: 1 }, { beta2: -0.1 }, { epsilon: nan }, { weightDecay: -1 }, { clipNorm: nan }])
        await expect(optimiser.step(good, { learningRate: 0.1, ...more })).rejects.toThrow(`${Object.keys(more)[0]} should be`);
      expect(tf.memory().numTensors).toBe(tensors);
      expect(await all()).toBe(before);
      const state = await optimiser.state();
      for (const [which, values] of [
        ['first', [nan, 0, 0]],
        ['second', [0, infinity, 0]],
        ['second', [0, 0, -1]],
      ] as const)
        expect(() => optimiser.restore({ ...state, [which]: { ...state[which], w: Float32Array.from(values) } })).toThrow(
          `${which} moment of w`,
        );
      expect(() => optimiser.restore({ ...state, steps: -1 })).toThrow(/steps/);
      expect(await all()).toBe(before);
      optimiser.dispose();
      tf.dispose([variables, good]);
    });

    test('products of matrices without rows, columns or sums, and all that comes after', async () => {
      for (const [m, k, n] of [
        [0, 3, 2],
        [2, 3, 0],
        [2, 0, 3],
        [0, 0, 0],
      ]) {
        const product = tf.tidy(() => tf.matMul(tf.zeros([m, k]), tf.zeros([k, n])));
        expect(product.shape).toEqual([m, n]);
        expect(await read(product)).toEqual([Array(m * n).fill(0)]);
      }
      const nothing = tf.tidy(() => linear(tf.zeros([0, 4]), tf.ones([3, 4])));
      expect(await read(nothing)).toEqual([[]]);
      const normal = tf.tidy(() => rmsNorm(tf.zeros([0, 4]), tf.ones([4]), 1e-6));
      expect(await read(normal)).toEqual([[]]);
      const after = tf.tidy(() => linear(tf.ones([2, 4]), tf.ones([3, 4])));
      expect(await read(after)).toEqual([[4, 4, 4, 4, 4, 4]]);
    });
  });
});
