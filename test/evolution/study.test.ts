/** The study's line of work on a tiny policy, and the teacher check on one whose answers are known. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.js';
import { evaluateBoth, summaryOf } from '../../src/evolution/evaluation.js';
import { makePairs } from '../../src/evolution/pairs.js';
import { stageSeed } from '../../src/evolution/stages.js';
import { STUDY_ARMS, type StudyArm, type StudyOptions, sftOnReferences, study } from '../../src/evolution/study.js';
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

describe('while a study runs', () => {
  const settings = { ...tinyEvolution, grpo: { ...tinyEvolution.grpo, steps: 2 }, siblings: { questions: 4, attempts: 6 } };
  const evaluation = tinyQuestions.slice(0, 3);
  let scratch: string;
  beforeAll(() => startBackend({ backend: 'simd' }).then(() => undefined));
  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), 'search-e1-'));
  });
  afterEach(() => rmSync(scratch, { recursive: true, force: true }));
  const run = (options: StudyOptions, questions = tinyQuestions) =>
    study(() => taughtEngine(), scratch, tinyEnvironment, questions, evaluation, settings, options);

  test('it says what it is at and how far, and evaluates as a run with its seed does', async () => {
    const last = new Map<string, [number, number]>();
    const started = Date.now();
    const record = await run({ arms: ['sft', 'ofsd'], onProgress: (what, finished, total) => last.set(what, [finished, total]) });
    expect(record.seconds).toBeLessThanOrEqual((Date.now() - started) / 1000 + 0.001);
    expect([...last.keys()]).toEqual(['evaluate base', 'grpo', 'evaluate grpo', 'pairs', 'sft', 'evaluate sft', 'ofsd', 'evaluate ofsd']);
    for (const [what, [finished, total]] of last) expect(finished, what).toBe(total);
    expect([last.get('evaluate base'), last.get('grpo'), last.get('pairs')]).toEqual([
      [6, 6],
      [2, 2],
      [24, 24],
    ]);
    const engine = await taughtEngine();
    const seed = stageSeed(settings.seed, 'evaluation');
    expect(record.base).toEqual(summaryOf(await evaluateBoth(engine, tinyEnvironment, evaluation, { seed })));
    engine.dispose();
  });

  test.each(['evaluate base', 'grpo', 'evaluate grpo', 'pairs', 'sft', 'ofsd', 'evaluate ofsd'])(
    'an abort at "%s" ends it there',
    async (at) => {
      const abort = new AbortController();
      const seen: string[] = [];
      const onProgress = (what: string) => {
        seen.push(what);
        if (what === at) abort.abort(new Error('enough'));
      };
      await expect(run({ arms: ['sft', 'ofsd'], onProgress, signal: abort.signal })).rejects.toThrow('enough');
      expect(new Set(seen.slice(seen.indexOf(at)))).toEqual(new Set([at]));
    },
  );

  test('it counts the students that answered wrong', async () => {
    const few = { ...settings, siblings: { questions: 6, attempts: 2 } };
    const { pairs } = await study(() => taughtEngine(), scratch, tinyEnvironment, tinyQuestions, evaluation, few, { arms: [] });
    const engine = await taughtEngine();
    await engine.load(scratch); // what GRPO left
    const draws = { seed: stageSeed(few.seed, '1-pairs'), temperature: few.grpo.temperature };
    const { pairing } = await makePairs(engine, tinyEnvironment, tinyQuestions, { ...few.siblings, prefer: 'wrong' }, draws);
    engine.dispose();
    const wrong = pairing.pairs.filter(({ student }) => student.reward === 0).length;
    expect(wrong * (pairing.pairs.length - wrong) * (pairing.pairs.length - 2 * wrong)).not.toBe(0); // some, not all, not half
    expect(pairs).toEqual({ count: pairing.pairs.length, skipped: pairing.skipped, searchGap: pairing.searchGap, wrongStudents: wrong });
  });

  test('an arm that there is not is refused before anything is done, and where nothing pairs no arm is taken', async () => {
    await expect(run({ arms: ['ofsd', 'dpo' as StudyArm] })).rejects.toThrow(
      'arms: expected some of ofsd, ofsd-correct, no-reference, sft, got dpo',
    );
    const hopeless = tinyQuestions.map((question) => ({ ...question, goldenAnswers: ['Mill'] }));
    expect(await run({}, hopeless)).toMatchObject({ teacher: null, arms: {}, pairs: { count: 0, skipped: { 'no correct attempt': 4 } } });
  });
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
