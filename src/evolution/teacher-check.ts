import type { Engine } from '../engines/engine.js';
import { privilegedPrompt } from '../ofsd/privileged-prompt.js';
import { type Environment, rollout } from '../rollout/rollout.js';
import type { Pair } from '../siblings/siblings.js';

/** Exact match of one sample (temperature 1) a question, with the standard and with the privileged prompt. */
export interface TeacherCheck {
  readonly questions: number;
  readonly student: number;
  readonly teacher: number;
}

/**
 * Does the reference help? The same weights answer the pairs' questions with and without it.
 *
 * A teacher that is no better than its student has nothing to teach: distilling from it is neutral at best.
 */
export async function checkTeacher(
  engine: Engine,
  environment: Environment,
  pairs: readonly Pair[],
  { seed = 0, signal }: { readonly seed?: number; readonly signal?: AbortSignal } = {},
): Promise<TeacherCheck> {
  const questions = pairs.map(({ reference }) => reference.question);
  const mean = (rewards: { readonly reward: number }[]) => rewards.reduce((sum, { reward }) => sum + reward, 0) / rewards.length;
  const student = await rollout(engine, environment, questions, { seed, signal });
  const teacher = await rollout(engine, environment, questions, {
    seed,
    signal,
    promptOf: ({ question }, i) => privilegedPrompt(environment.protocol, engine.tokenizer, question, pairs[i].reference),
  });
  return { questions: questions.length, student: mean(student), teacher: mean(teacher) };
}
