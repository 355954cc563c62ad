/**
 * Two halves of every benchmark: one to look at while choosing settings, one to report.
 *
 * The half is drawn from the question's own id, so that it is the same in the shipped sample and in the full file, whatever the order.
 * Retrieval settings and the lexical agent's rules were chosen on `development`; nothing was chosen on `held-out`.
 */
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';

export type Half = 'development' | 'held-out';

/** The half a question belongs to: a fair coin seeded by data set and id. */
export function halfOf({ dataset, id }: Pick<Question, 'dataset' | 'id'>): Half {
  return random(0, 'split', dataset, id).uniform() < 0.5 ? 'development' : 'held-out';
}

/** Only the questions of one half, in their order. */
export const selectHalf = (questions: readonly Question[], half: Half): Question[] =>
  questions.filter((question) => halfOf(question) === half);
