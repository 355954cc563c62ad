/**
 * GRPO on episodes with search: attempt each question several times, compare the attempts, learn from the difference.
 *
 *     rollouts -> rewards -> advantages -> reference log-probabilities -> loss -> AdamW
 *
 * As Search-R1 v0.2 trains, with the paper's group of 5 and exact match as the only reward. Groups whose attempts all scored the same have no advantage
 * and are dropped before the training pass, as they would contribute nothing but the KL term (Search-R1 keeps them). The log-probabilities from sampling
 * are the old policy's: sampler and trainer are one program.
 */
import type { Engine, Snapshot } from '../engines/engine.js';
import { settled, update } from '../engines/update.js';
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rolloutGroups } from '../rollout/rollout.js';
import { ownTokens } from '../rollout/scored.js';
import type { Group, Trajectory } from '../rollout/trajectory.js';
import type { AdamWSettings } from '../tensors/adamW.js';
import { groupAdvantages } from './advantages.js';
import { type GrpoDatum, type GrpoLossSettings, grpoLoss } from './loss.js';

export interface GrpoSettings extends GrpoLossSettings {
  /** Optimisation phases: each samples once. Search-R1: 1,005; classroom: 20. */
  readonly steps: number;
  /** Questions a step. Search-R1: 512; classroom: 32. */
  readonly questionsPerStep: number;
  /** G, attempts at a question. Paper: 5. */
  readonly groupSize: number;
  /** Parts of a step's batch, an optimiser step each. Search-R1: 2 (512 / 256); classroom: 2. */
  readonly miniBatches: number;
  /** Of sampling, and of every distribution that the loss compares, as TRL divides its logits. Above 0. Search-R1: 1. */
  readonly temperature: number;
  /** Optimiser steps over which the rate climbs from 0. Search-R1: 0.285 of all; classroom: 5. */
  readonly warmUpSteps: number;
  readonly optimizer: AdamWSettings;
  readonly seed: number;
}

/** The classroom's settings: the paper's and Search-R1's where they fit, the learning rate and counts measured on Tinypedia. */
export const classroomGrpo: GrpoSettings = {
  steps: 20,
  questionsPerStep: 32,
  groupSize: 5,
  miniBatches: 2,
  temperature: 1,
  clip: 0.2,
  beta: 0.001,
  warmUpSteps: 5,
  optimizer: { learningRate: 4e-4, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 },
  seed: 1,
};

/** What a step did; names follow TRL and Search-R1. */
export interface GrpoMetrics {
  readonly step: number;
  /** Mean exact match of the step's rollouts. */
  readonly 'reward/mean': number;
  /** Share of groups whose attempts all scored the same. */
  readonly frac_reward_zero_std: number;
  readonly loss: number;
  /** k3 estimate of KL(policy || reference), nats a token. */
  readonly kl: number;
  /** Nats an own token. */
  readonly entropy: number;
  readonly clip_ratio: number;
  readonly grad_norm: number;
  readonly learning_rate: number;
  readonly 'env/number_of_valid_search': number;
  readonly 'env/ratio_of_valid_action': number;
  /** Share of episodes that ended with an answer. */
  readonly 'env/finish_ratio': number;
  /** Own tokens an episode. */
  readonly 'completions/mean_own_length': number;
  readonly seconds_sampling: number;
  readonly seconds_training: number;
}

