/**
 * The GRPO loss of one token (DeepSeekMath 2402.03300, with Search-R1's settings).
 *
 *     ratio = exp(log p - log p_old)
 *     loss  = -min(ratio A, clip(ratio, 1 - clipLow, 1 + clipHigh) A) + beta k3
 *     k3    = exp(log p_ref - log p) - (log p_ref - log p) - 1            (unbiased, never negative)
 *
 * and how the losses of a batch's tokens are brought together: TRL 1.16's four ways, by its names (`aggregation`).
 *
 * Exponents are bounded as verl 0.5 bounds them (`compute_policy_loss`, `kl_penalty`): both log differences to +-20, k3 itself to +-10, as in Search-R1 v0.2.
 * A token beyond a bound has no gradient through it. TRL has no bounds: the numbers differ from its where log p_ref - log p is above 2.6 or below -11.
 *
 * Left out: entropy bonus, sequence-wise ratios, importance correction between sampler and trainer, for here they are one program.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { LogProbLoss, Scored } from '../engines/engine.js';
import { assertFinite } from '../non-finite.js';
import { checkChoice, checkNumber, shown } from '../number-setting.js';

/** A trajectory as the GRPO loss sees it: its tokens, which of them are scored, and how it did. */
export interface GrpoDatum extends Scored {
  /** One number for the whole trajectory (`groupAdvantages`). */
  readonly advantage: number;
  /** log p of each scored token when it was sampled. Absent in all data: as it is (TRL's on-policy step), so that every ratio is 1. */
  readonly oldLogProbs?: ArrayLike<number>;
  /** log p of each scored token under the reference policy. May be absent where beta is 0; then no `kl` is reported. */
  readonly referenceLogProbs?: ArrayLike<number>;
}

/**
 * What the sum of the per-token losses is divided by, after TRL 1.16's `loss_type`:
 *
 * - `dapo`: the own tokens of the whole step, in equal parts over its mini-batches, so that a token weighs the same in each of them (TRL's default).
 * - `bnpo`: the own tokens of the mini-batch (Search-R1 v0.2's masked mean).
 * - `grpo`: a mean over sequences of each one's mean over its own tokens (DeepSeekMath).
 * - `dr_grpo`: sequences times `maxCompletionLength`, a constant (2503.20783).
 */
export type Aggregation = 'grpo' | 'bnpo' | 'dr_grpo' | 'dapo';

/** What the loss is told. */
export interface GrpoLossSettings {
  /** The ratio is clipped to [1 - clipLow, 1 + clipHigh]. TRL's `epsilon`; Search-R1: 0.2. */
  readonly clipLow: number;
  /** TRL's `epsilon_high`. Search-R1: 0.2; DAPO: 0.28. */
  readonly clipHigh: number;
  /** Weight of the k3 estimate of KL(policy || reference). 0: the reference is not computed. Search-R1: 0.001; TRL: 0. */
  readonly beta: number;
  /** How tokens are brought together. Default `dapo`. */
  readonly aggregation?: Aggregation;
  /** Tokens that `dr_grpo` counts each sequence as, and has to be told; the others do not read it. TRL's `max_completion_length`. */
  readonly maxCompletionLength?: number;
  /** Whether k3 is multiplied by the ratio (DeepSeek-V3.2; TRL's `use_bias_correction_kl`). Default false, as Search-R1; TRL 1.16: true. */
  readonly biasCorrectedKl?: boolean;
  /** At which the tokens were sampled, and so of all distributions compared. Above 0; default 1, as Search-R1. */
  readonly temperature?: number;
}

/** The step that a mini-batch is part of. */
export interface StepBatch {
  /** Own tokens of all mini-batches together. */
  readonly tokens: number;
  /** How many parts the step's data is learned in, an optimiser step each. */
  readonly miniBatches: number;
}

/** Of log p - log p_old and log p_ref - log p, nats: exp(20) is 4.9e8 (verl). */
const LARGEST_LOG_RATIO = 20;

/** Of k3, nats (verl; Search-R1 v0.2). */
const LARGEST_K3 = 10;

