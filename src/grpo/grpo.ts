/**
 * GRPO on episodes with search: attempt each question several times, compare the attempts, learn from the difference.
 *
 *     rollouts -> rewards -> advantages -> reference log-probabilities -> loss -> AdamW
 *
 * As Search-R1 v0.2 trains, with the paper's group of 5 and exact match as the only reward. Groups whose attempts all scored the same have no advantage, but
 * take part as they do there and in TRL: their tokens count in what the loss is divided by, and the KL term holds them to the reference. The log-probabilities
 * from sampling are the old policy's: sampler and trainer are one program.
 */

import { checkObject } from '../arguments.js';
import type { Engine, LossReport, Snapshot } from '../engines/engine.js';
import { settled, update } from '../engines/update.js';
import { located } from '../non-finite.js';
import { checkNumber, shown } from '../number-setting.js';
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rolloutGroups } from '../rollout/rollout.js';
import { ownTokens } from '../rollout/scored.js';
import type { Group, Trajectory } from '../rollout/trajectory.js';
import { stepAdvantages } from './advantages.js';
import { type GrpoDatum, grpoLoss } from './loss.js';
import { checkGrpoSettings, type GrpoSettings } from './settings.js';

/** What a step did; names follow TRL and Search-R1. */
export interface GrpoMetrics {
  /** From 1, over the whole training. */
  readonly step: number;
  /** Mean exact match of the step's rollouts. */
  readonly 'reward/mean': number;
  /** Share of groups whose attempts all scored the same. */
  readonly frac_reward_zero_std: number;
  /** Policy loss and beta times KL, as the aggregation has it, over all of the step's mini-batches. */
  readonly loss: number;
  /** k3 estimate of KL(policy || reference), nats an own token; absent where beta is 0. */
  readonly kl?: number;
  /** Of the policy's next-token distributions, nats an own token. */
  readonly entropy: number;
  /** Share of own tokens whose gradient the clip took away. */
  readonly clip_ratio: number;
  /** Norm of all gradients together, before clipping, mean over the mini-batches. */
  readonly grad_norm: number;
  /** Of the step's last mini-batch; it climbs over `warmUpSteps` and is level then. */
  readonly learning_rate: number;
  /** Searches carried out, mean an episode. */
  readonly 'env/number_of_valid_search': number;
  /** Searches of the whole step that failed, attempts and all; absent where none did. */
  readonly 'env/failed_searches'?: number;
  /** Share of turns that were a search or an answer. */
  readonly 'env/ratio_of_valid_action': number;
  /** Share of episodes that ended with an answer. */
  readonly 'env/finish_ratio': number;
  /** Own tokens an episode. */
  readonly 'completions/mean_own_length': number;
  /** Wall clock of the rollouts. */
  readonly seconds_sampling: number;
  /** Wall clock of reference, loss and optimiser. */
  readonly seconds_training: number;
}

/** What `grpo` is given beside its settings: where it begins, and who hears of it. */
export interface GrpoOptions {
  /** KL reference; the caller disposes it. Default: the policy as it is at the start. Where beta is 0 there is none: this one is not read either. */
  readonly reference?: Snapshot;
  /** Steps that an earlier run took already, and after which this one goes on; default 0. The engine holds what that run saved. */
  readonly startStep?: number;
  /** Called, and waited for, after every step, with what it sampled. */
  readonly onStep?: (metrics: GrpoMetrics, groups: readonly Group[]) => void | Promise<void>;
  /** Called as the episodes of a step end; the step counts from 0. */
  readonly onRollouts?: (step: number, finished: number, total: number) => void;
  /** Ends the training: the step under way is given up, or finished where part of its batch has been learned; then the promise is rejected. */
  readonly signal?: AbortSignal;
}

