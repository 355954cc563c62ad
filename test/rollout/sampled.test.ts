/** Real rollouts by a tiny policy: what may change a sequence, and what may not. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { rollout } from '../../src/rollout/rollout.js';
import { ownTokens } from '../../src/rollout/scored.js';
import type { Trajectory } from '../../src/rollout/trajectory.js';
import { startBackend } from '../../src/tensors/backend.js';
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

test.each([1, 3, 100])('episodes do not depend on the batch they are in: %i at a time', async (batchSize) => {
  const again = await rollout(engine, tinyEnvironment, questions, { ...options, batchSize });
  expect(again.map(({ tokens, own, reward }) => ({ tokens, own, reward }))).toEqual(
    reference.map(({ tokens, own, reward }) => ({ tokens, own, reward })),
  );
  again.forEach(({ logProbs }, i) => {
    logProbs.forEach((p, t) => {
      expect(Math.abs(p - reference[i].logProbs[t])).toBeLessThanOrEqual(1e-4);
    });
  });
});

test('an episode does not depend on the other questions', async () => {
  const alone = await rollout(engine, tinyEnvironment, questions.slice(0, 1), options);
  expect(alone[0].tokens).toEqual(reference[0].tokens);
  const others = await rollout(
    engine,
    tinyEnvironment,
    questions.map((q, i) => (i === 4 ? q : { ...q, question: 'who ?' })),
    options,
  );
  expect(others[4].tokens).toEqual(reference[4].tokens);
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
