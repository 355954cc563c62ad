import type { Engine, WeightsChoice } from '../engines/engine.js';
import { f1 } from '../reward/f1.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rollout } from '../rollout/rollout.js';
import type { Trajectory } from '../rollout/trajectory.js';
import type { EvaluationRecord } from './evaluate.js';

export interface EvaluatePolicyOptions {
  /** 0 = greedy (Search-R1's evaluation); 1 = one sample a question. */
  readonly temperature?: number;
  readonly seed?: number;
  readonly weights?: WeightsChoice;
  readonly maxTokens?: number;
  readonly batchSize?: number;
  readonly onProgress?: (finished: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** One episode a question, scored: records for `summarize`, and the trajectories behind them. */
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
export function evaluationRecord({ question, answer, reward, searches }: Trajectory): EvaluationRecord {
  return {
    dataset: question.dataset,
    questionId: question.id,
    exactMatch: reward,
    f1: answer === null ? 0 : f1(answer, question.goldenAnswers),
    searches,
  };
}
