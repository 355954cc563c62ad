import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { random } from '../../src/random.js';
import type { Group, Trajectory } from '../../src/rollout/trajectory.js';
import { choosePair, type Pair, pairSiblings } from '../../src/siblings/siblings.js';

const question = { id: 'q', dataset: 'd', question: 'who ?', goldenAnswers: ['Ada'] };

/** An attempt that wrote `own`, with retrieved tokens (999) after the first where it searched. */
function attempt(own: readonly number[], { reward, searches }: { reward: number; searches: number }): Trajectory {
  const tokens = own.flatMap((token, i) => (i === 0 && searches > 0 ? [token, ...new Array(searches * 3).fill(999)] : [token]));
  return {
    question,
    prompt: [1],
    tokens,
    own: tokens.map((token) => token !== 999),
    logProbs: tokens.map(() => 0),
    turns: [],
    searches,
    answer: reward ? 'Ada' : 'Eva',
    finish: 'answer',
    reward,
  };
}

const group = (...trajectories: Trajectory[]): Group => ({ question, trajectories });
const right = (own: number[], searches: number) => attempt(own, { reward: 1, searches });
const wrong = (own: number[], searches: number) => attempt(own, { reward: 0, searches });
const pairOf = (g: Group, prefer?: 'wrong' | 'correct' | 'only-correct'): Pair => {
  const pair = choosePair(g, { prefer });
  if (typeof pair === 'string') throw new Error(pair);
  return pair;
};

describe('the pair of a group', () => {
  const lean = right([1, 2, 3], 1);
  const long = right([1, 2, 3, 4, 5, 6], 3);
  const nearlyWrong = wrong([1, 2, 4], 2);
  const farWrong = wrong([7, 8, 9, 10], 2);
  const mixed = group(long, nearlyWrong, farWrong, lean);

  test('takes the correct attempt with the fewest searches as reference, even where a wrong one has fewer', () => {
    expect(pairOf(mixed).reference).toBe(lean);
    expect(pairOf(group(wrong([5], 0), long, lean)).reference).toBe(lean);
    // Of equal searches the shorter, of equal length the lower tokens.
    expect(
      pairOf(group(right([2, 2, 2], 1), right([1, 9, 9, 9], 1), wrong([5], 0), right([2, 1, 9], 1))).reference.tokens.filter(
        (t) => t !== 999,
      ),
    ).toEqual([2, 1, 9]);
  });

  test('takes the most different wrong sibling as student, however different a correct one is', () => {
    const { student, distance } = pairOf(mixed);
    expect(student).toBe(farWrong);
    expect(distance).toBe(1);
    expect(pairOf(group(lean, nearlyWrong, right([20, 21, 22], 2))).student).toBe(nearlyWrong);
  });

  test('takes the most different correct sibling where none is wrong', () => {
    const other = right([20, 21], 4);
    expect(pairOf(group(lean, long, other)).student).toBe(other);
  });

  test('prefers a correct student when asked, and takes a wrong one only where no other correct one differs', () => {
    expect(pairOf(mixed, 'correct').student).toBe(long);
    expect(pairOf(group(lean, right([1, 2, 3], 1), nearlyWrong), 'correct').student).toBe(nearlyWrong);
    expect(pairOf(mixed, 'only-correct').student).toBe(long);
    expect(choosePair(group(lean, right([1, 2, 3], 1), nearlyWrong), { prefer: 'only-correct' })).toBe('nothing different');
  });

  test('is none without a correct attempt, or where all wrote the same', () => {
    expect(choosePair(group(nearlyWrong, farWrong))).toBe('no correct attempt');
    expect(choosePair(group(lean, right([1, 2, 3], 1), right([1, 2, 3], 1)))).toBe('nothing different');
  });

  test('measures what the attempts wrote, not what they were shown', () => {
    // Same own tokens, other passages: nothing different.
    expect(choosePair(group(right([1, 2, 3], 0), right([1, 2, 3], 4)))).toBe('nothing different');
    const pair = pairOf(group(right([1, 2, 3, 4], 0), wrong([1, 2, 3, 5], 9)));
    expect(pair.distance).toBeCloseTo(0.25, 12); // by hand: 1 - 2 * 3 / 8
  });

  test('says why in words', () => {
    expect(pairOf(mixed).reason).toBe(
      'reference: fewest searches of 2 correct among 4 (1 search); student: most different wrong sibling (distance 1.00, 2 searches)',
    );
    expect(pairOf(mixed, 'correct').reason).toMatch(/; student: most different correct sibling \(distance 0\.\d\d, 3 searches\)$/);
  });

  test('does not depend on the order of the siblings', () => {
    const any = fc.record({
      own: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 5 }),
      searches: fc.integer({ min: 0, max: 2 }),
      reward: fc.constantFrom(0, 1),
    });
    const written = ({ tokens, own, searches, reward }: Trajectory) => ({ own: tokens.filter((_, t) => own[t]), searches, reward });
    fc.assert(
      fc.property(
        // What an attempt wrote decides what it searched and scored.
        fc.uniqueArray(any, { minLength: 2, maxLength: 6, selector: ({ own }) => own.join() }),
        fc.array(fc.nat(5), { maxLength: 3 }),
        fc.integer(),
        fc.constantFrom('wrong', 'correct', 'only-correct' as const),
        (different, repeats, seed, prefer) => {
          const attempts = [...different, ...repeats.map((i) => different[i % different.length])].map(({ own, ...rest }) =>
            attempt(own, rest),
          );
          const options = { prefer } as { prefer: 'wrong' };
          const [a, b] = [choosePair(group(...attempts), options), choosePair(group(...random(seed).shuffle(attempts)), options)];
          if (typeof a === 'string' || typeof b === 'string') {
            expect(b).toBe(a);
            return;
          }
          expect([written(b.reference), written(b.student), b.distance, b.reason]).toEqual([
            written(a.reference),
            written(a.student),
            a.distance,
            a.reason,
          ]);
        },
      ),
    );
  });
});

test('pairs of many groups: those without one are counted by reason, the search gap is summed', () => {
  const groups = [
    group(right([1, 2], 1), wrong([3, 4], 4)),
    group(wrong([1], 1), wrong([2], 1)),
    group(right([1], 2), right([1], 2)),
    group(right([1, 2], 1), right([5, 6], 3)),
    group(wrong([9], 1), right([1, 2], 4)),
  ];
  const { pairs, skipped, searchGap } = pairSiblings(groups);
  expect(pairs).toHaveLength(3);
  expect(skipped).toEqual({ 'no correct attempt': 1, 'nothing different': 1 });
  expect(searchGap).toBe(4 - 1 + (3 - 1) + (1 - 4));
});
