/** Between GRPO and self-distillation: fresh attempts, the pairs among them, and whether they are worth distilling. */
import { checkObject } from '../arguments.js';
import type { Engine } from '../engines/engine.js';
import type { OfsdSettings } from '../ofsd/ofsd.js';
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rolloutGroups } from '../rollout/rollout.js';
import type { Group } from '../rollout/trajectory.js';
import { type Pairing, pairSiblings } from '../siblings/siblings.js';
import { checkSiblingSettings, type GateSettings, type SiblingSettings } from './settings.js';
import { checkTeacher, type TeacherCheck } from './teacher-check.js';

/** Options of `makePairs`. */
export interface MakePairsOptions {
  /** Of the questions, the attempts and the teacher check. In a run: `stageSeed(seed, '1-pairs')`. */
  readonly seed: number;
  /** Of the attempts and the teacher check. Above 0; default 1. In a run it is GRPO's. */
  readonly temperature?: number;
  /** What the teacher that is checked reads: that of the distillation to come. Default `reference`. */
  readonly privileged?: OfsdSettings['privileged'];
  /** Called as attempts end. */
  readonly onProgress?: (finished: number, total: number) => void;
  /** Called once, and waited for, with all attempts, before they are paired. */
  readonly onGroups?: (groups: readonly Group[]) => void | Promise<void>;
  /** Ends the attempts: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What a round's attempts came to: what `decideGate` decides on and `ofsd` distils. */
export interface MadePairs {
  /** The pairs, and how many questions gave none. */
  readonly pairing: Pairing;
  /** What the reference is worth to the teacher; null where there is no pair. */
  readonly teacher: TeacherCheck | null;
}

/**
 * Fresh attempts by the policy as it is, their pairs (`pairSiblings`), and whether the teacher is worth learning from (`checkTeacher`).
 *
 * `settings.questions` are drawn from the training questions, and each is attempted `settings.attempts` times.
 *
 * @throws RangeError where there are fewer training questions than are to be attempted, and for settings that cannot be meant
 * @throws TypeError without a seed
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, makePairs, openEngine, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const settings = { questions: 8, attempts: 5, prefer: 'wrong' } as const;
 * const { pairing, teacher } = await makePairs(await openEngine(), environment, train, settings, { seed: 1 });
 * pairing.pairs.length + pairing.skipped['no correct attempt'] + pairing.skipped['nothing different']; // 8
 * teacher?.questions === pairing.pairs.length; // true
 * ```
 */
export async function makePairs(
  engine: Engine,
  environment: Environment,
  train: readonly Question[],
  settings: SiblingSettings,
  options: MakePairsOptions,
): Promise<MadePairs> {
  checkObject('makePairs', 'options', options, ['seed']);
  const { seed, temperature = 1, privileged, onProgress, onGroups, signal } = options;
  checkSiblingSettings(settings);
  checkTrainingQuestions(settings, train);
  if (!(temperature > 0)) throw new RangeError(`siblings are sampled at a temperature above 0, got ${temperature}`);
  const questions = random(seed, 'questions').shuffle(train).slice(0, settings.questions);
  const draws = { temperature, seed: seedOf(seed, 'attempts'), onProgress, signal };
  const groups = await rolloutGroups(engine, environment, questions, settings.attempts, draws);
  await onGroups?.(groups);
  const pairing = pairSiblings(groups, settings);
  const check = { seed: seedOf(seed, 'teacher'), temperature, privileged, signal };
  const teacher = pairing.pairs.length ? await checkTeacher(engine, environment, pairing.pairs, check) : null;
  return { pairing, teacher };
}

/** @throws RangeError */
export function checkTrainingQuestions({ questions }: Pick<SiblingSettings, 'questions'>, train: readonly Question[]): void {
  if (questions > train.length)
    throw new RangeError(`siblings.questions: each is attempted once and there are ${train.length} training questions, got ${questions}`);
}

/** Whether a round distils, on what grounds. */
export interface GateDecision {
  /** Whether to distil. */
  readonly open: boolean;
  /** Searches of students less those of their references, a pair; null where there is no pair. */
  readonly searchGap: number | null;
  /** Exact match of the teacher less its student's; null where there is no pair. */
  readonly teacherGain: number | null;
  /** In words: what it was measured against. */
  readonly reason: string;
}

/**
 * Whether a round distils: where the teacher answers better than its student by more than `gate.teacherGain`, and students search more than their references
 * by more than `gate.searchGap`. Ours; the paper has no gate. Without a pair there is nothing to distil, whatever the gate.
 *
 * @param gate null: distil whatever the pairs say
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, makePairs, openEngine, tinypedia } from 'search-e1';
 * import { decideGate } from 'search-e1/evolution';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const made = await makePairs(await openEngine(), environment, train, { questions: 8, attempts: 5, prefer: 'wrong' }, { seed: 1 });
 * decideGate(made, { teacherGain: 0.99, searchGap: -1 }).open; // false
 * decideGate(made, null).reason; // 'no gate is set'
 * ```
 */
export function decideGate({ pairing, teacher }: MadePairs, gate: GateSettings | null): GateDecision {
  const { pairs } = pairing;
  if (pairs.length === 0 || !teacher) return { open: false, searchGap: null, teacherGain: null, reason: 'no pairs' };
  const searchGap = pairing.searchGap / pairs.length;
  const teacherGain = teacher.teacher - teacher.student;
  const measured = { searchGap, teacherGain };
  if (!gate) return { open: true, ...measured, reason: 'no gate is set' };
  const gain = `the teacher's exact match is ${teacher.teacher.toFixed(3)}, its student's ${teacher.student.toFixed(3)}`;
  const gap = `students search ${searchGap.toFixed(3)} times a pair more than their references`;
  if (!(teacherGain > gate.teacherGain))
    return { open: false, ...measured, reason: `${gain}: the difference is not above ${gate.teacherGain}` };
  if (!(searchGap > gate.searchGap)) return { open: false, ...measured, reason: `${gap}: that is not above ${gate.searchGap}` };
  return { open: true, ...measured, reason: `${gain}; ${gap}` };
}

const seedOf = (seed: number, part: string): number => random(seed, part).integer(2 ** 31);
