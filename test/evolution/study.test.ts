/** The study's line of work on a tiny policy, and the teacher check on one whose answers are known. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.js';
import { makePairs } from '../../src/evolution/pairs.js';
import { stageSeed } from '../../src/evolution/stages.js';
import { STUDY_ARMS, sftOnReferences, study } from '../../src/evolution/study.js';
import { checkTeacher } from '../../src/evolution/teacher-check.js';
import { pairedSequences } from '../../src/ofsd/ofsd.js';
import { rollout, rolloutGroups } from '../../src/rollout/rollout.js';
import { ownTokens } from '../../src/rollout/scored.js';
import { type Pair, pairSiblings } from '../../src/siblings/siblings.js';
import { startBackend } from '../../src/tensors/backend.js';
import { scriptedEngine, shelf, tokenizer } from '../rollout/scripted.js';
import { taughtEngine, tinyEnvironment, tinyQuestions, weightsOf } from '../rollout/tiny-policy.js';
import { tinyEvolution } from './tiny-run.js';

test('a teacher that copies the reference from its prompt is right, the student that does not see it is wrong', async () => {
  const question = { id: 'q', dataset: 'd', question: 'who ?', goldenAnswers: ['Ada'] };
  const environment = shelf('a book .');
  const [reference, student] = await rollout(scriptedEngine(['<answer> Ada</answer>', '<answer> Eva</answer>']), environment, [
    question,
    question,
  ]);
  const pair: Pair = { reference, student, distance: 1, reason: '' };
  const seen: string[] = [];
  const copies: Engine = {
    ...scriptedEngine([]),
    async sample(prompts, options) {
      const texts = prompts.map((prompt) => tokenizer.decode(prompt));
      seen.push(...texts);
      const answers = texts.map((text) => /<reference>(.*)<\/reference>/.exec(text)?.[1] ?? '<answer> Eva</answer>');
      return scriptedEngine(answers).sample(prompts, options);
    },
  };
  expect(await checkTeacher(copies, environment, [pair, pair])).toEqual({ questions: 2, student: 0, teacher: 1 });
  const privileged = '<question> who ?</question><reference><answer> Ada</answer></reference>';
  expect(seen).toEqual(['<question> who ?</question>', '<question> who ?</question>', privileged, privileged]);
});

test('every teacher that is checked is shown the reference of its own pair', async () => {
  const names = ['Ada', 'Eva', 'Ada'];
  const questions = names.map((name, i) => ({ id: `q${i}`, dataset: 'd', question: `who ${i} ?`, goldenAnswers: [name] }));
  const environment = shelf('a book .');
  const references = await rollout(scriptedEngine(names.map((name) => `<answer> ${name}</answer>`)), environment, questions);
  const pairs = references.map((reference): Pair => ({ reference, student: reference, distance: 1, reason: '' }));
  const copies: Engine = {
    ...scriptedEngine([]),
    async sample(prompts, options) {
      const answers = prompts.map(
        (prompt) => /<reference>(.*)<\/reference>/.exec(tokenizer.decode(prompt))?.[1] ?? '<answer> Lind</answer>',
      );
      return scriptedEngine(answers).sample(prompts, options);
    },
  };
  // Who copies another pair's reference answers one question of three or two wrongly.
  expect(await checkTeacher(copies, environment, pairs)).toEqual({ questions: 3, student: 0, teacher: 1 });
  expect(await checkTeacher(copies, environment, pairs, { privileged: 'none' })).toEqual({ questions: 3, student: 0, teacher: 0 });
  await expect(checkTeacher(copies, environment, [])).rejects.toThrow('checkTeacher: expected at least one pair, got none');
});

test('every arm of the study starts from the same GRPO policy and pairs; the control without a reference changes nothing', async () => {
  await startBackend({ backend: 'simd' });
  const scratch = mkdtempSync(join(tmpdir(), 'search-e1-'));
  try {
    const settings = { ...tinyEvolution, grpo: { ...tinyEvolution.grpo, steps: 2 }, siblings: { ...tinyEvolution.siblings, attempts: 8 } };
    const evaluation = tinyQuestions.slice(0, 3);
    const run = (arms: typeof STUDY_ARMS | ['ofsd-correct']) =>
      study(() => taughtEngine(), scratch, tinyEnvironment, tinyQuestions, evaluation, settings, { arms });
    const all = await run(STUDY_ARMS);
    expect(Object.keys(all.arms)).toEqual([...STUDY_ARMS]);
    expect(all.grpoSteps).toHaveLength(2);
    expect(all.pairs.count + all.pairs.skipped['no correct attempt'] + all.pairs.skipped['nothing different']).toBe(4);
    expect(all.teacher?.questions).toBe(all.pairs.count);
    const first = all.arms['no-reference']?.steps?.[0];
    expect(Math.abs(first?.kl_unclamped ?? 1)).toBeLessThan(1e-6);
    expect(all.arms['no-reference']?.greedy).toEqual(all.grpo.greedy);
    expect(all.arms.ofsd?.steps?.[0].kl_unclamped).toBeGreaterThan(1e-4);
    // An arm alone ends as it does after the others.
    const alone = await run(['ofsd-correct']);
    const told = (arm: typeof all.arms.ofsd) => arm?.steps?.map(({ loss, grad_norm }) => [loss, grad_norm]);
    expect(told(alone.arms['ofsd-correct'])).toEqual(told(all.arms['ofsd-correct']));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

test('each arm is trained on its own pairs: wrong siblings, correct ones, without a reference, and the references themselves', async () => {
  await startBackend({ backend: 'simd' });
  const scratch = mkdtempSync(join(tmpdir(), 'search-e1-'));
  const engine = await taughtEngine();
  try {
    const settings = { ...tinyEvolution, grpo: { ...tinyEvolution.grpo, steps: 1 }, siblings: { questions: 6, attempts: 8 } };
    const trained: Set<string>[] = [];
    const spy: Engine = {
      ...engine,
      dispose: () => undefined,
      async load(folder) {
        await engine.load(folder);
        trained.push(new Set()); // every arm begins with loading GRPO's policy
      },
      forwardBackward(loss, options) {
        for (const datum of loss.name === 'grpo' ? [] : loss.data) trained.at(-1)?.add(JSON.stringify(datum));
        return engine.forwardBackward(loss, options);
      },
    };
    await study(async () => spy, scratch, tinyEnvironment, tinyQuestions, tinyQuestions.slice(0, 1), settings);
    await engine.load(scratch);
    const pairsOf = async (prefer: 'wrong' | 'correct') => {
      const draws = { seed: stageSeed(settings.seed, '1-pairs'), temperature: settings.grpo.temperature };
      return (await makePairs(engine, tinyEnvironment, tinyQuestions, { ...settings.siblings, prefer }, draws)).pairing.pairs;
    };
    const [wrong, correct] = [await pairsOf('wrong'), await pairsOf('correct')];
    const told = (data: readonly unknown[]) => new Set(data.map((datum) => JSON.stringify(datum)));
    const sequences = (pairs: readonly Pair[], privileged: 'reference' | 'none') =>
      told(pairs.map((pair) => pairedSequences(engine, tinyEnvironment.protocol, pair, privileged)));
    expect(sequences(wrong, 'reference')).not.toEqual(sequences(correct, 'reference'));
    expect(trained).toEqual([
      sequences(wrong, 'reference'),
      sequences(correct, 'reference'),
      sequences(wrong, 'none'),
      told(wrong.map(({ reference }) => ownTokens(reference))),
    ]);
  } finally {
    engine.dispose();
    rmSync(scratch, { recursive: true, force: true });
  }
});

test('supervised training on the references makes them likelier', async () => {
  await startBackend({ backend: 'simd' });
  const engine = await taughtEngine();
  const { pairs } = pairSiblings(await rolloutGroups(engine, tinyEnvironment, tinyQuestions, 6, { seed: 1 }));
  const scored = pairs
    .map(({ reference }) => reference)
    .map(({ prompt, tokens, own }) => ({
      tokens: [...prompt, ...tokens],
      scored: own.flatMap((is, t) => (is ? [prompt.length + t] : [])),
    }));
  const likelihood = async () => (await engine.forward(scored)).reduce((sum, values) => sum + values.reduce((a, b) => a + b, 0), 0);
  const [before, weights] = [await likelihood(), await weightsOf(engine)];
  await sftOnReferences(engine, pairs, { ...tinyEvolution.ofsd, epochs: 6, seed: 1 });
  expect(await likelihood()).toBeGreaterThan(before);
  expect(engine.policy.adapter).toBeNull();
  expect(await weightsOf(engine)).not.toEqual(weights);
  engine.dispose();
});