/** Loss, k3 (where there is a reference) and whether the clip took the gradient away, one each a token [N]. */
export function grpoTokenLoss(
  logProbs: tf.Tensor1D,
  { old, reference, advantages }: { readonly old?: tf.Tensor1D; readonly reference?: tf.Tensor1D; readonly advantages: tf.Tensor1D },
  { clipLow, clipHigh, beta, biasCorrectedKl = false }: Pick<GrpoLossSettings, 'clipLow' | 'clipHigh' | 'beta' | 'biasCorrectedKl'>,
): { loss: tf.Tensor1D; kl?: tf.Tensor1D; clipped: tf.Tensor1D } {
  const ratio = tf.exp(boundedLogRatio(logProbs, old ?? withoutGradient(logProbs))); // [N]
  const free = tf.mul(ratio, advantages);
  const bounded = tf.mul(tf.clipByValue(ratio, 1 - clipLow, 1 + clipHigh), advantages);
  const policyLoss = tf.neg(tf.minimum(free, bounded)) as tf.Tensor1D;
  const clipped = tf.cast(tf.less(bounded, free), 'float32') as tf.Tensor1D;
  if (!reference) return { loss: policyLoss, clipped };
  const toReference = boundedLogRatio(reference, logProbs);
  const k3 = tf.clipByValue(tf.sub(tf.sub(tf.exp(toReference), toReference), 1), -LARGEST_K3, LARGEST_K3);
  const kl = (biasCorrectedKl ? tf.mul(k3, ratio) : k3) as tf.Tensor1D;
  return { loss: tf.add(policyLoss, tf.mul(kl, beta)), kl, clipped };
}

const boundedLogRatio = (a: tf.Tensor1D, b: tf.Tensor1D): tf.Tensor1D =>
  tf.clipByValue(tf.sub(a, b), -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO) as tf.Tensor1D;

const withoutGradient = tf.customGrad((x) => ({
  value: tf.clone(x as tf.Tensor),
  gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
})) as (x: tf.Tensor1D) => tf.Tensor1D;

/**
 * The GRPO loss of a mini-batch, for `Engine.forwardBackward` (DeepSeekMath 2402.03300, with Search-R1's settings). Of every scored token:
 *
 *     ratio = exp(log p - log p_old)
 *     loss  = -min(ratio A, clip(ratio, 1 - clipLow, 1 + clipHigh) A) + beta k3
 *     k3    = exp(log p_ref - log p) - (log p_ref - log p) - 1
 *
 * brought together over tokens and sequences as `aggregation` says. Log differences are bounded to +-20 and k3 to +-10 (verl 0.5): a token beyond a bound has
 * no gradient through it, and TRL, which has no bounds, gives other numbers where log p_ref - log p is above 2.6 or below -11. Left out: entropy bonus,
 * sequence-wise ratios, importance correction. Its metrics: `kl` (k3, nats, where there is a reference) and `clip_ratio`.
 *
 * @param data sequences whose rewards were all the same take part: they have no advantage, but a KL term, and their tokens count
 * @param step what `dapo` divides by; default: the data is the whole step
 * @throws TypeError, RangeError for settings out of range, and log-probabilities that are not one each scored token
 * @throws NonFiniteError for an advantage or a log-probability that is NaN or infinite
 *
 * @example
 * ```ts
 * import { openEngine } from 'search-e1';
 * import { grpoLoss } from 'search-e1/grpo';
 *
 * const engine = await openEngine();
 * const sequence = { tokens: engine.tokenizer.encode('<question> who wrote Amber Falcon ?</question><think> the author'), scored: [7, 8] };
 * const loss = grpoLoss([{ ...sequence, advantage: 1 }], { clipLow: 0.2, clipHigh: 0.2, beta: 0 });
 * const { tokens, metrics } = await engine.forwardBackward(loss);
 * [tokens, metrics.clip_ratio]; // [ 2, 0 ]
 * ```
 */
