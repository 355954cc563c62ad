/**
 * Log-probabilities of chosen tokens, `log softmax(hidden head^T)[target]`, and the entropy of each distribution, in nats.
 *
 * The gradient is written out, `d logits = (onehot(target) - softmax) dy`: autodiff through logSoftmax would keep three arrays as wide as
 * the vocabulary, this keeps one.
 */
import * as tf from '@tensorflow/tfjs-core';

export interface SelectedLogProbs {
  /** log p(target), nats; [N]. Differentiable in `hidden` and `head`. */
  readonly logProbs: tf.Tensor1D;
  /** Entropy of the whole distribution, nats; [N]. A metric: its gradient is zero. */
  readonly entropy: tf.Tensor1D;
}

/**
 * @param hidden [N, d]
 * @param head [V, d], the output embedding
 * @param targets int32 [N]
 */
export function selectedLogProbs(hidden: tf.Tensor2D, head: tf.Tensor2D, targets: tf.Tensor1D): SelectedLogProbs {
  const vocabulary = head.shape[0];
  const both = tf.customGrad((x, weight, save) => {
    const logits = tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D, false, true) as tf.Tensor2D; // [N, V]
    const logProbs = logProbsOf(logits); // [N, V]
    (save as tf.GradSaveFunc)([x as tf.Tensor, weight as tf.Tensor, logProbs, targets]);
    const selected = tf.sum(tf.mul(logProbs, tf.oneHot(targets, vocabulary)), 1); // [N]
    const entropy = tf.neg(tf.sum(tf.mul(tf.exp(logProbs), logProbs), 1)); // [N]
    return {
      value: tf.stack([selected, entropy]), // [2, N]
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [x, weight, logProbs] = saved as tf.Tensor2D[];
        const targets = saved[3];
        const dSelected = tf.reshape(tf.slice(dy, [0, 0], [1, -1]), [-1, 1]); // [N, 1]
        const dLogits = tf.mul(tf.sub(tf.oneHot(targets, vocabulary), tf.exp(logProbs)), dSelected) as tf.Tensor2D; // [N, V]
        return [tf.matMul(dLogits, weight), tf.matMul(dLogits, x, true, false)];
      },
    };
  });
  const [logProbs, entropy] = tf.unstack(both(hidden, head)) as tf.Tensor1D[];
  return { logProbs, entropy };
}

/** `log softmax` over the last axis; [N, V] to [N, V], nats. */
export const logProbsOf = (logits: tf.Tensor2D): tf.Tensor2D => tf.logSoftmax(logits);
