/** Greedy and sampled evaluation of a policy, as every stage of a run ends with one. */
import { checkObject } from '../arguments.js';
import { type EvaluationRecord, summarize } from '../benchmarks/evaluate.js';
import { evaluatePolicy } from '../benchmarks/evaluate-policy.js';
import type { Engine } from '../engines/engine.js';
import type { Question } from '../rollout/question.js';
import type { Environment } from '../rollout/rollout.js';

/** What an evaluation found, question by question; `summarize` makes a table of either half. */
export interface Evaluation {
  /** Of the likeliest episode of each question, in the order of the questions. */
  readonly greedy: readonly EvaluationRecord[];
  /** Of one episode of each, sampled at temperature 1. */
  readonly sampled: readonly EvaluationRecord[];
}

/** Options of `evaluateBoth`. */
export interface EvaluateBothOptions {
  /** Of the sampled half: policies that are to be compared are given the same. In a run: `stageSeed(seed, 'evaluation')`. */
  readonly seed: number;
  /** Ends the evaluation: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called as episodes end, of both halves together. */
  readonly onProgress?: (finished: number, total: number) => void;
}

/**
 * Evaluates a policy on the same questions twice: greedily, as results are reported, and with one sample a question at temperature 1, as it was trained.
 *
 * @throws TypeError for what is no engine, environment or question, naming it, and without a seed
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, evaluateBoth, openEngine, summarize, tinypedia } from 'search-e1';
 *
 * const { passages, sets } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const questions = sets['nq-mini'].slice(0, 5);
 * const { greedy, sampled } = await evaluateBoth(await openEngine(), environment, questions, { seed: 1 });
 * [greedy.length, sampled.length]; // [ 5, 5 ]
 * summarize(greedy).sets.length; // 1
 * ```
 */
export async function evaluateBoth(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  options: EvaluateBothOptions,
): Promise<Evaluation> {
  checkObject('evaluateBoth', 'options', options, ['seed']);
  const { seed, signal, onProgress } = options;
  const report = (before: number) => (finished: number) => onProgress?.(before + finished, 2 * questions.length);
  const greedy = await evaluatePolicy(engine, environment, questions, { temperature: 0, signal, onProgress: report(0) });
  const sampled = await evaluatePolicy(engine, environment, questions, {
    temperature: 1,
    seed,
    signal,
    onProgress: report(questions.length),
  });
  return { greedy: greedy.records, sampled: sampled.records };
}

/** An evaluation's table, for a record. */
export const summaryOf = ({ greedy, sampled }: Evaluation) => ({ greedy: summarize(greedy), sampled: summarize(sampled) });
