/**
 * The GRPO loss of one token (DeepSeekMath 2402.03300, with Search-R1's settings).
 *
 *     ratio = exp(log p - log p_old)
 *     loss  = -min(ratio A, clip(ratio, 1 - clip, 1 + clip) A) + beta k3
 *     k3    = exp(log p_ref - log p) - (log p_ref - log p) - 1            (unbiased, never negative)
 *
 * The engine takes the mean over all own tokens of the batch: every token weighs the same, whichever trajectory it is in (Search-R1's masked mean, TRL's `dapo`
 * normalisation). Left out: per-sequence means, entropy bonus, importance correction between sampler and trainer, for here they are one program.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { LogProbLoss, Scored } from '../engines/engine.js';

export interface GrpoDatum extends Scored {
  /** One number for the whole trajectory. */
  readonly advantage: number;
  /** log p of each scored token when it was sampled. */
  readonly oldLogProbs: ArrayLike<number>;
  /** log p of each scored token under the reference policy. */
  readonly referenceLogProbs: ArrayLike<number>;
}

export interface GrpoLossSettings {
  /** The ratio is clipped to [1 - clip, 1 + clip]. Search-R1: 0.2. */
  readonly clip: number;
  /** Weight of the k3 estimate of KL(policy || reference). Search-R1: 0.001. */
  readonly beta: number;
  /** At which the tokens were sampled, and so of all distributions compared. Search-R1: 1. */
  readonly temperature?: number;
}

/** Loss, k3 and whether the clip took the gradient away, one each a token [N]. */
export function grpoTokenLoss(
  logProbs: tf.Tensor1D,
  { old, reference, advantages }: { readonly old: tf.Tensor1D; readonly reference: tf.Tensor1D; readonly advantages: tf.Tensor1D },
  { clip, beta }: GrpoLossSettings,
): { loss: tf.Tensor1D; kl: tf.Tensor1D; clipped: tf.Tensor1D } {
  const ratio = tf.exp(tf.sub(logProbs, old)); // [N]
  const free = tf.mul(ratio, advantages);
  const bounded = tf.mul(tf.clipByValue(ratio, 1 - clip, 1 + clip), advantages);
  const toReference = tf.sub(reference, logProbs);
  const kl = tf.sub(tf.sub(tf.exp(toReference), toReference), 1) as tf.Tensor1D;
  const loss = tf.add(tf.neg(tf.minimum(free, bounded)), tf.mul(kl, beta)) as tf.Tensor1D;
  return { loss, kl, clipped: tf.cast(tf.less(bounded, free), 'float32') as tf.Tensor1D };
}

/** The loss of a batch, for an engine. */
export function grpoLoss(data: readonly GrpoDatum[], settings: GrpoLossSettings): LogProbLoss<GrpoDatum> {
  return {
    name: 'grpo',
    reads: 'logProbs',
    temperature: settings.temperature,
    data,
    perToken(logProbs, chunk) {
      const gather = (of: (datum: GrpoDatum) => ArrayLike<number>) =>
        tf.tensor1d(
          chunk.flatMap((datum) => Array.from(of(datum))),
          'float32',
        );
      const { loss, kl, clipped } = grpoTokenLoss(
        logProbs,
        {
          old: gather((datum) => datum.oldLogProbs),
          reference: gather((datum) => datum.referenceLogProbs),
          advantages: gather((datum) => datum.scored.map(() => datum.advantage)),
        },
        settings,
      );
      return { loss, metrics: { kl, clip_ratio: clipped } };
    },
  };
}
