/**
 * Log-probabilities of chosen tokens, `log softmax(hidden head^T)[target]`, and the entropy of each distribution, in nats.
 *
 * The gradient is written out, `d logits = (onehot(target) - softmax) dy`: autodiff through logSoftmax would keep three arrays as wide as
 * the vocabulary, this keeps one.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, isRecording, runKernel, withGradient } from './dispatch.js';
import { entropyOf } from './entropy.js';
import { halfFormat, halfMatMul, halfMatMulTransposed, matrixShape } from './half.js';

/** What a loss over log-probabilities reads. */
export interface SelectedLogProbs {
  /** log p(target), nats; [N]. Differentiable in `hidden` and `head`. */
  readonly logProbs: tf.Tensor1D;
  /** Entropy of the whole distribution, nats; [N]. A metric: its gradient is zero. */
  readonly entropy: tf.Tensor1D;
}

/**
 * Log-probability of one token a row and the entropy of its distribution, without keeping logits as wide as the vocabulary:
 *
 *     logProbs[i] = log softmax(hidden[i] head^T)[targets[i]]
 *
 * @param hidden [N, d]
 * @param head [V, d], the output embedding; packed halves of it (`half.ts`) get no gradient
 * @param targets int32 [N]
 *
 * @example
 * ```ts
 * import { selectedLogProbs, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const hidden = tf.tensor2d([[0, 0]]); // logits of four equally likely tokens
 * const { logProbs, entropy } = selectedLogProbs(hidden, tf.ones([4, 2]) as tf.Tensor2D, tf.tensor1d([2], 'int32'));
 * logProbs.dataSync()[0].toFixed(3); // '-1.386'
 * entropy.dataSync()[0].toFixed(3); // '1.386'
 * ```
 */
export function selectedLogProbs(hidden: tf.Tensor2D, head: tf.Tensor2D, targets: tf.Tensor1D): SelectedLogProbs {
  if (targets.dtype !== 'int32' || targets.size !== hidden.shape[0] || hidden.shape[1] !== matrixShape(head)[1]) {
    throw new RangeError(
      `selectedLogProbs: hidden [${hidden.shape}], head [${matrixShape(head)}] and ${targets.dtype} targets [${targets.shape}] should be [N, d], [V, d], int32 [N]`,
    );
  }
  if (halfFormat(head)) {
    const both = hasKernel('SearchE1HalfSelectedLogProbs') ? halvesByKernel(head, targets) : ofHalves(head, targets);
    const [logProbs, entropy] = tf.unstack(both(hidden)) as tf.Tensor1D[];
    return { logProbs, entropy };
  }
  const fused = hasKernel('SearchE1SelectedLogProbs');
  if (fused) withGradient(GRADIENT);
  const both = fused
    ? runKernel('SearchE1SelectedLogProbs', { hidden, head, targets }, { save: isRecording() })[0]
    : tf.customGrad(formula(targets))(hidden, head);
  const [logProbs, entropy] = tf.unstack(both) as tf.Tensor1D[];
  return { logProbs, entropy };
}

type BothWithGradient = Parameters<typeof tf.customGrad>[0];

/** Log-probabilities and entropies in one [2, N], as tf.customGrad wants a single output. */
function formula(targets: tf.Tensor1D): BothWithGradient {
  return (...args) => {
    const [hidden, head, save] = args as [tf.Tensor2D, tf.Tensor2D, tf.GradSaveFunc];
    const vocabulary = head.shape[0];
    const logProbs = tf.logSoftmax(tf.matMul(hidden, head, false, true)); // [N, V]
    save([hidden, head, logProbs, targets]);
    return {
      value: tf.stack([selected(logProbs, tf.oneHot(targets, vocabulary)), entropyOf(logProbs)]), // [2, N]
      gradFunc: (dy: tf.Tensor, [hidden, head, logProbs, targets]: tf.Tensor[]) => {
        const dSelected = tf.reshape(tf.slice(dy, [0, 0], [1, -1]), [-1, 1]); // [N, 1]
        const dLogits = tf.mul(tf.sub(tf.oneHot(targets, vocabulary), tf.exp(logProbs)), dSelected); // [N, V]
        return [tf.matMul(dLogits, head), tf.matMul(dLogits, hidden, true, false)];
      },
    };
  };
}

/** The chosen one of each row of [N, V]; [N]. Not by a product: 0 times the -Infinity of another token is NaN. Arrays as wide as the vocabulary are given back at once. */
const selected = (logProbs: tf.Tensor, chosen: tf.Tensor): tf.Tensor =>
  tf.tidy(() => tf.sum(tf.where(tf.greater(chosen, 0), logProbs, tf.zerosLike(logProbs)), 1));