/**
 * GRPO on episodes with search: attempt each question several times, compare the attempts, learn from the difference. Trains the engine's policy in place.
 *
 *     rollouts -> rewards -> advantages -> reference log-probabilities -> loss -> AdamW
 *
 * As Search-R1 v0.2 trains, with the paper's group of 5 and exact match as the only reward; `groupAdvantages` and `grpoLoss` have the formulas. Groups whose
 * attempts all scored the same take part, without an advantage: their tokens count, and the KL holds them to the reference. Questions are drawn pass after
 * pass over a shuffled set.
 *
 * When the signal fires, the step under way is given up, and nothing of it is left; or, where part of its batch has been learned already, it is finished.
 *
 * @returns the metrics of every step taken, oldest first
 * @throws TypeError for a setting that there is not or is of the wrong type, and what is no engine or no list of questions
 * @throws RangeError for a setting out of its range, and without a question
 * @throws NonFiniteError where a loss, gradient or log-probability is NaN or infinite; it says which weights are left
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomGrpo, classroomProtocol, createSearcher, grpo, openEngine, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const settings = { ...classroomGrpo, steps: 2, questionsPerStep: 4 };
 * const metrics = await grpo(await openEngine(), environment, train, settings);
 * metrics.map(({ step }) => step); // [ 1, 2 ]
 * metrics.every((step) => step['reward/mean'] >= 0 && step['reward/mean'] <= 1); // true
 * ```
 */