export function grpoLoss(
  data: readonly GrpoDatum[],
  settings: GrpoLossSettings,
  step: StepBatch = { tokens: countScored(data), miniBatches: 1 },
): LogProbLoss<GrpoDatum> {
  checkLossSettings(settings);
  const { aggregation = 'dapo', temperature } = settings;
  const withOld = checkLogProbs('oldLogProbs', data);
  const withReference = checkLogProbs('referenceLogProbs', data);
  if (settings.beta > 0 && !withReference)
    throw new TypeError(`beta ${settings.beta} needs referenceLogProbs in the data; at 0 there is no reference`);
  data.forEach(({ advantage }, i) => {
    if (typeof advantage !== 'number') throw new TypeError(`GRPO: advantage of sequence ${i}: expected a number, got ${shown(advantage)}`);
    assertFinite(`GRPO: advantage of sequence ${i}`, advantage);
  });
  return {
    name: 'grpo',
    reads: 'logProbs',
    temperature,
    data,
    divisor: divisorOf(aggregation, data, settings, step),
    perToken(logProbs, chunk) {
      const gather = (of: (datum: GrpoDatum) => ArrayLike<number>) =>
        tf.tensor1d(
          chunk.flatMap((datum) => Array.from(of(datum))),
          'float32',
        );
      const { loss, kl, clipped } = grpoTokenLoss(
        logProbs,
        {
          old: withOld ? gather((datum) => datum.oldLogProbs as ArrayLike<number>) : undefined,
          reference: withReference ? gather((datum) => datum.referenceLogProbs as ArrayLike<number>) : undefined,
          advantages: gather((datum) => datum.scored.map(() => datum.advantage)),
        },
        settings,
      );
      const weighted =
        aggregation === 'grpo'
          ? tf.mul(
              loss,
              gather(({ scored }) => scored.map(() => 1 / scored.length)),
            )
          : loss;
      return { loss: weighted as tf.Tensor1D, metrics: { ...(kl && { kl }), clip_ratio: clipped } };
    },
  };
}

/** @throws TypeError, RangeError naming the setting */
export function checkLossSettings(settings: GrpoLossSettings): void {
  const { clipLow, clipHigh, beta, aggregation = 'dapo', maxCompletionLength, biasCorrectedKl = false, temperature = 1 } = settings;
  checkNumber('clipLow', clipLow, { min: 0 });
  checkNumber('clipHigh', clipHigh, { min: 0 });
  checkNumber('beta', beta, { min: 0 });
  checkChoice('aggregation', aggregation, ['grpo', 'bnpo', 'dr_grpo', 'dapo']);
  if (aggregation === 'dr_grpo' || maxCompletionLength !== undefined)
    checkNumber('maxCompletionLength', maxCompletionLength, { integer: true, min: 1 });
  if (typeof biasCorrectedKl !== 'boolean') throw new TypeError(`biasCorrectedKl: expected true or false, got ${shown(biasCorrectedKl)}`);
  checkNumber('temperature', temperature, { above: 0 });
}

/** Whether the data has them: all of it or none. */
function checkLogProbs(name: 'oldLogProbs' | 'referenceLogProbs', data: readonly GrpoDatum[]): boolean {
  const given = data.filter((datum) => datum[name]).length;
  if (given === 0) return false;
  data.forEach(({ scored, [name]: values }, i) => {
    if (values?.length !== scored.length)
      throw new RangeError(
        `GRPO: ${name} of sequence ${i}: expected one for each of its ${scored.length} scored tokens, got ${values?.length ?? 'none'}`,
      );
    assertFinite(`GRPO: ${name} of sequence ${i}`, values);
  });
  return true;
}

const countScored = (data: readonly Scored[]): number => data.reduce((sum, { scored }) => sum + scored.length, 0);

function divisorOf(
  aggregation: Aggregation,
  data: readonly GrpoDatum[],
  { maxCompletionLength = 0 }: GrpoLossSettings,
  { tokens, miniBatches }: StepBatch,
): number {
  if (aggregation === 'grpo') return data.length;
  if (aggregation === 'bnpo') return countScored(data);
  if (aggregation === 'dapo') return tokens / miniBatches;
  return data.length * maxCompletionLength;
}
