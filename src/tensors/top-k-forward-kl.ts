/**
 * Forward KL on the teacher's K most probable tokens, for teachers that send no more than those (vLLM, Tinker-shaped servers).
 *
 * `renormalise: true` compares the two distributions conditioned on these K tokens; `false` keeps full-vocabulary probabilities and drops the
 * tail. The pointwise clip is that of `forward-kl.ts`. Autodiff is right and cheap here: all but the student's logits is K wide.
 */
import * as tf from '@tensorflow/tfjs-core';

export interface TopKForwardKlOptions {
  /** Largest contribution of one entry, nats; `Infinity` clips nothing. */
  readonly clamp: number;
  /** Whether both distributions are made to sum to 1 over the K tokens. */
  readonly renormalise: boolean;
}

/**
 * @param teacherLogProbs [N, K], full-vocabulary log-probabilities of the K tokens, a constant; -Infinity is none
 * @param indices int32 [N, K], which tokens they are, in [0, V), in any order; a row with one that is not, or with one twice, becomes NaN
 * @param studentLogits [N, V]
 * @returns the clipped sum of each token, nats; [N]. Differentiable in the student's logits.
 */
export function topKForwardKl(
  teacherLogProbs: tf.Tensor2D,
  indices: tf.Tensor2D,
  studentLogits: tf.Tensor2D,
  { clamp, renormalise }: TopKForwardKlOptions,
): tf.Tensor1D {
  const [rows, vocabulary] = studentLogits.shape;
  const starts = tf.tensor2d(
    Int32Array.from({ length: rows }, (_, row) => row * vocabulary),
    [rows, 1],
    'int32',
  ); // of each row in [N * V]
  const inside = tf.logicalAnd(tf.greaterEqual(indices, 0), tf.less(indices, vocabulary)); // [N, K]
  const positions = tf.where(inside, tf.add(indices, starts), starts); // [N, K]
  const found = tf.gather(tf.reshape(tf.logSoftmax(studentLogits), [-1]), positions); // [N, K]
  const same = tf.equal(tf.expandDims(indices, 2), tf.expandDims(indices, 1)); // [N, K, K]
  const once = tf.lessEqual(tf.sum(tf.cast(same, 'int32'), 2), 1); // [N, K]
  const studentLogProbs = tf.where(tf.logicalAnd(inside, once), found, tf.fill(found.shape, Number.NaN)); // [N, K]
  const conditioned = (logProbs: tf.Tensor) => (renormalise ? tf.logSoftmax(logProbs) : logProbs);
  const teacher = conditioned(teacherLogProbs);
  const probabilities = tf.exp(teacher); // [N, K]
  const differences = tf.sub(teacher, conditioned(studentLogProbs)); // [N, K]
  const entries = tf.where(tf.equal(probabilities, 0), tf.zerosLike(teacher), tf.mul(probabilities, differences)); // [N, K]
  return tf.sum(clamp === Number.POSITIVE_INFINITY ? entries : tf.minimum(entries, clamp), 1); // [N]
}
