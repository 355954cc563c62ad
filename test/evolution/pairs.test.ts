/** Where a round's pairs come from: which questions, which draws. */
import { beforeAll, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.js';
import { makePairs } from '../../src/evolution/pairs.js';
import { checkTeacher } from '../../src/evolution/teacher-check.js';
import { random } from '../../src/random.js';
import { rolloutGroups } from '../../src/rollout/rollout.js';
import { pairSiblings } from '../../src/siblings/siblings.js';
import { startBackend } from '../../src/tensors/backend.js';
import { taughtEngine, tinyEnvironment, tinyQuestions } from '../rollout/tiny-policy.js';

beforeAll(() => startBackend({ backend: 'simd' }).then(() => undefined));

test('attempts at drawn questions, paired, and a check of the teacher, each on draws of its own name, so that a record can be drawn again', async () => {
  const engine = await taughtEngine();
  const seeds = new Set<number | undefined>();
  const spy: Engine = {
    ...engine,
    sample(prompts, options) {
      seeds.add(options.seed);
      return engine.sample(prompts, options);
    },
  };
  const settings = { questions: 4, attempts: 6, prefer: 'correct' } as const;
  const made = await makePairs(spy, tinyEnvironment, tinyQuestions, settings, { seed: 5, temperature: 0.9 });
  const seedOf = (name: string) => random(5, name).integer(2 ** 31);
  const questions = random(5, 'questions').shuffle(tinyQuestions).slice(0, 4);
  const groups = await rolloutGroups(engine, tinyEnvironment, questions, 6, { temperature: 0.9, seed: seedOf('attempts') });
  const pairing = pairSiblings(groups, settings);
  expect(pairing.pairs.length).toBeGreaterThan(0);
  expect(made.pairing).toEqual(pairing);
  expect(made.teacher).toEqual(await checkTeacher(engine, tinyEnvironment, pairing.pairs, { temperature: 0.9, seed: seedOf('teacher') }));
  expect(seeds).toEqual(new Set([seedOf('attempts'), seedOf('teacher')]));
  engine.dispose();
});
