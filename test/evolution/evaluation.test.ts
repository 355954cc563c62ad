/** The evaluation that ends every stage: greedy and sampled halves over the same questions. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { evaluatePolicy } from '../../src/benchmarks/evaluate-policy.js';
import { evaluateBoth, summaryOf } from '../../src/evolution/evaluation.js';
import { startBackend } from '../../src/tensors/backend.js';
import { taughtEngine, tinyEnvironment, tinyQuestions } from '../rollout/tiny-policy.js';

let engine: Awaited<ReturnType<typeof taughtEngine>>;
beforeAll(async () => {
  await startBackend({ backend: 'simd' });
  engine = await taughtEngine();
});
afterAll(() => engine.dispose());
const both = (options: Parameters<typeof evaluateBoth>[3]) => evaluateBoth(engine, tinyEnvironment, tinyQuestions, options);

test('is a greedy evaluation and one sampled at temperature 1 on the seed that is given', async () => {
  const alone = async (temperature: number, seed?: number) =>
    (await evaluatePolicy(engine, tinyEnvironment, tinyQuestions, { temperature, seed })).records;
  const [found, other] = [await both({ seed: 1 }), await both({ seed: 2 })];
  expect(found).toEqual({ greedy: await alone(0), sampled: await alone(1, 1) });
  expect(other.greedy).toEqual(found.greedy);
  expect(other.sampled).toEqual(await alone(1, 2));
  expect(other.sampled).not.toEqual(found.sampled);
  const right = found.greedy.filter(({ exactMatch }) => exactMatch === 1).length;
  expect(summaryOf(found).greedy.questionMean.value).toBeCloseTo(right / 6, 12);
});

test('counts the episodes of both halves, and is cut off in either', async () => {
  const told: number[] = [];
  await both({ seed: 1, onProgress: (finished, total) => void told.push(finished, total) });
  const finished = told.filter((_, i) => i % 2 === 0);
  expect(finished).toEqual([...finished].sort((a, b) => a - b));
  expect([finished.some((count) => count > 0 && count <= 6), finished.at(-1)]).toEqual([true, 12]);
  expect(new Set(told.filter((_, i) => i % 2))).toEqual(new Set([12]));
  for (const half of [1, 7]) {
    const abort = new AbortController();
    let last = 0;
    const onProgress = (count: number) => {
      last = count;
      if (count >= half) abort.abort(new Error('enough'));
    };
    await expect(both({ seed: 1, signal: abort.signal, onProgress })).rejects.toThrow('enough');
    expect(last).toBeLessThan(half === 1 ? 7 : 13);
  }
});
