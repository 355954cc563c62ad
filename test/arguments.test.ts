/** What JavaScript lets through where TypeScript would not: every door says what it got and what it expects, and never `Cannot read properties of undefined`. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as benchmarksFolder from '../src/benchmarks/index.js';
import * as display from '../src/display/index.js';
import * as enginesFolder from '../src/engines/index.js';
import * as evolutionFolder from '../src/evolution/index.js';
import * as grpoFolder from '../src/grpo/index.js';
import * as main from '../src/index.js';
import * as ofsdFolder from '../src/ofsd/index.js';
import * as policyFolder from '../src/policy/index.js';
import * as rewardFolder from '../src/reward/index.js';
import * as rolloutFolder from '../src/rollout/index.js';
import * as runsFolder from '../src/runs/index.js';
import * as searchFolder from '../src/search/index.js';
import * as siblingsFolder from '../src/siblings/index.js';
import * as tensorsFolder from '../src/tensors/index.js';
import * as tinypediaFolder from '../src/tinypedia/index.js';

const doors = {
  ...main,
  ...benchmarksFolder,
  ...enginesFolder,
  ...evolutionFolder,
  ...grpoFolder,
  ...ofsdFolder,
  ...policyFolder,
  ...rewardFolder,
  ...rolloutFolder,
  ...runsFolder,
  ...searchFolder,
  ...siblingsFolder,
  ...tensorsFolder,
  ...tinypediaFolder,
};
// biome-ignore lint/suspicious/noExplicitAny: what callers without types write is the subject
const door = doors as any;
const { classroomProtocol, basePolicyFolder } = door;
const question = { id: '1', dataset: 'd', question: 'who ?', goldenAnswers: ['Ada'] };
const environment = { protocol: classroomProtocol, searcher: { search: async () => [] } };
let engine: enginesFolder.InProcessEngine;
beforeAll(async () => {
  engine = await door.openEngine();
});
afterAll(() => engine.dispose());

type Misuse = readonly [call: string, run: () => unknown, message: string];

const refuses = (misuses: readonly Misuse[]) =>
  test.each(misuses)('%s', async (_, run, message) => {
    await expect((async () => run())()).rejects.toThrow(message);
  });

describe('paths', () => {
  refuses(
    (['openEngine', 'loadPolicy', 'loadTokenizer'] as const).flatMap((name): Misuse[] => [
      [`${name}(5)`, () => door[name](5), `${name}: expected a path, got 5`],
      [`${name}(null)`, () => door[name](null), `${name}: expected a path, got null`],
      [`${name}('')`, () => door[name](''), `${name}: expected a path, got ""`],
      [`${name}({})`, () => door[name]({ folder: 'x' }), `${name}: expected a path, got an object of folder`],
    ]),
  );
  refuses([
    ['trainBasePolicy without a folder', () => door.trainBasePolicy({}), 'trainBasePolicy: out: expected a path, got undefined'],
    [
      'trainBasePolicy without a backend',
      () => door.trainBasePolicy({ out: 'x' }),
      'trainBasePolicy: backend: expected an object with name',
    ],
    ['resumeBasePolicy in no folder', () => door.resumeBasePolicy({ out: ' ' }), 'resumeBasePolicy: out: expected a path, got " "'],
  ]);
});

describe('options', () => {
  refuses([
    [
      'openEngine, misspelt',
      () => door.openEngine(undefined, { memorybudget: 1 }),
      'there is no option memorybudget; expected memoryBudget,',
    ],
    ['openEngine, a text', () => door.openEngine(undefined, 'cpu'), 'openEngine: options: expected an object, got "cpu"'],
    ['openEngine, a list', () => door.openEngine(undefined, []), 'openEngine: options: expected an object, got a list of 0'],
    ['openEngine, null', () => door.openEngine(undefined, null), 'openEngine: options: expected an object, got null'],
    ['loadPolicy, misspelt', () => door.loadPolicy(basePolicyFolder(), { stroage: 'stored' }), 'loadPolicy: there is no option stroage'],
    [
      'loadPolicy, storage',
      () => door.loadPolicy(basePolicyFolder(), { storage: 'int8' }),
      'storage: expected float32, stored; got "int8"',
    ],
    [
      'inProcessEngine of nothing',
      () => door.inProcessEngine(),
      'inProcessEngine: policy: expected an object with config, weights, got undefined',
    ],
    [
      'inProcessEngine, no tokenizer',
      () => door.inProcessEngine(engine.policy, {}),
      'tokenizer: expected an object with encode, decode, got an object of nothing, without encode',
    ],
    [
      'tinypedia, misspelt',
      () => door.tinypedia(1, { questionsperset: 5 }),
      'tinypedia: there is no option questionsperset; expected questionsPerSet, trainPerSet',
    ],
    ['f1, another rule', () => door.f1('a', ['a'], { rule: 'rouge' }), 'f1: rule: expected squad, hotpotqa, triviaqa; got "rouge"'],
    ['f1, misspelt', () => door.f1('a', ['a'], { rules: 'squad' }), 'f1: there is no option rules'],
    [
      'choosePair',
      () => door.choosePair({ trajectories: [] }, { prefer: 'right' }),
      'siblings: prefer: expected wrong, correct, only-correct; got "right"',
    ],
    ['choosePair, a text', () => door.choosePair({ trajectories: [] }, 'wrong'), 'siblings: options: expected an object, got "wrong"'],
    ['pairSiblings of no group', () => door.pairSiblings([], { prefer: 'right' }), 'siblings: prefer'],
  ]);
});

describe('a seed', () => {
  refuses(
    ['a', undefined, null, Number.NaN, 1.5, 2 ** 53, Number.POSITIVE_INFINITY].map(
      (seed): Misuse => [`${seed}`, () => door.random(seed), 'random: expected an integer as the seed, got '],
    ),
  );
  refuses([['of a world', () => door.tinypedia('a'), 'random: expected an integer as the seed, got "a"']]);
});

describe('a rollout', () => {
  const roll = (...args: unknown[]) => door.rollout(engine, ...args);
  refuses([
    [
      'without an engine',
      () => door.rollout(undefined, environment, []),
      'rollout: engine: expected an object with sample, tokenizer, got undefined',
    ],
    ['without an environment', () => roll(), 'rollout: environment: expected an object with protocol, searcher, got undefined'],
    ['without a searcher', () => roll({ protocol: classroomProtocol }, []), 'got an object of protocol, without searcher'],
    ['of a text', () => roll(environment, 'who ?'), 'rollout: questions: expected a list of questions, got "who ?"'],
    [
      'of texts',
      () => roll(environment, ['who ?']),
      'rollout: question 0: expected an object with id, dataset, question, goldenAnswers, got "who ?"',
    ],
    [
      'without gold answers',
      () => roll(environment, [question, { ...question, goldenAnswers: undefined }]),
      'question 1: expected an object with',
    ],
    [
      'with one gold answer as a text',
      () => roll(environment, [{ ...question, goldenAnswers: 'Ada' }]),
      'question 0: goldenAnswers: expected a list of texts, got "Ada"',
    ],
    [
      'with a number as gold answer',
      () => roll(environment, [{ ...question, goldenAnswers: ['Ada', 5] }]),
      'goldenAnswers: expected a list of texts, got 5 at 1',
    ],
    ['of no text', () => roll(environment, [{ ...question, question: 5 }]), 'question 0: question: expected a text, got 5'],
    [
      'with a misspelt option',
      () => roll(environment, [question], { temprature: 1 }),
      'rollout: there is no option temprature; expected temperature,',
    ],
    [
      'that evaluates, with a misspelt option',
      () => door.evaluatePolicy(engine, environment, [question], { limit: 1 }),
      'there is no option limit',
    ],
  ]);
});

describe('a score', () => {
  const ofScorers = (['exactMatch', 'coverMatch', 'f1'] as const).flatMap((name): Misuse[] => [
    [`${name} of a number`, () => door[name](1, ['1']), `${name}: the answer (null: none): expected a text, got 1`],
    [`${name} of undefined`, () => door[name](undefined, ['1']), `${name}: the answer (null: none)`],
    [`${name} without gold answers`, () => door[name]('a'), `${name}: goldenAnswers: expected a list of texts, got undefined`],
    [`${name} against a text`, () => door[name]('a', 'a'), `${name}: goldenAnswers: expected a list of texts, got "a"`],
    [`${name} of no answer, against a number`, () => door[name](null, [1]), `${name}: goldenAnswers: expected a list of texts, got 1 at 0`],
  ]);
  refuses(ofScorers);
  refuses([
    ['extractAnswer of nothing', () => door.extractAnswer(), 'extractAnswer: the sequence: expected a text'],
    ['extractAnswerSearchR1 of tokens', () => door.extractAnswerSearchR1([1, 2]), 'extractAnswer: the sequence: expected a text'],
    ['normalizeAnswer of a number', () => door.normalizeAnswer(3), 'normalizeAnswer: what was given: expected a text, got 3'],
  ]);
});

test('the stages of a run are refused without the seed of their draws, and a loss without a trajectory', async () => {
  const settings = { questions: 1, attempts: 2, prefer: 'wrong' };
  await expect(door.makePairs(engine, environment, [question], settings)).rejects.toThrow(
    /^makePairs: options: expected an object with seed/,
  );
  await expect(door.evaluateBoth(engine, environment, [question], {})).rejects.toThrow(/^evaluateBoth: options: .*, without seed$/);
  expect(() => door.ownTokens({})).toThrow(/^ownTokens: what was given: expected an object with prompt, tokens, own, got/);
});

test('agents, recall, training and displays are refused without what they work on', async () => {
  const searcher = { search: async () => [] };
  for (const [attempt, message] of [
    [() => door.runLexicalAgent('x', 'y' as never), /^runLexicalAgent: searcher: expected an object with search, got "y"/],
    [() => door.runLexicalAgent(5 as never, searcher), /^runLexicalAgent: question: expected a text, got 5/],
    [() => door.evaluateLexicalAgent({} as never, searcher), /^evaluateLexicalAgent: expected a list of questions/],
    [() => door.evaluateLexicalAgent([], 5 as never), /^evaluateLexicalAgent: searcher: expected an object with search, got 5/],
    [() => door.measureRecall(searcher, undefined as never), /^measureRecall: expected a list of questions, got undefined/],
    [() => door.measureRecall({} as never, []), /^measureRecall: searcher: expected an object with search/],
    [() => door.measureRecall(searcher, [], 5 as never), /^measureRecall: expected a list of numbers for ks, got 5/],
    [() => door.loadQuestions(undefined as never, 'mine'), /^loadQuestions: expected a path, got undefined/],
    [() => door.loadQuestions('x.jsonl', undefined as never), /^loadQuestions: dataset: expected a text, got undefined/],
    [() => door.grpo({} as never, environment, [], undefined as never), /^grpo: settings: expected an object, got undefined/],
    [() => door.grpo({} as never, environment, [], door.classroomGrpo), /^grpo: engine: expected an object with sample/],
  ] as const)
    await expect((async () => attempt())()).rejects.toThrow(message);
});

describe('marked text', () => {
  refuses([
    ['called with nothing', () => door.marked(), 'marked: the template: expected a list of texts, got undefined'],
    ['called with a text', () => door.marked('a'), 'marked: the template: expected a list of texts, got "a"'],
    ['with a hole', () => door.marked`a ${undefined} b`, 'marked text: expected text or marked text to put in, got undefined'],
    ['with a number', () => door.marked`a ${5}`, 'marked text: expected text or marked text to put in, got 5'],
  ]);
});

describe('displays', () => {
  // biome-ignore lint/suspicious/noExplicitAny: as above
  const shown = display as any;
  const done = (n: unknown) => shown.progress({ label: 'a', total: 2 }).update(n);
  refuses([
    ['progress of nothing', () => shown.progress(), 'progress: options: expected an object, got undefined'],
    ['progress without a label', () => shown.progress({ total: 2 }), 'progress: label: expected a text, got undefined'],
    ['progress without an end', () => shown.progress({ label: 'a' }), 'progress: total: expected a number from 0, got undefined'],
    ['progress to NaN', () => shown.progress({ label: 'a', total: Number.NaN }), 'progress: total: expected a number from 0, got NaN'],
    ['progress, misspelt', () => shown.progress({ label: 'a', total: 2, units: 'b' }), 'progress: there is no option units'],
    ['progress at a pace as text', () => shown.progress({ label: 'a', total: 2, interval: '9' }), 'progress: interval: expected a number'],
    ['progress by nothing', () => done(undefined), 'progress: done: expected a number from 0, got undefined'],
    ['progress by NaN', () => done(Number.NaN), 'progress: done: expected a number from 0, got NaN'],
    ['tracked nothing', () => shown.tracked(undefined, { label: 'a' }), 'tracked: expected a list, got undefined'],
    ['tracked text', () => shown.tracked('abc', { label: 'a' }), 'tracked: expected a list, got "abc"'],
    ['tracked without a label', () => shown.tracked([1]), 'tracked: options: expected an object, got undefined'],
    ['livePlot of nothing', () => shown.livePlot(), 'livePlot: layout: expected an object, got undefined'],
    ['livePlot of a text', () => shown.livePlot('step'), 'livePlot: layout: expected an object, got "step"'],
    ['plot of a missing trace', () => shown.plot([undefined]), 'plot: trace 1 of 1: expected an object, got undefined'],
    ['plot without a layout', () => shown.plot([{ y: [1] }], null), 'plot: layout: expected an object, got null'],
    ['showPlot of nothing', () => shown.showPlot(), 'showPlot: figure: expected an object with data, layout, got undefined'],
    ['figurePng of nothing', () => shown.figurePng(), 'figurePng: figure: expected an object with data, layout, got undefined'],
    [
      'figurePng of traces',
      () => shown.figurePng([{ y: [1] }]),
      'figurePng: figure: expected an object with data, layout, got a list of 1',
    ],
    [
      'figurePng at no scale',
      () => shown.figurePng(shown.plot([{ y: [1] }], { xaxis: 'a', yaxis: 'b' }), { scale: '2' }),
      'figurePng: scale: expected a number above 0, got "2"',
    ],
  ]);
});

test('a disposed engine says so, whatever is asked of it, and may be disposed again', async () => {
  const gone = await door.openEngine();
  gone.dispose();
  gone.dispose();
  const said = /the policy is disposed, and its engine with it: open it again \(openEngine, loadPolicy\)/;
  await expect(door.rollout(gone, environment, [question])).rejects.toThrow(said);
  await expect(door.evaluatePolicy(gone, environment, [question])).rejects.toThrow(said);
  await expect(gone.forward([{ tokens: [1, 2], scored: [1] }])).rejects.toThrow(said);
  await expect(gone.forwardBackward(door.crossEntropyLoss([{ tokens: [1, 2], scored: [1] }]))).rejects.toThrow(said);
  await expect(gone.save('nowhere')).rejects.toThrow(said);
  expect(() => gone.snapshot()).toThrow(said);
});
