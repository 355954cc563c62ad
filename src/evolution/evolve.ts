/**
 * Search-E1's loop: GRPO, self-distillation, GRPO, self-distillation.
 *
 *     round:  grpo -> K fresh attempts a question -> pairs -> teacher check -> ofsd (merged)
 *
 * Every GRPO step and every finished stage is a checkpoint; a run that was stopped or killed goes on with `resume` and ends with the same numbers as an
 * uninterrupted one on the same backend, because every draw is named by seed and place and not by what was drawn before. The KL reference of a GRPO stage
 * is the policy that the stage began with (ours; the paper does not say what the second round's reference is).
 */

import { type EvaluationRecord, summarize } from '../benchmarks/evaluate.js';
import { evaluatePolicy } from '../benchmarks/evaluate-policy.js';
import type { Engine } from '../engines/engine.js';
import { type GrpoMetrics, grpo } from '../grpo/grpo.js';
import { classroomGrpo, type GrpoSettings } from '../grpo/settings.js';
import { classroomOfsd, type OfsdMetrics, type OfsdSettings, ofsd } from '../ofsd/ofsd.js';
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rolloutGroups } from '../rollout/rollout.js';
import type { Group } from '../rollout/trajectory.js';
import { type Pairing, pairSiblings, type SiblingOptions } from '../siblings/siblings.js';
import type { RunFolder } from './run-folder.js';
import { checkTeacher, type TeacherCheck } from './teacher-check.js';

export interface SiblingSettings extends Required<SiblingOptions> {
  /** Training questions that are attempted afresh. Paper: its own training questions, number unpublished; classroom: 600. */
  readonly questions: number;
  /** K, fresh attempts a question. Unpublished; classroom: 8. */
  readonly attempts: number;
}

export interface EvolutionSettings {
  /** GRPO + OFSD rounds. Paper: 2. */
  readonly rounds: number;
  readonly grpo: GrpoSettings;
  readonly siblings: SiblingSettings;
  readonly ofsd: OfsdSettings;
  /** Everything that is drawn is drawn from it. */
  readonly seed: number;
}

export const classroomEvolution: EvolutionSettings = {
  rounds: 2,
  grpo: classroomGrpo,
  siblings: { questions: 600, attempts: 8, prefer: 'wrong' },
  ofsd: classroomOfsd,
  seed: 1,
};

/** What an evaluation found: greedy and sampled, over all sets. */
export interface Evaluation {
  readonly greedy: readonly EvaluationRecord[];
  readonly sampled: readonly EvaluationRecord[];
}

