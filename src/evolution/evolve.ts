/**
 * Search-E1's loop: GRPO, self-distillation, GRPO, self-distillation.
 *
 *     round:  grpo -> K fresh attempts a question -> pairs -> teacher check -> gate -> ofsd (merged)
 *
 * Every step and every finished stage is a checkpoint; a run that was stopped or killed goes on with `resume` and ends with the same numbers as an
 * uninterrupted one on the same backend, because every draw is named by seed and place (`stages.ts`) and not by what was drawn before. The KL reference of a
 * GRPO stage is the policy that the stage began with (ours; the paper does not say what the second round's reference is). A round whose gate is shut goes on
 * with the policy that GRPO left.
 */
import type { Engine } from '../engines/engine.js';
import { type GrpoMetrics, grpo } from '../grpo/grpo.js';
import { type OfsdMetrics, ofsd } from '../ofsd/ofsd.js';
import type { Question } from '../rollout/question.js';
import type { Environment } from '../rollout/rollout.js';
import type { Group } from '../rollout/trajectory.js';
import type { Pairing } from '../siblings/siblings.js';
import { type Evaluation, evaluateBoth, summaryOf } from './evaluation.js';
import { checkTrainingQuestions, decideGate, type GateDecision, type MadePairs, makePairs } from './pairs.js';
import type { Run } from './run.js';
import { checkEvolutionSettings, type EvolutionSettings } from './settings.js';
import { type Stage, stageSeed, stagesOf, stepCheckpoint } from './stages.js';
import type { TeacherCheck } from './teacher-check.js';

/** Options of `evolve`. */
export interface EvolutionOptions {
  /** Where records and checkpoints go, and the run is resumed from: `RunFolder.open`, or what you make of it (`Run`). Without it nothing is written. */
  readonly run?: Run;
  /** Evaluated before the first and after every stage, as `evaluateBoth` does; default none. */
  readonly evaluation?: readonly Question[];
  /** Called for all that happens, in order; waited for, but for the progress of rollouts. */
  readonly onEvent?: (event: EvolutionEvent) => void | Promise<void>;
  /** Ends the run at the next place where nothing is half done; the promise is rejected. With a `run` it can be gone on with. */
  readonly signal?: AbortSignal;
}

/**
 * What happens in a run, by `kind`; `stage` is its name, such as `1-grpo`.
 *
 * - `stage`: one begins.
 * - `rollouts`: episodes have ended, of a GRPO step, of the attempts that pairs are made of, or of an evaluation.
 * - `grpo`: a step is done, of `total`; with its metrics and its episodes.
 * - `pairs`: they are made, and the gate has decided.
 * - `ofsd`: a step of the distillation is done, of `total`.
 * - `evaluation`: the policy that the stage ended with was evaluated.
 */
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
  | {
      readonly kind: 'pairs';
      readonly stage: string;
      readonly pairing: Pairing;
      readonly teacher: TeacherCheck | null;
      /** Where it is shut, nothing is distilled and the loop goes on. */
      readonly gate: GateDecision;
    }
  | { readonly kind: 'ofsd'; readonly stage: string; readonly metrics: OfsdMetrics; readonly total: number }
  | { readonly kind: 'evaluation'; readonly stage: string; readonly evaluation: Evaluation };

/** What every stage works with. */
interface Context extends EvolutionOptions {
  readonly engine: Engine;
  readonly environment: Environment;
  readonly train: readonly Question[];
  readonly settings: EvolutionSettings;
  /** Names of the stages that are finished. */
  readonly finished: readonly string[];
}

/**
 * Search-E1's loop, on the engine's policy in place, from wherever `run` says it is.
 *
 *     round:  grpo -> K fresh attempts a question -> pairs -> teacher check -> gate -> ofsd (merged)
 *
 * with an evaluation before the first and after every stage. Every draw is named by seed and place (`stageSeed`), so that a run that was stopped or killed
 * goes on and ends with the same numbers as an uninterrupted one on the same backend. The KL reference of a GRPO stage is the policy that the stage began
 * with (ours; the paper does not say what the second round's is). A round whose gate is shut goes on with the policy that GRPO left.
 *
 * @param train questions with gold answers, at least `settings.siblings.questions` of them
 * @throws TypeError for a setting of the wrong type, and what is no engine, environment or question
 * @throws RangeError for settings that cannot be meant, and for fewer questions than are to be attempted
 * @throws NonFiniteError where a number is NaN or infinite, before anything on disk is replaced
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomEvolution, classroomProtocol, createSearcher, evolve, openEngine, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const { grpo, siblings } = classroomEvolution;
 * const small = { rounds: 1, gate: null, grpo: { ...grpo, steps: 1, questionsPerStep: 4 }, siblings: { ...siblings, questions: 8 } };
 * const seen: string[] = [];
 * await evolve(await openEngine(), environment, train, { ...classroomEvolution, ...small }, {
 *   onEvent: ({ kind, stage }) => void (kind === 'stage' && seen.push(stage)),
 * });
 * seen; // [ '0-base', '1-grpo', '1-ofsd' ]
 * ```
 */
