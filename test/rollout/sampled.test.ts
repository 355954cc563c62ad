/** Real rollouts by a tiny policy: what may change a sequence, and what may not. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type GrpoDatum, grpoLoss } from '../../src/grpo/loss.js';
import { rollout } from '../../src/rollout/rollout.js';
import { ownTokens } from '../../src/rollout/scored.js';
import type { Trajectory } from '../../src/rollout/trajectory.js';
import { startBackend } from '../../src/tensors/backend.js';
import { expectArraysClose, gradientsThrough } from '../policy/xs.js';
import { taughtEngine, tinyEnvironment, tinyQuestions } from './tiny-policy.js';

let engine: Awaited<ReturnType<typeof taughtEngine>>;
const questions = [...tinyQuestions, ...tinyQuestions].map((q, i) => (i % 2 ? q : { ...q, question: `tell me ${q.question}` }));
const options = { seed: 7, maxTokens: 60 };
let reference: Trajectory[];

beforeAll(async () => {
  await startBackend({ backend: 'simd' });
  engine = await taughtEngine();
  reference = await rollout(engine, tinyEnvironment, questions, options);
});
afterAll(() => engine.dispose());

test('the policy searches, and answers right and wrong: what the other tests compare occurs', () => {
  const kinds = new Set(reference.flatMap(({ turns }) => turns.map(({ kind }) => kind)));
  expect([...kinds].sort()).toEqual(expect.arrayContaining(['answer', 'search']));
  expect(new Set(reference.map(({ reward }) => reward))).toEqual(new Set([0, 1]));
  expect(new Set(reference.map(({ prompt }) => prompt.length)).size).toBeGreaterThan(1);
});

test('the same seed gives the same episodes, another seed others', async () => {
  expect(await rollout(engine, tinyEnvironment, questions, options)).toEqual(reference);
  const other = await rollout(engine, tinyEnvironment, questions, { ...options, seed: 8 });
  expect(other.map(({ tokens }) => tokens)).not.toEqual(reference.map(({ tokens }) => tokens));
});

test.each([1, 3, 100])('episodes are the same to the last bit in any batch: %i at a time', async (batchSize) => {
  expect(await rollout(engine, tinyEnvironment, questions, { ...options, batchSize })).toEqual(reference);
});

test('an episode does not depend on the other questions', async () => {
  const alone = await rollout(engine, tinyEnvironment, questions.slice(0, 1), options);
  expect(alone[0]).toEqual(reference[0]);
  const others = await rollout(
    engine,
    tinyEnvironment,
    questions.map((q, i) => (i === 4 ? q : { ...q, question: 'who ?' })),
    options,
  );
  expect(others[4]).toEqual(reference[4]);
});

test('log-probabilities recorded while sampling equal a forward pass over the same tokens', async () => {
  const forward = await engine.forward(reference.map(ownTokens));
  reference.forEach(({ own, logProbs }, i) => {
    const recorded = logProbs.filter((_, t) => own[t]);
    expect(forward[i].length).toBe(recorded.length);
    recorded.forEach((p, k) => {
      expect(Math.abs(p - forward[i][k]), `episode ${i}, own token ${k}`).toBeLessThanOrEqual(1e-4);
    });
  });
});

test("as GRPO's old policy they make the first ratio 1, clip nothing and leave the gradient as it is, to rounding", async () => {
  const forward = await engine.forward(reference.map(ownTokens));
  const ratios = reference.flatMap(({ own, logProbs }, i) =>
    logProbs.filter((_, t) => own[t]).map((old, k) => Math.exp(forward[i][k] - old)),
  );
  expect(Math.max(...ratios.map((ratio) => Math.abs(ratio - 1)))).toBeLessThanOrEqual(1e-4);
  const data = (old: (i: number) => ArrayLike<number>): GrpoDatum[] =>
    reference.map((trajectory, i) => ({
      ...ownTokens(trajectory),
      advantage: trajectory.reward - 0.5,
      oldLogProbs: old(i),
      referenceLogProbs: forward[i],
    }));
  const recorded = data((i) => reference[i].logProbs.filter((_, t) => reference[i].own[t]));
  const losses = [recorded, data((i) => forward[i])].map((of) => grpoLoss(of, { clipLow: 0.2, clipHigh: 0.2, beta: 0.001 }));
  const [a, b] = [
    await gradientsThrough(engine, [losses[0]], engine.policy.weights),
    await gradientsThrough(engine, [losses[1]], engine.policy.weights),
  ];
  expect(a.reports[0].metrics.clip_ratio).toBe(0);
  for (const [name, gradient] of b.gradients) expectArraysClose(a.gradients.get(name) as Float32Array, gradient, 1e-5, name);
});

test('a batch may be stopped between tokens', async () => {
  const abort = new AbortController();
  const stopped = rollout(engine, tinyEnvironment, questions, {
    ...options,
    signal: abort.signal,
    onTurn: () => abort.abort(new Error('enough')),
  });
  await expect(stopped).rejects.toThrow('enough');
});

test('progress counts every episode once, up to all of them', async () => {
  const seen: string[] = [];
  await rollout(engine, tinyEnvironment, questions, {
    ...options,
    batchSize: 5,
    onProgress: (finished, total) => seen.push(`${finished}/${total}`),
  });
  expect(seen).toEqual(questions.map((_, i) => `${i + 1}/${questions.length}`));
});
