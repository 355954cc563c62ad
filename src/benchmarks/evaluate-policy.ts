import type { Engine, WeightsChoice } from '../engines/engine.js';
import { f1 } from '../reward/f1.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rollout } from '../rollout/rollout.js';
import type { Trajectory } from '../rollout/trajectory.js';
import { f1RuleOf } from './benchmark-names.js';
import type { EvaluationRecord } from './evaluate.js';

/** How the questions are answered. */
export interface EvaluatePolicyOptions {
  /** 0 = greedy (Search-R1's evaluation); 1 = one sample a question. */
  readonly temperature?: number;
  /** What is drawn is drawn from it; greedy answers draw nothing. Default 0. */
  readonly seed?: number;
  /** Whose: those trained so far (the default), those without the adapter, or a snapshot. */
  readonly weights?: WeightsChoice;
  /** Tokens of an episode after its prompt. Default: the protocol's. */
  readonly maxTokens?: number;
  /** Episodes at once. Default: the engine's. */
  readonly batchSize?: number;
  /** Called as episodes end. */
  readonly onProgress?: (finished: number, total: number) => void;
  /** Ends the evaluation: the promise is rejected with its reason. */
  readonly signal?: AbortSignal;
}

/**
 * One episode a question, scored: records for `summarize`, and the trajectories behind them.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, evaluatePolicy, openEngine, summarize, tinypedia } from 'search-e1';
 *
 * const { passages, sets } = tinypedia(1);
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const { records } = await evaluatePolicy(await openEngine(), environment, sets['nq-mini'].slice(0, 4));
 * summarize(records).n; // 4
 * ```
 */
export async function evaluatePolicy(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  { temperature = 0, seed = 0, ...options }: EvaluatePolicyOptions = {},
): Promise<{ readonly records: EvaluationRecord[]; readonly trajectories: Trajectory[] }> {
  const trajectories = await rollout(engine, environment, questions, { temperature, seed, ...options });
  return { records: trajectories.map(evaluationRecord), trajectories };
}

/** What an episode scored. */
export const evaluationRecord = ({ question, answer, reward, searches, failedSearches, searchR1Score }: Trajectory): EvaluationRecord => ({
  ...asked(question),
  exactMatch: reward,
  f1: scoredF1(question, answer),
  searches,
  ...(failedSearches ? { failedSearches } : {}),
  ...(searchR1Score !== undefined && { searchR1Score }),
});

/** What a record says of its question. */
export function asked({
  dataset,
  id,
  question,
  metadata,
}: Question): Pick<EvaluationRecord, 'dataset' | 'questionId' | 'questionText' | 'type'> {
  const hops = typeof metadata?.musique_id === 'string' ? /^\dhop/.exec(metadata.musique_id)?.[0] : undefined;
  const type = metadata?.type ?? metadata?.kind ?? hops;
  return { dataset, questionId: id, questionText: question, ...(typeof type === 'string' ? { type } : {}) };
}

/** F1 of an answer by the rule of its question's set. */
export const scoredF1 = ({ dataset, goldenAnswers }: Question, answer: string | null): number =>
  f1(answer, goldenAnswers, { rule: f1RuleOf(dataset) });