export async function evolve(
  engine: Engine,
  environment: Environment,
  train: readonly Question[],
  settings: EvolutionSettings,
  options: EvolutionOptions = {},
): Promise<void> {
  checkEvolutionSettings(settings);
  checkTrainingQuestions(settings.siblings, train);
  const { run, onEvent, signal } = options;
  const finished = [...(run?.state.finished ?? [])];
  const context: Context = { ...options, engine, environment, train, settings, finished };
  if (run && finished.length) await engine.load(run.checkpoint(finished[finished.length - 1]));
  for (const stage of stagesOf(settings.rounds)) {
    if (finished.includes(stage.name)) continue;
    signal?.throwIfAborted();
    await onEvent?.({ kind: 'stage', stage: stage.name });
    await WORK[stage.kind](context, stage);
    await evaluateStage(context, stage);
    finished.push(stage.name);
    await keep(context, stage.name, 0);
  }
}

const WORK: Readonly<Record<Stage['kind'], (context: Context, stage: Stage) => Promise<void>>> = {
  base: async () => undefined,
  grpo: grpoStage,
  ofsd: ofsdStage,
};

async function grpoStage(context: Context, { name, round }: Stage): Promise<void> {
  const { engine, environment, train, settings, run, onEvent, signal } = context;
  const { steps, beta } = settings.grpo;
  const reference = beta > 0 ? engine.snapshot() : undefined;
  try {
    const startStep = run?.state.step ?? 0;
    if (run && startStep > 0) await engine.load(run.checkpoint(stepCheckpoint(name, startStep)));
    else engine.resetOptimizer();
    const seed = stageSeed(settings.seed, `${round}-grpo`);
    await grpo(
      engine,
      environment,
      train,
      { ...settings.grpo, seed },
      {
        reference,
        startStep,
        signal,
        onRollouts: rollouts(context, name),
        async onStep(metrics, groups) {
          await run?.addMetrics(name, metrics);
          await run?.addTrajectories(name, metrics.step, groups);
          if (metrics.step < steps) await keep(context, stepCheckpoint(name, metrics.step), metrics.step);
          await onEvent?.({ kind: 'grpo', stage: name, metrics, groups, total: steps });
        },
      },
    );
  } finally {
    reference?.dispose();
  }
}

async function ofsdStage(context: Context, { name, round }: Stage): Promise<void> {
  const { engine, environment, settings, run, onEvent, signal } = context;
  const made = (await run?.pairs(name)) ?? (await makeAndKeepPairs(context, name, round));
  const { pairing, teacher } = made;
  const gate = decideGate(made, settings.gate);
  await onEvent?.({ kind: 'pairs', stage: name, pairing, teacher, gate });
  if (!gate.open) return;
  const startStep = run?.state.step ?? 0;
  const seed = stageSeed(settings.seed, `${round}-ofsd`);
  await ofsd(
    engine,
    environment.protocol,
    pairing.pairs,
    { ...settings.ofsd, seed },
    {
      signal,
      from: run && startStep > 0 ? { step: startStep, folder: run.checkpoint(stepCheckpoint(name, startStep)) } : undefined,
      async onStep(metrics, total) {
        await run?.addMetrics(name, metrics);
        if (metrics.step < total) await keep(context, stepCheckpoint(name, metrics.step), metrics.step, name);
        await onEvent?.({ kind: 'ofsd', stage: name, metrics, total });
      },
    },
  );
}

/** Makes the pairs and keeps them, so that a kill within the distillation costs no attempt. */
async function makeAndKeepPairs(context: Context, stage: string, round: number): Promise<MadePairs> {
  const { engine, environment, train, settings, finished, run, signal } = context;
  const progress = rollouts(context, stage);
  const made = await makePairs(engine, environment, train, settings.siblings, {
    seed: stageSeed(settings.seed, `${round}-pairs`),
    temperature: settings.grpo.temperature,
    privileged: settings.ofsd.privileged,
    signal,
    onProgress: (done, total) => progress(0, done, total),
    onGroups: async (groups) => run?.addTrajectories(stage, 0, groups),
  });
  const { pairing, teacher } = made;
  const gate = decideGate(made, settings.gate);
  await run?.addMetrics(stage, { pairs: pairing.pairs.length, skipped: pairing.skipped, search_gap: pairing.searchGap, teacher, gate });
  await run?.keepPairs(stage, made);
  await run?.commit({ finished: [...finished], step: 0, checkpoint: finished[finished.length - 1], pairs: stage });
  return made;
}

async function evaluateStage(context: Context, { name }: Stage): Promise<void> {
  const { engine, environment, settings, evaluation, run, onEvent, signal } = context;
  if (!evaluation?.length) return;
  const progress = rollouts(context, name);
  const result = await evaluateBoth(engine, environment, evaluation, {
    seed: stageSeed(settings.seed, 'evaluation'),
    signal,
    onProgress: (done, total) => progress(0, done, total),
  });
  await run?.addMetrics(name, { evaluation: summaryOf(result) });
  await run?.addEvaluation(name, result);
  await onEvent?.({ kind: 'evaluation', stage: name, evaluation: result });
}

/** Writes a checkpoint and says in the run's state that it is the place to go on from. What cannot be written whole replaces nothing. */
async function keep({ run, engine, finished }: Context, checkpoint: string, step: number, pairs?: string): Promise<void> {
  if (!run) return;
  await engine.save(run.checkpoint(checkpoint));
  await run.commit({ finished: [...finished], step, checkpoint, pairs });
}

const rollouts =
  ({ onEvent }: Context, stage: string) =>
  (_step: number, finished: number, total: number): void =>
    void onEvent?.({ kind: 'rollouts', stage, finished, total });