export async function grpo(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  settings: GrpoSettings,
  options: GrpoOptions = {},
): Promise<GrpoMetrics[]> {
  const { onStep, onRollouts, signal, startStep = 0 } = options;
  checkGrpoSettings(settings);
  checkNumber('startStep', startStep, { integer: true, min: 0 });
  checkObject('grpo', 'engine', engine, ['sample', 'forwardBackward', 'optimStep']);
  if (!Array.isArray(questions)) throw new TypeError(`grpo: expected a list of questions, got ${shown(questions)}`);
  if (questions.length === 0) throw new RangeError('GRPO needs at least one question, got none');
  await settled(engine); // a turn later, too: no interrupt comes between a snapshot and the `try` that disposes it
  const own = settings.beta > 0 && !options.reference ? engine.snapshot() : undefined;
  const reference = settings.beta > 0 ? (options.reference ?? own) : undefined;
  const history: GrpoMetrics[] = [];
  try {
    for (let step = startStep; step < settings.steps; step++) {
      signal?.throwIfAborted();
      const sampled = performance.now();
      const rollouts = rolloutGroups(engine, environment, questionsOfStep(questions, step, settings), settings.groupSize, {
        temperature: settings.temperature,
        seed: random(settings.seed, 'grpo', step).integer(2 ** 31),
        onProgress: (finished, total) => onRollouts?.(step, finished, total),
        signal,
      });
      const groups = await located(rollouts, `GRPO step ${step + 1}`, keptBefore(step));
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
    own?.dispose();
  }
}

/** Questions of a step: one pass over a shuffled set after the other. */
export function questionsOfStep(
  questions: readonly Question[],
  step: number,
  { questionsPerStep, seed }: Pick<GrpoSettings, 'questionsPerStep' | 'seed'>,
): Question[] {
  if (questions.length === 0) throw new RangeError('GRPO needs at least one question, got none');
  const first = step * questionsPerStep;
  const skipped = first % questions.length; // of the pass that the step begins in
  const begun = Math.floor(first / questions.length);
  const passes = Array.from({ length: Math.ceil((skipped + questionsPerStep) / questions.length) }, (_, i) =>
    random(seed, 'questions', begun + i).shuffle(questions),
  );
  return passes.flat().slice(skipped, skipped + questionsPerStep);
}

/** The training half of a step: what its metrics say is over all groups, weighted as the loss weighs its mini-batches, or by their tokens. */
async function learn(
  engine: Engine,
  groups: readonly Group[],
  reference: Snapshot | undefined,
  settings: GrpoSettings,
  { step, signal }: { readonly step: number; readonly signal?: AbortSignal },
) {
  const here = `GRPO step ${step + 1}`;
  const data = await located(dataOf(engine, groups, reference, settings), here, keptBefore(step));
  signal?.throwIfAborted();
  const shuffled = random(settings.seed, 'mini-batches', step).shuffle(data);
  const miniBatches = Math.min(settings.miniBatches, shuffled.length);
  const tokens = shuffled.reduce((sum, { scored }) => sum + scored.length, 0);
  const parts: { readonly report: LossReport; readonly divisor: number; readonly gradNorm: number }[] = [];
  let learning_rate = 0;
  for (let part = 0; part < miniBatches; part++) {
    learning_rate = learningRateOf(step * settings.miniBatches + part, settings);
    const optimizer = { ...settings.optimizer, learningRate: learning_rate };
    const batch = shuffled.filter((_, i) => i % miniBatches === part);
    const work = async () => {
      const loss = grpoLoss(batch, settings, { tokens, miniBatches });
      const report = await engine.forwardBackward(loss, { signal: part === 0 ? signal : undefined });
      return { report, divisor: loss.divisor as number, ...(await engine.optimStep(optimizer)) };
    };
    const kept = part === 0 ? keptBefore(step) : `the weights are those after mini-batch ${part} of this step`;
    parts.push(await located(work(), `${here}, mini-batch ${part + 1} of ${miniBatches}`, kept));
  }
  const byTokens = (name: string) =>
    mean(
      parts.map(({ report }) => report.metrics[name]),
      parts.map(({ report }) => report.tokens),
    );
  return {
    loss: mean(
      parts.map(({ report }) => report.loss),
      parts.map(({ divisor }) => divisor),
    ),
    ...(reference && { kl: byTokens('kl') }),
    entropy: byTokens('entropy'),
    clip_ratio: byTokens('clip_ratio'),
    grad_norm: mean(parts.map(({ gradNorm }) => gradNorm)),
    learning_rate,
  };
}

/** Every attempt as the loss sees it, in the order of the groups. */
async function dataOf(
  engine: Engine,
  groups: readonly Group[],
  reference: Snapshot | undefined,
  settings: GrpoSettings,
): Promise<GrpoDatum[]> {
  const rewards = groups.map(({ trajectories }) => trajectories.map(({ reward }) => reward));
  const advantages = stepAdvantages(rewards, settings).flat();
  const trajectories = groups.flatMap((group) => group.trajectories);
  const sequences = trajectories.map(ownTokens);
  const referenceLogProbs = reference && (await engine.forward(sequences, reference, settings.temperature));
  return trajectories.map(({ logProbs, own }, i) => {
    const oldLogProbs = logProbs.filter((_, t) => own[t]);
    return { ...sequences[i], advantage: advantages[i], oldLogProbs, referenceLogProbs: referenceLogProbs?.[i] };
  });
}

/** What a step that fails leaves. */
const keptBefore = (step: number): string =>
  step === 0 ? 'the weights are those of the start' : `the weights are those after step ${step}`;

/** The rate of an optimiser step, counted from 0 over the whole stage: a linear climb, then level. */
function learningRateOf(optimizerStep: number, { optimizer, warmUpSteps }: GrpoSettings): number {
  return optimizer.learningRate * Math.min(1, (optimizerStep + 1) / Math.max(1, warmUpSteps));
}

/** Mean of values, each as heavy as its weight. */
function mean(values: readonly number[], weights: readonly number[] = values.map(() => 1)): number {
  const total = weights.reduce((sum, w) => sum + w, 0);
  return values.reduce((sum, value, i) => sum + value * (weights[i] / total), 0);
}

/** What a batch of rollouts says about the policy that wrote it. */
export function rolloutMetrics(groups: readonly Group[]) {
  const all = groups.flatMap(({ trajectories }) => trajectories);
  const meanOf = (of: (t: Trajectory) => number) => mean(all.map(of));
  const same = groups.filter(({ trajectories }) => trajectories.every(({ reward }) => reward === trajectories[0].reward));
  const actions = all.reduce((sum, { turns }) => sum + turns.length, 0);
  const valid = all.reduce((sum, { turns }) => sum + turns.filter(({ kind }) => kind !== 'invalid').length, 0);
  const failed = all.reduce((sum, { failedSearches = 0 }) => sum + failedSearches, 0);
  return {
    'reward/mean': meanOf(({ reward }) => reward),
    frac_reward_zero_std: same.length / groups.length,
    'env/number_of_valid_search': meanOf(({ searches }) => searches),
    ...(failed > 0 ? { 'env/failed_searches': failed } : {}),
    'env/ratio_of_valid_action': actions === 0 ? 0 : valid / actions,
    'env/finish_ratio': meanOf(({ finish }) => (finish === 'answer' ? 1 : 0)),
    'completions/mean_own_length': meanOf(({ own }) => own.filter(Boolean).length),
  };
}
