/** Packing computes less, never anything else: structure, and gradients against one sequence at a time. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import type { Scored } from '../../src/engines/engine.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { LEAST_SHARED, pack } from '../../src/engines/packing.js';
import { grpoLoss } from '../../src/grpo/loss.js';
import { forwardKlLoss } from '../../src/ofsd/loss.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import type { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { fixtureFolder, gradientsThrough, noTokenizer } from '../policy/xs.js';
import { batches } from './batches.js';

let policy: Policy;
beforeAll(async () => {
  await startBackend({ backend: 'simd' });
  policy = await loadPolicy(fixtureFolder('xs_tied'));
});
afterAll(() => policy.dispose());

test('every scored token is predicted from a row that has read exactly what comes before it', () => {
  fc.assert(
    fc.property(batches, (data) => {
      const { tokens, positions, segments, states, stateOf } = pack(data);
      const reads = new Map<number, number[]>(); // row -> rows of the keys it reads
      let query = 0;
      for (const { queries, keys, from, before = [] } of segments) {
        expect([query, queries]).toEqual([from, keys]); // a segment's queries and own keys are the same rows
        const shared = before.flatMap((range) => Array.from({ length: range.keys }, (_, i) => range.from + i));
        for (let i = 0; i < queries; i++, query++) reads.set(query, [...shared, ...Array.from({ length: i + 1 }, (_, j) => from + j)]);
      }
      expect(query).toBe(tokens.length);
      const wanted = data.flatMap(({ tokens, scored }) => scored.map((t) => tokens.slice(0, t)));
      expect([...states]).toEqual([...new Set(states)].sort((a, b) => a - b));
      stateOf.forEach((state, n) => {
        const read = reads.get(states[state]) as number[];
        expect(read.map((at) => tokens[at])).toEqual(wanted[n]);
        expect(read.map((at) => positions[at])).toEqual(wanted[n].map((_, t) => t));
      });
    }),
    { numRuns: 200, seed: 1 },
  );
});

test('what siblings begin with is computed once, in whatever order they come', () => {
  const ids = (n: number, start: number) => Array.from({ length: n }, (_, i) => (start + 7 * i) % 251);
  const prompt = ids(20, 1);
  const search = ids(15, 3);
  const item = (...parts: number[][]): Scored => ({ tokens: parts.flat(), scored: [20, parts.flat().length - 1] });
  const siblings = [item(prompt, search, ids(9, 4)), item(prompt, ids(5, 6)), item(prompt, search, ids(4, 5)), item(ids(30, 9))];
  for (const order of [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [1, 3, 0, 2],
  ]) {
    // The last token of each is predicted and not read: 20 + 15 + 8 + 3 for the two that search, 4, and 29 of another question.
    expect(pack(order.map((i) => siblings[i])).tokens.length).toBe(20 + 15 + 8 + 3 + 4 + 29);
  }
  const few = ids(LEAST_SHARED - 1, 1);
  expect(pack([item(few, ids(20, 50)), item(few, ids(20, 60))]).tokens.length).toBe(2 * (few.length + 19));
  expect(pack([siblings[0], siblings[0]]).tokens.length).toBe(43);
});

/** The largest difference of two gradients, relative to the norm of the second. */
const apart = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>) => {
  let [difference, norm] = [0, 0];
  for (const [name, gradient] of b) {
    const other = a.get(name) as Float32Array;
    gradient.forEach((value, i) => {
      difference += (other[i] - value) ** 2;
      norm += value ** 2;
    });
  }
  return Math.sqrt(difference / norm);
};

const losses = (data: readonly Scored[]) => {
  const source = random(3, 'loss');
  const near = (count: number) => Float32Array.from({ length: count }, () => -5.5 + 0.2 * source.normal());
  return {
    'cross entropy': crossEntropyLoss(data),
    GRPO: grpoLoss(
      data.map((item, i) => ({
        ...item,
        advantage: i % 2 ? 1 : -0.7,
        oldLogProbs: near(item.scored.length),
        referenceLogProbs: near(item.scored.length),
      })),
      { clipLow: 0.2, clipHigh: 0.2, beta: 0.001 },
    ),
    'forward KL': forwardKlLoss(
      data.map((item) => {
        const more = Array.from({ length: 13 }, () => source.integer(256));
        return { ...item, teacher: { tokens: [...more, ...item.tokens], scored: item.scored.map((t) => t + 13) } };
      }),
      { clamp: 0.5 },
    ),
  };
};

test.each(['cross entropy', 'GRPO', 'forward KL'] as const)(
  'loss and gradients of a packed batch are those of its sequences one at a time: %s',
  async (name) => {
    const [packed, single] = [1e9, 1].map((memoryBudget) => inProcessEngine(policy, noTokenizer, { memoryBudget }));
    if (name === 'forward KL') {
      packed.addAdapter({ rank: 3, alpha: 6, seed: 2 });
      const [b] = [...(policy.adapter?.variables ?? [])].filter(([variable]) => variable.includes('B'));
      tf.tidy(() => b[1].assign(tf.randomNormal(b[1].shape, 0, 0.1, 'float32', 3)));
    }
    try {
      await fc.assert(
        fc.asyncProperty(batches, async (data) => {
          const loss = losses(data)[name];
          const a = await gradientsThrough(packed, [loss], policy.trainable as ReadonlyMap<string, tf.Variable>);
          const b = await gradientsThrough(single, [loss], policy.trainable as ReadonlyMap<string, tf.Variable>);
          expect(Math.abs(a.reports[0].loss - b.reports[0].loss)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(b.reports[0].loss)));
          expect(a.reports[0].tokens).toBe(b.reports[0].tokens);
          expect(apart(a.gradients, b.gradients)).toBeLessThanOrEqual(1e-5);
        }),
        { numRuns: 8, seed: 1 },
      );
    } finally {
      if (policy.adapter) packed.dropAdapter();
    }
  },
);

test('the order of the siblings changes neither loss nor gradients', async () => {
  const engine = inProcessEngine(policy, noTokenizer);
  await fc.assert(
    fc.asyncProperty(batches, fc.nat(), async (data, seed) => {
      const grpo = losses(data).GRPO;
      const [a, b] = [grpo, { ...grpo, data: random(seed).shuffle(grpo.data) }];
      const first = await gradientsThrough(engine, [a], policy.weights);
      const second = await gradientsThrough(engine, [b], policy.weights);
      expect(Math.abs(first.reports[0].loss - second.reports[0].loss)).toBeLessThanOrEqual(1e-6);
      expect(apart(first.gradients, second.gradients)).toBeLessThanOrEqual(1e-6);
    }),
    { numRuns: 6, seed: 1 },
  );
});
