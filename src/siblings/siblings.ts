/**
 * From a question's attempts to a pair: what to learn from, and what to learn on.
 *
 *     reference = the correct attempt with the fewest searches
 *     student   = the most different sibling: a wrong one if there is any, else a correct one
 *
 * A question without a correct attempt, or whose attempts are all the same, gives no pair and is counted. Ties are settled by fewer own tokens, then by
 * the token ids themselves, never by position: the choice does not depend on the order of the siblings.
 */
import { checkChoice, checkObject, described } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import type { Group, Trajectory } from '../rollout/trajectory.js';
import { distance } from './distance.js';

export interface Pair {
  readonly reference: Trajectory;
  readonly student: Trajectory;
  /** Between their own tokens, 0 to 1. */
  readonly distance: number;
  /** In words, for readers: why these two. */
  readonly reason: string;
}

export type NoPair = 'no correct attempt' | 'nothing different';

export interface SiblingOptions {
  /** Which siblings come first as student. Paper: `wrong`. Measured better on Tinypedia: `correct` (where another correct one differs). `only-correct` takes no wrong one at all. */
  readonly prefer?: 'wrong' | 'correct' | 'only-correct';
}

export interface Pairing {
  readonly pairs: readonly Pair[];
  readonly skipped: Readonly<Record<NoPair, number>>;
  /** Searches of all students less those of their references: the efficiency signal. Ours, to decide whether distilling is worth it. */
  readonly searchGap: number;
}

/** The pair of one group, or why there is none. */
export function choosePair(group: Group, options: SiblingOptions = {}): Pair | NoPair {
  const prefer = preferred(options);
  checkGroup('choosePair: group', group);
  const { trajectories } = group;
  const attempts = trajectories.map((trajectory) => ({ trajectory, own: trajectory.tokens.filter((_, t) => trajectory.own[t]) }));
  const correct = attempts
    .filter(({ trajectory }) => trajectory.reward === 1)
    .sort((a, b) => a.trajectory.searches - b.trajectory.searches || shorter(a.own, b.own));
  if (correct.length === 0) return 'no correct attempt';
  const [reference] = correct;
  const others = attempts
    .map((attempt) => ({ ...attempt, far: distance(reference.own, attempt.own) }))
    .filter(({ far }) => far > 0)
    .sort((a, b) => b.far - a.far || shorter(a.own, b.own));
  const wrong = others.find(({ trajectory }) => trajectory.reward !== 1);
  const right = others.find(({ trajectory }) => trajectory.reward === 1);
  const student = { wrong: wrong ?? right, correct: right ?? wrong, 'only-correct': right }[prefer];
  if (!student) return 'nothing different';
  const searches = (n: number) => `${n} ${n === 1 ? 'search' : 'searches'}`;
  return {
    reference: reference.trajectory,
    student: student.trajectory,
    distance: student.far,
    reason:
      `reference: fewest searches of ${correct.length} correct among ${attempts.length} (${searches(reference.trajectory.searches)}); ` +
      `student: most different ${student === wrong ? 'wrong' : 'correct'} sibling (distance ${student.far.toFixed(2)}, ${searches(student.trajectory.searches)})`,
  };
}

/** Pairs of all groups, with a count of the questions that gave none. */
export function pairSiblings(groups: readonly Group[], options: SiblingOptions = {}): Pairing {
  preferred(options); // where there is no group, too
  if (!Array.isArray(groups)) throw new TypeError(`pairSiblings: expected a list of groups, got ${described(groups)}`);
  groups.forEach((group, i) => {
    checkGroup(`pairSiblings: group ${i}`, group);
  });
  const skipped: Record<NoPair, number> = { 'no correct attempt': 0, 'nothing different': 0 };
  const pairs: Pair[] = [];
  for (const group of groups) {
    const chosen = choosePair(group, options);
    if (typeof chosen === 'string') skipped[chosen]++;
    else pairs.push(chosen);
  }
  const searchGap = pairs.reduce((sum, { student, reference }) => sum + student.searches - reference.searches, 0);
  return { pairs, skipped, searchGap };
}

function preferred(options: SiblingOptions): NonNullable<SiblingOptions['prefer']> {
  checkObject('siblings', 'options', options);
  const { prefer = 'wrong' } = options;
  checkChoice('siblings', 'prefer', prefer, ['wrong', 'correct', 'only-correct']);
  return prefer;
}

/** What is read of a group here: a reward or a count that is missing would quietly make an attempt a wrong one, or the first. */
function checkGroup(where: string, group: Group): void {
  checkObject(where, 'what was given', group, ['trajectories']);
  if (!Array.isArray(group.trajectories))
    throw new TypeError(`${where}: trajectories: expected a list of attempts, got ${described(group.trajectories)}`);
  group.trajectories.forEach((attempt, i) => {
    checkObject(where, `attempt ${i}`, attempt, ['tokens', 'own', 'reward', 'searches']);
    const { tokens, own, reward, searches } = attempt;
    if (!Array.isArray(tokens) || !Array.isArray(own) || tokens.length !== own.length)
      throw new TypeError(
        `${where}: attempt ${i}: expected as many marks in own as tokens, got ${described(own)} for ${described(tokens)}`,
      );
    checkNumber(`${where}: attempt ${i}: reward`, reward);
    checkNumber(`${where}: attempt ${i}: searches`, searches, { integer: true, min: 0 });
  });
}

function shorter(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return a.length - b.length;
  const at = a.findIndex((token, i) => token !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}