export interface EvolutionOptions {
  /** Records and checkpoints, and where a run is resumed from. Without it nothing is written. */
  readonly run?: RunFolder;
  /** Evaluated before the first and after every stage. */
  readonly evaluation?: readonly Question[];
  readonly onEvent?: (event: EvolutionEvent) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

export type EvolutionEvent =
  | { readonly kind: 'stage'; readonly stage: string }
  | { readonly kind: 'rollouts'; readonly stage: string; readonly finished: number; readonly total: number }
  | {
      readonly kind: 'grpo';
      readonly stage: string;
      readonly metrics: GrpoMetrics;
      readonly groups: readonly Group[];
      readonly total: number;
    }
  | { readonly kind: 'pairs'; readonly stage: string; readonly pairing: Pairing; readonly teacher: TeacherCheck | null }
  | { readonly kind: 'ofsd'; readonly stage: string; readonly metrics: OfsdMetrics; readonly total: number }
  | { readonly kind: 'evaluation'; readonly stage: string; readonly evaluation: Evaluation };

/** Runs the loop on the engine's policy in place, from wherever `run` says it is. */
export async function evolve(
  engine: Engine,
  environment: Environment,
  train: readonly Question[],
  settings: EvolutionSettings,
  options: EvolutionOptions = {},
): Promise<void> {
  const { run, evaluation, onEvent, signal } = options;
  const finished = [...(run?.state.finished ?? [])];
  const lastOf = (stages: readonly string[]) => stages[stages.length - 1];
  if (run && finished.length) await engine.load(run.checkpoint(lastOf(finished)));

  const evaluate = async (stage: string) => {
    if (!evaluation) return;
    const result = await evaluateBoth(engine, environment, evaluation, {
      seed: settings.seed,
      signal,
      onProgress: (finished, total) => void onEvent?.({ kind: 'rollouts', stage, finished, total }),
    });
    await run?.addMetrics(stage, { evaluation: summaryOf(result) });
    await onEvent?.({ kind: 'evaluation', stage, evaluation: result });
  };
  const finish = async (stage: string) => {
    await evaluate(stage);
    finished.push(stage);
    if (!run) return;
    await engine.save(run.checkpoint(stage));
    await run.commit({ finished, step: 0, checkpoint: stage });
  };

  const stages: [string, (stage: string, round: number) => Promise<void>, number][] = [['0-base', async () => undefined, 0]];
  for (let round = 1; round <= settings.rounds; round++)
    stages.push([`${round}-grpo`, grpoStage, round], [`${round}-ofsd`, ofsdStage, round]);
  for (const [stage, work, round] of stages) {
    if (finished.includes(stage)) continue;
    signal?.throwIfAborted();
    await onEvent?.({ kind: 'stage', stage });
    await work(stage, round);
    await finish(stage);
  }

  async function grpoStage(stage: string, round: number): Promise<void> {
    const reference = engine.snapshot();
    const startStep = run?.state.step ?? 0;
    if (run && startStep > 0) await engine.load(run.checkpoint(run.state.checkpoint as string));
    else engine.resetOptimizer();
    try {
      await grpo(
        engine,
        environment,
        train,
        { ...settings.grpo, seed: seedOf(settings.seed, 'grpo', round) },
        {
          reference,
          startStep,
          signal,
          onRollouts: (_, done, total) => void onEvent?.({ kind: 'rollouts', stage, finished: done, total }),
          async onStep(metrics, groups) {
            await run?.addMetrics(stage, metrics);
            await run?.addTrajectories(stage, metrics.step, groups);
            if (run && metrics.step < settings.grpo.steps) {
              const checkpoint = `${stage}-step-${metrics.step}`;
              await engine.save(run.checkpoint(checkpoint));
              await run.commit({ finished, step: metrics.step, checkpoint });
            }
            await onEvent?.({ kind: 'grpo', stage, metrics, groups, total: settings.grpo.steps });
          },
        },
      );
    } finally {
      reference.dispose();
    }
  }

  async function ofsdStage(stage: string, round: number): Promise<void> {
    const { pairing, teacher } = await makePairs(engine, environment, train, settings.siblings, {
      seed: seedOf(settings.seed, 'siblings', round),
      signal,
      onProgress: (done, total) => void onEvent?.({ kind: 'rollouts', stage, finished: done, total }),
      onGroups: async (groups) => run?.addTrajectories(stage, 0, groups),
    });
    await run?.addMetrics(stage, { pairs: pairing.pairs.length, skipped: pairing.skipped, search_gap: pairing.searchGap, teacher });
    await onEvent?.({ kind: 'pairs', stage, pairing, teacher });
    if (pairing.pairs.length === 0) return;
    await ofsd(
      engine,
      environment.protocol,
      pairing.pairs,
      { ...settings.ofsd, seed: seedOf(settings.seed, 'ofsd', round) },
      {
        signal,
        async onStep(metrics, total) {
          await run?.addMetrics(stage, metrics);
          await onEvent?.({ kind: 'ofsd', stage, metrics, total });
        },
      },
    );
  }
}

export interface MakePairsOptions {
  readonly seed: number;
  readonly onProgress?: (finished: number, total: number) => void;
  readonly onGroups?: (groups: readonly Group[]) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** Fresh attempts by the policy as it is, their pairs, and whether the teacher is worth learning from. */
export async function makePairs(
  engine: Engine,
  environment: Environment,
  train: readonly Question[],
  settings: SiblingSettings,
  { seed, onProgress, onGroups, signal }: MakePairsOptions,
): Promise<{ readonly pairing: Pairing; readonly teacher: TeacherCheck | null }> {
  const questions = random(seed, 'questions').shuffle(train).slice(0, settings.questions);
  const groups = await rolloutGroups(engine, environment, questions, settings.attempts, { seed, onProgress, signal });
  await onGroups?.(groups);
  const pairing = pairSiblings(groups, settings);
  const teacher = pairing.pairs.length ? await checkTeacher(engine, environment, pairing.pairs, { seed, signal }) : null;
  return { pairing, teacher };
}

/** Greedy and sampled (temperature 1) evaluation on the same questions. */
export async function evaluateBoth(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  {
    seed,
    signal,
    onProgress,
  }: { readonly seed: number; readonly signal?: AbortSignal; readonly onProgress?: (finished: number, total: number) => void },
): Promise<Evaluation> {
  const report = (before: number) => (finished: number) => onProgress?.(before + finished, 2 * questions.length);
  const greedy = await evaluatePolicy(engine, environment, questions, { temperature: 0, signal, onProgress: report(0) });
  const sampled = await evaluatePolicy(engine, environment, questions, {
    temperature: 1,
    seed: seedOf(seed, 'evaluation', 0),
    signal,
    onProgress: report(questions.length),
  });
  return { greedy: greedy.records, sampled: sampled.records };
}

/** An evaluation's table, for a record. */
export const summaryOf = ({ greedy, sampled }: Evaluation) => ({ greedy: summarize(greedy), sampled: summarize(sampled) });

const seedOf = (seed: number, ...keys: (string | number)[]): number => random(seed, ...keys).integer(2 ** 31);
