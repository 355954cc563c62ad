/** Greedy and sampled evaluation of a policy, as every stage of a run ends with one. */
import { type EvaluationRecord, summarize } from '../benchmarks/evaluate.js';
import { evaluatePolicy } from '../benchmarks/evaluate-policy.js';
import type { Engine } from '../engines/engine.js';
import type { Question } from '../rollout/question.js';
import type { Environment } from '../rollout/rollout.js';

/** What an evaluation found: greedy and sampled, over all sets. */
export interface Evaluation {
  readonly greedy: readonly EvaluationRecord[];
  readonly sampled: readonly EvaluationRecord[];
}

export interface EvaluateBothOptions {
  /** Of the sampled half. In a run: `stageSeed(seed, 'evaluation')`. */
  readonly seed: number;
  readonly signal?: AbortSignal;
  /** Episodes of both halves together. */
  readonly onProgress?: (finished: number, total: number) => void;
}

/** Greedy and sampled (temperature 1) evaluation on the same questions. */
export async function evaluateBoth(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  { seed, signal, onProgress }: EvaluateBothOptions,
): Promise<Evaluation> {
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