export interface GrpoOptions {
  /** KL reference; the caller disposes it. Default: the weights as they are at the start. */
  readonly reference?: Snapshot;
  /** Continue after this many steps that an earlier run took (0). */
  readonly startStep?: number;
  readonly onStep?: (metrics: GrpoMetrics, groups: readonly Group[]) => void | Promise<void>;
  readonly onRollouts?: (step: number, finished: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Trains the engine's policy in place; yields the metrics of every step. When the signal fires, the step under way is given up, and nothing of it is left; or,
 * where part of its batch has been learned already, it is finished.
 */
export async function grpo(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  settings: GrpoSettings,
  options: GrpoOptions = {},
): Promise<GrpoMetrics[]> {
  const { onStep, onRollouts, signal, startStep = 0 } = options;
  if (!(settings.temperature > 0)) throw new RangeError(`GRPO samples at a temperature above 0, got ${settings.temperature}`);
  await settled(engine); // a turn later, too: no interrupt comes between a snapshot and the `try` that disposes it
  const reference = options.reference ?? engine.snapshot();
  const history: GrpoMetrics[] = [];
  try {
    for (let step = startStep; step < settings.steps; step++) {
      signal?.throwIfAborted();
      const sampled = performance.now();
      const groups = await rolloutGroups(engine, environment, questionsOfStep(questions, step, settings), settings.groupSize, {
        temperature: settings.temperature,
        seed: random(settings.seed, 'grpo', step).integer(2 ** 31),
        onProgress: (finished, total) => onRollouts?.(step, finished, total),
        signal,
      });
      const training = performance.now();
      const learned = await update(engine, () => learn(engine, groups, reference, settings, { step, signal }));
      const metrics: GrpoMetrics = {
        step: step + 1,
        ...rolloutMetrics(groups),
        ...learned,
        seconds_sampling: (training - sampled) / 1000,
        seconds_training: (performance.now() - training) / 1000,
      };
      history.push(metrics);
      await onStep?.(metrics, groups);
    }
    return history;
  } finally {
    if (!options.reference) reference.dispose();
  }
}

/** Questions of a step: one pass over a shuffled set after the other. */
export function questionsOfStep(
  questions: readonly Question[],
  step: number,
  { questionsPerStep, seed }: Pick<GrpoSettings, 'questionsPerStep' | 'seed'>,
): Question[] {
  if (questions.length === 0) throw new Error('GRPO needs at least one question');
  const first = step * questionsPerStep;
  const epochs = new Map<number, Question[]>();
  return Array.from({ length: questionsPerStep }, (_, i) => {
    const epoch = Math.floor((first + i) / questions.length);
    const shuffled = epochs.get(epoch) ?? random(seed, 'questions', epoch).shuffle(questions);
    epochs.set(epoch, shuffled);
    return shuffled[(first + i) % questions.length];
  });
}

/** The training half of a step. */
async function learn(
  engine: Engine,
  groups: readonly Group[],
  reference: Snapshot,
  settings: GrpoSettings,
  { step, signal }: { readonly step: number; readonly signal?: AbortSignal },
) {
  const scored = groups.flatMap(({ trajectories }) => {
    const advantages = groupAdvantages(trajectories.map(({ reward }) => reward));
    return advantages.some((a) => a !== 0) ? trajectories.map((trajectory, i) => ({ trajectory, advantage: advantages[i] })) : [];
  });
  const sequences = scored.map(({ trajectory }) => ownTokens(trajectory));
  const referenceLogProbs = await engine.forward(sequences, reference, settings.temperature);
  signal?.throwIfAborted();
  const data = scored.map(({ trajectory, advantage }, i): GrpoDatum => {
    const oldLogProbs = trajectory.logProbs.filter((_, t) => trajectory.own[t]);
    return { ...sequences[i], advantage, oldLogProbs, referenceLogProbs: referenceLogProbs[i] };
  });
  const shuffled = random(settings.seed, 'mini-batches', step).shuffle(data);
  const parts = Math.min(settings.miniBatches, shuffled.length);
  const sums = { loss: 0, kl: 0, entropy: 0, clip_ratio: 0, grad_norm: 0 };
  let learning_rate = 0;
  for (let part = 0; part < parts; part++) {
    const batch = shuffled.filter((_, i) => i % parts === part);
    const { loss, metrics } = await engine.forwardBackward(grpoLoss(batch, settings), { signal: part === 0 ? signal : undefined });
    const optimizerStep = step * settings.miniBatches + part + 1;
    learning_rate = settings.optimizer.learningRate * Math.min(1, optimizerStep / Math.max(1, settings.warmUpSteps));
    const { gradNorm } = await engine.optimStep({ ...settings.optimizer, learningRate: learning_rate });
    for (const [name, value] of Object.entries({ ...metrics, loss, grad_norm: gradNorm })) {
      if (name in sums) sums[name as keyof typeof sums] += value / parts;
    }
  }
  return { ...sums, learning_rate };
}

/** What a batch of rollouts says about the policy that wrote it. */
export function rolloutMetrics(groups: readonly Group[]) {
  const all = groups.flatMap(({ trajectories }) => trajectories);
  const mean = (of: (t: Trajectory) => number) => all.reduce((sum, t) => sum + of(t), 0) / all.length;
  const same = groups.filter(({ trajectories }) => trajectories.every(({ reward }) => reward === trajectories[0].reward));
  const actions = all.reduce((sum, { turns }) => sum + turns.length, 0);
  const valid = all.reduce((sum, { turns }) => sum + turns.filter(({ kind }) => kind !== 'invalid').length, 0);
  return {
    'reward/mean': mean(({ reward }) => reward),
    frac_reward_zero_std: same.length / groups.length,
    'env/number_of_valid_search': mean(({ searches }) => searches),
    'env/ratio_of_valid_action': actions === 0 ? 0 : valid / actions,
    'env/finish_ratio': mean(({ finish }) => (finish === 'answer' ? 1 : 0)),
    'completions/mean_own_length': mean(({ own }) => own.filter(Boolean).length),
  };
}
