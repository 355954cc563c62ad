/**
 * Forward KL over the whole vocabulary with the pointwise clip of OPSD v3: for each token
 *
 *     sum over v of min(p_T(v) (log p_T(v) - log p_S(v)), clamp)
 *
 * The clip is from above and before the sum: a cut entry passes no gradient, a negative one stays, so a clipped sum may be negative.
 * An entry that the teacher rules out (a logit of -Infinity) adds 0, to the gradient too; one that the student alone rules out is infinite, as the divergence is, and
 * at most the clamp in the clipped sum.
 *
 * The gradient is written out (one array as wide as the vocabulary is kept instead of six):
 * `d logits_S = p_S sum(kept p_T) - kept p_T`, where `kept` is 0 for cut entries.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

/** How the divergence is clipped. */
export interface ForwardKlOptions {
  /** Largest contribution of one vocabulary entry, nats; `Infinity` clips nothing. */
  readonly clamp: number;
}

/** The divergence token by token, clipped and not. */
export interface ForwardKl {
  /** The clipped sum of each token, nats; [N]. Differentiable in the student's logits. */
  readonly perToken: tf.Tensor1D;
  /** KL(teacher || student) of each token without the clip, nats; [N]. A metric: its gradient is zero. */
  readonly unclamped: tf.Tensor1D;
}

/**
 * Forward KL of student from teacher over the whole vocabulary, clipped entry by entry from above:
 *
 *     perToken = sum over v of min(p_T(v) (log p_T(v) - log p_S(v)), clamp)
 *
 * The clip comes before the sum and is OPSD v3's: a cut entry passes no gradient, a negative one stays, so a clipped sum may be negative.
 *
 * @param teacherLogits [N, V], a constant; -Infinity is a token that the teacher rules out
 * @param studentLogits [N, V]
 *
 * @example
 * ```ts
 * import { forwardKl, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const teacher = tf.tensor2d([[Math.log(0.5), Math.log(0.5)]]);
 * const student = tf.tensor2d([[Math.log(0.25), Math.log(0.75)]]);
 * const { perToken, unclamped } = forwardKl(teacher, student, { clamp: 0.1 });
 * unclamped.dataSync()[0].toFixed(4); // '0.1438'
 * perToken.dataSync()[0].toFixed(4); // '-0.1027'
 * ```
 */
export function forwardKl(teacherLogits: tf.Tensor2D, studentLogits: tf.Tensor2D, { clamp }: ForwardKlOptions): ForwardKl {
  if (`${teacherLogits.shape}` !== `${studentLogits.shape}`) {
    throw new RangeError(`forwardKl: teacher [${teacherLogits.shape}] and student [${studentLogits.shape}] should have one shape`);
  }
  if (!(clamp > 0)) throw new RangeError(`forwardKl: clamp should be positive (Infinity for none), got ${clamp}`);
  const both = tf.customGrad((hasKernel('SearchE1ForwardKl') ? byKernel : formula)(teacherLogits, clamp));
  const [perToken, unclamped] = tf.unstack(both(studentLogits)) as tf.Tensor1D[];
  return { perToken, unclamped };
}

type BothWithGradient = Parameters<typeof tf.customGrad>[0];

/** Clipped and unclipped sums in one [2, N], as tf.customGrad wants a single output. */
function formula(teacherLogits: tf.Tensor2D, clamp: number): BothWithGradient {
  return (...args) => {
    const [student, save] = args as [tf.Tensor2D, tf.GradSaveFunc];
    const teacherLogProbs = tf.logSoftmax(teacherLogits); // [N, V]
    const teacher = tf.exp(teacherLogProbs);
    const differences = tf.sub(teacherLogProbs, tf.logSoftmax(student)); // [N, V]
    const none = tf.zerosLike(teacher);
    const entries = tf.where(tf.equal(teacher, 0), none, tf.mul(teacher, differences)); // [N, V]
    const kept = tf.where(tf.greater(entries, clamp), none, teacher); // [N, V]
    save([student, kept]);
    return {
      value: tf.stack([tf.sum(tf.minimum(entries, clamp), 1), tf.sum(entries, 1)]), // [2, N]
      gradFunc: (dy: tf.Tensor, [student, kept]: tf.Tensor[]) => {
        const dPerToken = tf.reshape(tf.slice(dy, [0, 0], [1, -1]), [-1, 1]); // [N, 1]
        const dStudent = tf.sub(tf.mul(tf.softmax(student), tf.sum(kept, 1, true)), kept); // [N, V]
        return tf.mul(dStudent, dPerToken);
      },
    };
  };
}

/** One pass over both rows of logits a token, forward and backward; nothing as wide as the vocabulary is kept but the logits themselves. */
function byKernel(teacher: tf.Tensor2D, clamp: number): BothWithGradient {
  return (...args) => {
    const [student, save] = args as [tf.Tensor2D, tf.GradSaveFunc];
    const [both, sums] = runKernel('SearchE1ForwardKl', { teacher, student }, { clamp });
    save([teacher, student, sums]);
    return {
      value: both, // [2, N]
      gradFunc: (dy: tf.Tensor, [teacher, student, saved]: tf.Tensor[]) =>
        runKernel('SearchE1ForwardKlGrad', { teacher, student, saved, dy }, { clamp })[0],
    };
  };
}