/** Logits (32 MB) that live at the same time where the head is packed; some more arrays of their size live beside them. */
const HALF_LOGITS = 1 << 23;

/** The formula over a frozen, packed head, some rows at a time; the gradient computes the logits again. */
function ofHalves(head: tf.Tensor, targets: tf.Tensor1D): (hidden: tf.Tensor2D) => tf.Tensor2D {
  const [vocabulary] = matrixShape(head);
  const count = targets.size;
  const rows = Math.max(1, Math.floor(HALF_LOGITS / vocabulary));
  const cuts = Array.from({ length: Math.ceil(count / rows) }, (_, i) => [i * rows, Math.min(count, (i + 1) * rows)]);
  const rowsOf = (hidden: tf.Tensor2D, targets: tf.Tensor1D, [from, to]: readonly number[]) => ({
    logProbs: tf.logSoftmax(halfMatMul(tf.slice(hidden, [from, 0], [to - from, -1]), head)), // [R, V]
    chosen: tf.oneHot(tf.slice(targets, [from], [to - from]), vocabulary), // [R, V]
  });
  return tf.customGrad((...args) => {
    const [hidden, save] = args as [tf.Tensor2D, tf.GradSaveFunc];
    save([hidden, targets]);
    const parts = cuts.map((cut) =>
      tf.tidy(() => {
        const { logProbs, chosen } = rowsOf(hidden, targets, cut);
        return tf.stack([selected(logProbs, chosen), entropyOf(logProbs)]) as tf.Tensor2D; // [2, R]
      }),
    );
    return {
      value: tf.concat(parts, 1), // [2, N]
      gradFunc: (dy: tf.Tensor, [hidden, targets]: tf.Tensor[]) =>
        tf.concat(
          cuts.map(([from, to]) =>
            tf.tidy(() => {
              const { logProbs, chosen } = rowsOf(hidden as tf.Tensor2D, targets as tf.Tensor1D, [from, to]);
              const dSelected = tf.reshape(tf.slice(dy, [0, from], [1, to - from]), [-1, 1]); // [R, 1]
              return halfMatMulTransposed(tf.mul(tf.sub(chosen, tf.exp(logProbs)), dSelected) as tf.Tensor2D, head); // [R, d]
            }),
          ),
          0,
        ),
    };
  }) as (hidden: tf.Tensor2D) => tf.Tensor2D;
}

/** The same by a kernel, which keeps the log-sum-exp of each row. */
function halvesByKernel(halves: tf.Tensor, targets: tf.Tensor1D): (hidden: tf.Tensor2D) => tf.Tensor2D {
  const format = halfFormat(halves);
  return tf.customGrad((...args) => {
    const [hidden, save] = args as [tf.Tensor2D, tf.GradSaveFunc];
    const [both, lse] = runKernel('SearchE1HalfSelectedLogProbs', { hidden, halves, targets }, { format });
    save([hidden, targets, lse]);
    return {
      value: both,
      gradFunc: (dy: tf.Tensor, [hidden, targets, lse]: tf.Tensor[]) => {
        const dSelected = tf.slice(dy, [0, 0], [1, -1]);
        return runKernel('SearchE1HalfSelectedLogProbsGrad', { hidden, halves, targets, weights: lse, dy: dSelected }, { format })[0];
      },
    };
  }) as (hidden: tf.Tensor2D) => tf.Tensor2D;
}

// With E = exp(logits - largest) kept by the kernel and s = -dy / row sum of E: `d hidden = s (E head) + dy head[target]`,
// `d head = E^T (s hidden) + dy hidden`, the latter added to row `target`. Registered by name, so that the gradient of a frozen head is not computed.
const GRADIENT: tf.GradConfig = {
  kernelName: 'SearchE1SelectedLogProbs',
  inputsToSave: ['hidden', 'head', 'targets'],
  outputsToSave: [false, true, true],
  gradFunc: (dys, [hidden, head, targets, weights, inverse]) => {
    const dy = tf.slice((dys as tf.Tensor[])[0], [0, 0], [1, -1]); // of the log-probabilities
    const gradient = (of: 'hidden' | 'head') =>
      runKernel('SearchE1SelectedLogProbsGrad', { hidden, head, targets, weights, inverse, dy }, { of })[0];
    return { hidden: () => gradient('hidden'), head: () => gradient('head') };
  },
};
