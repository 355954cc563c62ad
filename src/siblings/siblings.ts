/** From a question's attempts to a pair: what to learn from, and what to learn on. A question that gives none is counted. */
import { checkChoice, checkObject, described } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import type { Group, Trajectory } from '../rollout/trajectory.js';
import { distance } from './distance.js';

/** Two attempts at one question: what to learn from, and what to learn on. */
export interface Pair {
  /** The correct attempt with the fewest searches: the teacher is shown it. */
  readonly reference: Trajectory;
  /** The most different sibling, wrong or correct: its own tokens are what the student is trained on. */
  readonly student: Trajectory;
  /** Between their own tokens, above 0, at most 1 (`distance`). */
  readonly distance: number;
  /** In words, for readers: why these two. */
  readonly reason: string;
}

/** Why a group gave no pair: none of its attempts scored 1, or none that may be student differs from the reference. */
export type NoPair = 'no correct attempt' | 'nothing different';

/** How the student is chosen. */
export interface SiblingOptions {
  /**
   * Which siblings come first as student. Default and paper: `wrong`. Measured better on Tinypedia: `correct` (where another correct one differs).
   * `only-correct` takes no wrong one at all.
   */
  readonly prefer?: 'wrong' | 'correct' | 'only-correct';
}

/** What `pairSiblings` made of all groups. */
export interface Pairing {
  /** In the order of their groups, at most one a group. */
  readonly pairs: readonly Pair[];
  /** How many groups gave none, by the reason. */
  readonly skipped: Readonly<Record<NoPair, number>>;
  /** Searches of all students less those of their references: the efficiency signal. Ours, to decide whether distilling is worth it. */
  readonly searchGap: number;
}

/**
 * The pair of one group, or in words why there is none.
 *
 *     reference = the attempt of reward 1 with the fewest searches
 *     student   = the sibling of largest `distance` to it: a wrong one if there is any that differs, else a correct one (`prefer`)
 *
 * Ties go to fewer own tokens, then to smaller token ids, never to the position: the order of the attempts does not matter. The rule is the paper's, the
 * measure and the ties are ours.
 *
 * @returns a `Pair`, or a text, `'no correct attempt'` or `'nothing different'`: ask `typeof chosen === 'string'`
 * @throws TypeError for what is no group, such as an attempt without a reward, or whose `own` is not as long as its `tokens`
 * @throws RangeError for an unknown `prefer`
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, choosePair, classroomProtocol, createSearcher, openEngine, rolloutGroups, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [group] = await rolloutGroups(await openEngine(), environment, train.slice(0, 1), 8, { seed: 1 });
 * const chosen = choosePair(group);
 * typeof chosen === 'string' ? chosen : chosen.reason; // 'reference: fewest searches of … correct among 8 (…); student: most different …'
 * choosePair({ ...group, trajectories: [] }); // 'no correct attempt'
 * ```
 */
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

/**
 * Pairs of all groups, at most one a group, with a count of the groups that gave none (`choosePair` has the rule).
 *
 * @throws TypeError for what is no list of groups, naming the group and the attempt
 * @throws RangeError for an unknown `prefer`
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, pairSiblings, rolloutGroups, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const groups = await rolloutGroups(await openEngine(), environment, train.slice(0, 4), 8);
 * const { pairs, skipped } = pairSiblings(groups, { prefer: 'wrong' });
 * pairs.every(({ reference, student }) => reference.reward === 1 && reference !== student); // true
 * pairs.length + skipped['no correct attempt'] + skipped['nothing different']; // 4
 * ```
 */
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
