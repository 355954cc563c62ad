/** Engine data that does not fit is refused at the door, whichever method it is given to. */
import { expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import type { Loss, Paired, Scored } from '../../src/engines/engine.js';
import { checkLoss, checkPaired, checkPrompts, checkScored } from '../../src/engines/engine-data.js';
import { checkOptimizer } from '../../src/engines/optimizer-settings.js';
import { forwardKlLoss } from '../../src/ofsd/loss.js';

const VOCABULARY = 10;
const tokens = [1, 2, 3, 4];

test.each([[{ tokens, scored: [] }], [{ tokens, scored: [1, 2, 3] }], [{ tokens: [0, 9], scored: [1] }], [{ tokens: [], scored: [] }]])(
  '%j fits',
  (item) => {
    expect(() => checkScored('forward', [item], VOCABULARY)).not.toThrow();
  },
);

test.each<[string, unknown, RegExp]>([
  ['positions that fall', { tokens, scored: [3, 1] }, /^forward: sequence 1: scored\[1\] is position 1 after 3, expected ascending/],
  ['a position twice', { tokens, scored: [2, 2] }, /scored\[1\] is position 2 after 2, expected ascending positions, each once/],
  [
    'a position beyond the end',
    { tokens, scored: [4] },
    /scored\[0\] is position 4, expected a whole number from 1 to 3.*there are 4 tokens/,
  ],
  ['position 0', { tokens, scored: [0] }, /scored\[0\] is position 0, expected .*nothing comes before position 0/],
  ['a position below 0', { tokens, scored: [1, -1] }, /scored\[1\] is position -1/],
  ['half a position', { tokens, scored: [1.5] }, /scored\[0\] is position 1.5/],
  ['a position that is no number', { tokens, scored: ['2'] }, /scored\[0\] is position "2"/],
  ['an id of the vocabulary’s size', { tokens: [1, 10], scored: [1] }, /tokens: element 1 is 10, expected a token id.*from 0 to 9$/],
  ['an id below 0', { tokens: [-1, 1], scored: [1] }, /tokens: element 0 is -1/],
  ['half an id', { tokens: [1, 0.5], scored: [1] }, /tokens: element 1 is 0.5/],
  ['an id that is NaN', { tokens: [Number.NaN, 1], scored: [1] }, /tokens: element 0 is NaN/],
  ['tokens that are no array', { tokens: 'abc', scored: [1] }, /tokens: expected an array of token ids, got "abc"/],
  ['positions that are no array', { tokens }, /scored: expected an array of positions, got undefined/],
  ['no sequence', null, /^forward: sequence 1: expected \{ tokens, scored \}, got null/],
  ['a number', 3, /^forward: sequence 1: expected \{ tokens, scored \}, got 3/],
])('%s is refused by the sequence and place', (_, item, message) => {
  expect(() => checkScored('forward', [{ tokens, scored: [1] }, item as Scored], VOCABULARY)).toThrow(message);
});

test('data that is no array, and prompts that do not fit, are refused', () => {
  expect(() => checkScored('forward', {} as Scored[], VOCABULARY)).toThrow(
    new TypeError('forward: data: expected an array of sequences, got a Object'),
  );
  expect(() => checkPrompts('ab' as never, VOCABULARY)).toThrow(new TypeError('sample: prompts: expected an array of prompts, got "ab"'));
  expect(() => checkPrompts([[1], [2, 11]], VOCABULARY)).toThrow(/^sample: prompt 1: element 1 is 11/);
  expect(() => checkPrompts([[1], [2, 9]], VOCABULARY)).not.toThrow();
});

const student = { tokens: [5, 1, 2], scored: [1, 2] };
const pair = (teacher: unknown) => [{ ...student, teacher }] as Paired[];

test('a teacher names the tokens that the student names, wherever they are', () => {
  expect(() => checkPaired('compare', pair({ tokens: [7, 8, 1, 6, 2], scored: [2, 4] }), VOCABULARY)).not.toThrow();
});

test.each<[string, unknown, RegExp]>([
  [
    'other tokens',
    { tokens: [7, 1, 3], scored: [1, 2] },
    /^compare: sequence 0, the teacher's view: scored\[1\] names token 3, expected the student's 2$/,
  ],
  ['fewer tokens', { tokens: [7, 1, 2], scored: [1] }, /view: scores 1 tokens, expected the student's 2$/],
  ['positions out of order', { tokens: [7, 2, 1], scored: [2, 1] }, /view: scored\[1\] is position 1 after 2/],
  ['ids outside of the vocabulary', { tokens: [70, 1, 2], scored: [1, 2] }, /view: tokens: element 0 is 70/],
  ['nothing', undefined, /view: expected \{ tokens, scored \}, got undefined/],
])('a teacher of %s is refused', (_, teacher, message) => {
  expect(() => checkPaired('compare', pair(teacher), VOCABULARY)).toThrow(message);
  expect(() => checkLoss(forwardKlLoss(pair(teacher), { clamp: 1 }), VOCABULARY)).toThrow(/^forward_kl: sequence 0, the teacher's view/);
});

test('the student of a pair is looked at as well', () => {
  const wrong = { tokens: [5, 1, 2], scored: [2, 1], teacher: { tokens: [5, 2, 1], scored: [1, 2] } };
  expect(() => checkPaired('compare', [wrong], VOCABULARY)).toThrow(/^compare: sequence 0: scored\[1\]/);
});

test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('a loss is not divided by %d, nor its distribution', (value) => {
  const loss = crossEntropyLoss([{ tokens, scored: [1] }]);
  expect(() => checkLoss(loss, VOCABULARY)).not.toThrow();
  expect(() => checkLoss({ ...loss, divisor: value }, VOCABULARY)).toThrow(/^cross_entropy: divisor: expected a number above 0, got/);
  expect(() => checkLoss({ ...loss, temperature: value }, VOCABULARY)).toThrow(
    /^cross_entropy: temperature: expected a number above 0, got/,
  );
  expect(() => checkLoss({ ...loss, divisor: 0.5, temperature: 0.5 } as Loss, VOCABULARY)).not.toThrow();
});

test('a loss of which nothing is scored is refused', () => {
  expect(() => checkLoss(crossEntropyLoss([{ tokens, scored: [] }]), VOCABULARY)).toThrow('no token to score in 1 sequences');
  expect(() => checkLoss(crossEntropyLoss([]), VOCABULARY)).toThrow('no token to score in 0 sequences');
});

test.each([
  [{ learningRate: -1 }, RangeError, /^optimizer.learningRate: expected a number from 0, got -1/],
  [{ learningRate: 'a' }, TypeError, /^optimizer.learningRate: expected a number from 0, got "a"/],
  [{}, TypeError, /^optimizer.learningRate: .* got undefined/],
  [undefined, TypeError, /^optimizer.learningRate: .* got undefined/],
  [{ learningRate: 1, beta1: 1 }, RangeError, /^optimizer.beta1: expected a number from 0 below 1, got 1/],
  [{ learningRate: 1, beta1: -0.1 }, RangeError, /^optimizer.beta1/],
  [{ learningRate: 1, beta2: 1 }, RangeError, /^optimizer.beta2: expected a number from 0 below 1, got 1/],
  [{ learningRate: 1, beta2: -0.1 }, RangeError, /^optimizer.beta2/],
  [{ learningRate: 1, epsilon: -1 }, RangeError, /^optimizer.epsilon/],
  [{ learningRate: 1, weightDecay: -1 }, RangeError, /^optimizer.weightDecay/],
  [{ learningRate: 1, clipNorm: Number.NaN }, RangeError, /^optimizer.clipNorm/],
])('an optimiser is not told %j', (settings, type, message) => {
  expect(() => checkOptimizer(settings as never, 'optimizer.')).toThrow(type);
  expect(() => checkOptimizer(settings as never, 'optimizer.')).toThrow(message);
});

test('an optimiser is told zeros, and is as torch where it is told nothing', () => {
  const zeros = { learningRate: 0, beta1: 0, beta2: 0, epsilon: 0, weightDecay: 0, clipNorm: 0 };
  expect(() => checkOptimizer(zeros)).not.toThrow();
  expect(() => checkOptimizer({ learningRate: 1 })).not.toThrow();
  expect(() => checkOptimizer({ learningRate: -1 })).toThrow(/^learningRate/);
});
