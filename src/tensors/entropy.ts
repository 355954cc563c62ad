/** Entropy of next-token distributions. */
import * as tf from '@tensorflow/tfjs-core';

/** -sum of p log p over each row of log-probabilities [N, V], where tokens without probability add 0; [N]. */
export function entropyOf(logProbs: tf.Tensor): tf.Tensor1D {
  return tf.tidy(() => {
    const probabilities = tf.exp(logProbs);
    const terms = tf.where(tf.equal(probabilities, 0), tf.zerosLike(logProbs), tf.mul(probabilities, logProbs));
    return tf.neg(tf.sum(terms, -1)) as tf.Tensor1D;
  });
}

/**
 * Entropy of each row's distribution, in nats: 0 where one token is certain, log V where all are equally likely.
 *
 *     H = -sum_v p_v log p_v     with p = softmax(logits)
 *
 * As `entropy_from_logits` of TRL and verl. Logits of -Infinity are tokens without probability and add 0.
 *
 * @param logits [N, V]
 * @returns [N]; the caller disposes it
 * @throws RangeError for what has no two axes
 *
 * @example
 * ```ts
 * import { entropyFromLogits, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const entropy = entropyFromLogits(tf.tensor2d([[0, 0, 0, 0], [100, 0, 0, 0]]));
 * Array.from(await entropy.data(), (nats) => nats.toFixed(3)); // [ '1.386', '0.000' ]
 * ```
 */
export function entropyFromLogits(logits: tf.Tensor2D): tf.Tensor1D {
  if (logits?.shape?.length !== 2) throw new RangeError(`entropyFromLogits: expected logits [N, V], got [${logits?.shape ?? logits}]`);
  return tf.tidy(() => entropyOf(tf.logSoftmax(logits)));
}
