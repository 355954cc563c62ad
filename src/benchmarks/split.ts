/**
 * Two halves of every benchmark: one to look at while choosing settings, one to report.
 *
 * The half is drawn from the question's own id, so that it is the same in the shipped sample and in the full file, whatever the order.
 * The lexical agent's rules were written with `development` in view alone; how the search settings were chosen is told in `minisearch.ts`.
 */
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';

/** Settings are chosen on `development`, numbers are reported on `held-out`. */
export type BenchmarkHalf = 'development' | 'held-out';

/** The half a question belongs to: a fair coin seeded by data set and id. */
export function halfOf({ dataset, id }: Pick<Question, 'dataset' | 'id'>): BenchmarkHalf {
  return random(0, 'split', dataset, id).uniform() < 0.5 ? 'development' : 'held-out';
}

/**
 * Only the questions of one half, in their order.
 *
 * @example
 * ```ts
 * import { loadBenchmark, selectHalf } from 'search-e1/benchmarks';
 *
 * const questions = await loadBenchmark('nq');
 * selectHalf(questions, 'development').length + selectHalf(questions, 'held-out').length === questions.length; // true
 * ```
 */
export const selectHalf = (questions: readonly Question[], half: BenchmarkHalf): Question[] =>
  questions.filter((question) => halfOf(question) === half);
