/** Limited sampling held to Transformers' own processors (test/fixtures/sampling.json), and to the laws of a draw. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { drawTokens, limitedDistribution, penalize } from '../../src/policy/sampling.js';
import { startBackend } from '../../src/tensors/backend.js';
import { sampleTokens } from '../../src/tensors/sample-tokens.js';
import { readFixture } from './xs.js';

const fixture = readFixture('sampling.json') as {
  logits: number[][];
  input_ids: number[][];
  cases: {
    temperature?: number;
    top_k?: number;
    top_p?: number;
    min_p?: number;
    repetition_penalty?: number;
    probs: number[][];
    kept: number[];
  }[];
};

beforeAll(async () => {
  await startBackend({ backend: 'simd' });
});

test.each(fixture.cases)(
  'the distribution is that of Transformers: $temperature $top_k $top_p $min_p $repetition_penalty',
  ({ temperature = 1, top_k, top_p, min_p, repetition_penalty = 1, probs, kept }) => {
    fixture.logits.forEach((logits, row) => {
      const scores = penalize(Float32Array.from(logits), fixture.input_ids[row], repetition_penalty);
      const probabilities = limitedDistribution(scores, temperature, { topK: top_k, topP: top_p, minP: min_p });
      expect(probabilities.filter((p) => p > 0).length).toBe(kept[row]);
      // Which of equal logits stay under top-p is up to PyTorch's unstable sort: then the values alone are compared.
      const smallest = Math.min(...logits.filter((_, v) => probs[row][v] > 0));
      const tied = logits.some((logit, v) => logit === smallest && probs[row][v] === 0);
      const [ours, theirs] = [[...probabilities], [...probs[row]]].map((p) => (tied ? p.sort((a, b) => a - b) : p));
      ours.forEach((p, v) => expect(Math.abs(p - theirs[v])).toBeLessThanOrEqual(1e-6));
    });
  },
);

test('a draw is a token that is kept, with its log-probability among all of them', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 4, maxLength: 12 }),
      fc.record({
        topK: fc.integer({ min: 0, max: 5 }),
        topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
        minP: fc.constantFrom(0, 0.2),
      }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      fc.constantFrom(0.5, 1, 1.7),
      async (scores, limits, uniform, temperature) => {
        const logits = tf.tensor2d([scores]);
        const { tokens, logProbs } = await drawTokens(logits, temperature, Float32Array.of(uniform), limits);
        const probabilities = limitedDistribution(Float32Array.from(scores), temperature, limits);
        const whole = tf.tidy(() => tf.logSoftmax(tf.div(logits, temperature)).dataSync());
        logits.dispose();
        expect(probabilities[tokens[0]]).toBeGreaterThan(0);
        expect(logProbs[0]).toBeCloseTo(whole[tokens[0]], 4);
        const below = probabilities.slice(0, tokens[0]).reduce((a, b) => a + b, 0);
        expect(below).toBeLessThanOrEqual(Math.fround(uniform) + 1e-9);
        expect(below + probabilities[tokens[0]]).toBeGreaterThan(Math.fround(uniform) - 1e-9);
      },
    ),
    { numRuns: 100 },
  );
});

test('without limits, and where greedy, the draw is that of the backend', async () => {
  const logits = tf.tensor2d(fixture.logits);
  const uniforms = Float32Array.of(0.1, 0.5, 0.7, 0.95);
  expect(await drawTokens(logits, 0.8, uniforms)).toEqual(await sampleTokens(logits, 0.8, uniforms));
  expect(await drawTokens(logits, 0, uniforms, { topK: 3 })).toEqual(await sampleTokens(logits, 0, uniforms));
  logits.dispose();
});

test('a repetition penalty counts what a sequence holds, once, and leaves the log-probability that of the model', async () => {
  const logits = tf.tensor2d([
    [4, 3, -1, 0],
    [4, 3, -1, 0],
    [-0.5, -0.4, -3, -4],
  ]);
  const held = [[0, 0, 2], [], [1]];
  const { tokens, logProbs } = await drawTokens(logits, 0, new Float32Array(3), { repetitionPenalty: 1.5 }, (row) => held[row]);
  expect([...tokens]).toEqual([1, 0, 0]); // 4 / 1.5 < 3; nothing held; -0.4 * 1.5 < -0.5
  const whole = tf.tidy(() => tf.logSoftmax(logits).arraySync() as number[][]);
  tokens.forEach((token, row) => expect(logProbs[row]).toBeCloseTo(whole[row][token], 5));
  expect([...penalize(Float32Array.of(2, -2, 1), [0, 1, 0], 2)]).toEqual([1, -4, 1]);
  expect(() => penalize(Float32Array.of(1), [], 0)).toThrow(/repetition penalty/);
  logits.dispose();
});

test.each([
  [{ topK: -1 }, /topK/],
  [{ topP: 0 }, /topP/],
  [{ topP: 1.5 }, /topP/],
  [{ minP: 2 }, /minP/],
])('%o is refused', (limits, message) => {
  expect(() => limitedDistribution([1, 2], 1, limits)).toThrow(message);
  expect(() => limitedDistribution([1, 2], 0, {})).toThrow(/temperature/);
});
