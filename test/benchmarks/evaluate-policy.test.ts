/** What an evaluation asks of the engine, and what it keeps of the episodes. */
import { expect, test } from 'vitest';
import { asked as askedOf, evaluatePolicy } from '../../src/benchmarks/evaluate-policy.js';
import type { Engine } from '../../src/engines/engine.js';
import { scriptedEngine, shelf } from '../rollout/scripted.js';

const question = (id: string, dataset: string, metadata?: Record<string, unknown>) => ({
  id,
  dataset,
  question: `who is ${id} ?`,
  goldenAnswers: ['yes'],
  ...(metadata ? { metadata } : {}),
});
const SEARCH = '<search> Amber Falcon author</search>';

/** What was asked of `engine.sample`. */
async function asked(options: Parameters<typeof evaluatePolicy>[3]) {
  const engine = scriptedEngine([`${SEARCH}<answer> yes they are</answer>`, '<answer> yes</answer>']);
  const seen: Parameters<Engine['sample']>[1][] = [];
  const watched: Engine = {
    ...engine,
    sample: (prompts, settings) => {
      seen.push(settings);
      return engine.sample(prompts, settings);
    },
  };
  const found = await evaluatePolicy(
    watched,
    shelf('x'),
    [question('a', 'hotpotqa', { type: 'bridge' }), question('b', 'nq-mini')],
    options,
  );
  expect(seen).toHaveLength(1);
  return { ...found, settings: seen[0] };
}

test('is greedy unless another temperature is given, which reaches the engine with its seed and limits', async () => {
  expect((await asked({})).settings).toMatchObject({ temperature: 0, seed: 0 });
  const signal = new AbortController().signal;
  const limits = { temperature: 0.7, seed: 5, batchSize: 3, maxTokens: 99, signal };
  expect((await asked(limits)).settings).toMatchObject(limits);
});

test('keeps of each episode its question, exact match, F1 by the set’s rule, and searches, in order', async () => {
  const { records, trajectories } = await asked({});
  expect(records).toEqual([
    { dataset: 'hotpotqa', questionId: 'a', questionText: 'who is a ?', type: 'bridge', exactMatch: 0, f1: 0, searches: 1 },
    { dataset: 'nq-mini', questionId: 'b', questionText: 'who is b ?', exactMatch: 1, f1: 1, searches: 0 },
  ]);
  expect(trajectories.map(({ answer }) => answer)).toEqual(['yes they are', 'yes']);
});

test('says of which kind a question is where its set tells: by type, by kind, or by MuSiQue’s number of hops', () => {
  const type = (metadata?: Record<string, unknown>) => askedOf(question('a', 'musique', metadata)).type;
  expect([type({ type: 'comparison' }), type({ kind: 'twoHop' }), type({ musique_id: '3hop1__141138_2053_52946' })]).toEqual([
    'comparison',
    'twoHop',
    '3hop',
  ]);
  expect([type(), type({}), type({ type: 7 }), type({ musique_id: 'other' })]).toEqual([undefined, undefined, undefined, undefined]);
});
