/** What a caller without types may hand in: each says what was got and expected, instead of a pair of the wrong attempts. */
import { describe, expect, test } from 'vitest';
import * as measured from '../../src/siblings/distance.js';
import * as siblings from '../../src/siblings/siblings.js';

// biome-ignore lint/suspicious/noExplicitAny: what callers without types write is the subject
const door = { ...measured, ...siblings } as any;
const attempt = { tokens: [1, 2], own: [true, true], reward: 1, searches: 1 };
const pair = (...attempts: unknown[]) => door.pairSiblings([{ trajectories: [attempt] }, { trajectories: attempts }]);

test.each([
  ['nothing', [], 'distance: a: expected a list of token ids, got undefined'],
  ['a text', [[1], 'ab'], 'distance: b: expected a list of token ids, got "ab"'],
  ['NaN', [[1], [1, Number.NaN]], 'distance: b: expected a list of token ids, got a list of 2'],
])('a distance of %s is refused', (_, given, message) => {
  expect(() => door.distance(...given)).toThrow(new TypeError(message));
});

describe('groups', () => {
  const fields = 'expected an object with tokens, own, reward, searches';
  test.each([
    ['that are none', () => door.pairSiblings(), 'pairSiblings: expected a list of groups, got undefined'],
    ['that are a text', () => door.pairSiblings('ab'), 'pairSiblings: expected a list of groups, got "ab"'],
    [
      'that are attempts',
      () => door.pairSiblings([[attempt]]),
      'pairSiblings: group 0: what was given: expected an object with trajectories, got a list of 1',
    ],
    ['of nothing', () => door.choosePair(), 'choosePair: group: what was given: expected an object with trajectories, got undefined'],
    [
      'without a list of attempts',
      () => door.choosePair({ trajectories: attempt }),
      'choosePair: group: trajectories: expected a list of attempts, got an object of tokens, own, reward, searches',
    ],
    ['with a missing attempt', () => pair(undefined), `pairSiblings: group 1: attempt 0: ${fields}, got undefined`],
    [
      'with a missing reward',
      () => pair(attempt, { ...attempt, reward: undefined }),
      `pairSiblings: group 1: attempt 1: ${fields}, got an object of tokens, own, reward, searches`,
    ],
    [
      'with a reward as text',
      () => pair({ ...attempt, reward: '1' }),
      'pairSiblings: group 1: attempt 0: reward: expected a number, got "1"',
    ],
    [
      'with searches that are no number',
      () => pair({ ...attempt, searches: Number.NaN }),
      'pairSiblings: group 1: attempt 0: searches: expected a whole number from 0, got NaN',
    ],
    [
      'with half a search',
      () => pair({ ...attempt, searches: 0.5 }),
      'pairSiblings: group 1: attempt 0: searches: expected a whole number from 0, got 0.5',
    ],
    [
      'with fewer searches than none',
      () => pair({ ...attempt, searches: -1 }),
      'pairSiblings: group 1: attempt 0: searches: expected a whole number from 0, got -1',
    ],
    [
      'with marks of other tokens',
      () => pair({ ...attempt, own: [true] }),
      'pairSiblings: group 1: attempt 0: expected as many marks in own as tokens, got a list of 1 for a list of 2',
    ],
    [
      'with marks that are no list',
      () => pair({ ...attempt, own: { length: 2 } }),
      'pairSiblings: group 1: attempt 0: expected as many marks in own as tokens, got an object of length for a list of 2',
    ],
    [
      'with tokens that are no list',
      () => pair({ ...attempt, tokens: { length: 2 } }),
      'pairSiblings: group 1: attempt 0: expected as many marks in own as tokens, got a list of 2 for an object of length',
    ],
  ] as const)('%s are refused by name', (_, run, message) => {
    expect(run).toThrow(message);
    expect(run).toThrow(/^(pairSiblings|choosePair)/);
  });
});

test('a preference that there is not is refused, where there is no group too', () => {
  const words = 'siblings: prefer: expected wrong, correct, only-correct; got "right"';
  expect(() => door.pairSiblings([], { prefer: 'right' })).toThrow(words);
  expect(() => door.choosePair({ trajectories: [] }, { prefer: 'right' })).toThrow(words);
  expect(() => door.choosePair({ trajectories: [] }, 'wrong')).toThrow('siblings: options: expected an object, got "wrong"');
});
