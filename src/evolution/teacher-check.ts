import type { Engine } from '../engines/engine.js';
import type { OfsdSettings } from '../ofsd/ofsd.js';
import { privilegedPrompt } from '../ofsd/privileged-prompt.js';
import { type Environment, rollout } from '../rollout/rollout.js';
import type { Pair } from '../siblings/siblings.js';

/** Exact match of one sample a question, with the standard and with the privileged prompt. */
export interface TeacherCheck {
  /** How many were answered, one a pair. */
  readonly questions: number;
  /** With the standard prompt, 0 to 1. */
  readonly student: number;
  /** With the privileged prompt, 0 to 1. */
  readonly teacher: number;
}

/** Options of `checkTeacher`. */
export interface CheckTeacherOptions {
  /** Of the samples; default 0. */
  readonly seed?: number;
  /** Of the samples; default 1. */
  readonly temperature?: number;
  /** What the teacher reads. Default `reference`; `none`: the control whose teacher reads the standard prompt, and is its student. */
  readonly privileged?: OfsdSettings['privileged'];
  /** Ends the check: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Does the reference help? The same weights answer the pairs' questions with and without it.
 *
 * A teacher that is no better than its student has nothing to teach: distilling from it is neutral at best. Ours; the paper has no such check.
 *
 * @throws RangeError without a pair: a mean over nothing is no number
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, pairSiblings, rolloutGroups, tinypedia } from 'search-e1';
 * import { checkTeacher } from 'search-e1/evolution';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const { pairs } = pairSiblings(await rolloutGroups(engine, environment, train.slice(0, 8), 8, { seed: 1 }));
 * const { questions, student, teacher } = await checkTeacher(engine, environment, pairs);
 * [questions === pairs.length, student >= 0, teacher <= 1]; // [ true, true, true ]
 * ```
 */
export async function checkTeacher(
  engine: Engine,
  environment: Environment,
  pairs: readonly Pair[],
  { seed = 0, temperature = 1, privileged = 'reference', signal }: CheckTeacherOptions = {},
): Promise<TeacherCheck> {
  if (pairs.length === 0) throw new RangeError('checkTeacher: expected at least one pair, got none');
  const questions = pairs.map(({ reference }) => reference.question);
  const mean = (rewards: { readonly reward: number }[]) => rewards.reduce((sum, { reward }) => sum + reward, 0) / rewards.length;
  const student = await rollout(engine, environment, questions, { seed, temperature, signal });
  const shown = (i: number) => (privileged === 'reference' ? pairs[i].reference : null);
  const teacher = await rollout(engine, environment, questions, {
    seed,
    temperature,
    signal,
    promptOf: ({ question }, i) => privilegedPrompt(environment.protocol, engine.tokenizer, question, shown(i)),
  });
  return { questions: questions.length, student: mean(student), teacher: mean(teacher) };
}
