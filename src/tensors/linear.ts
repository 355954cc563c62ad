/**
 * Linear layer: `y = x W^T + b`, with the weight as PyTorch and Hugging Face store it, [out, in]; on request with a low-rank adapter
 * (Hu et al., 2021), `+ scale (x A^T) B^T`, and a residual, `+ plus`.
 *
 * Leading axes are folded into one before the product: tfjs-core 4.22 does not reduce the gradient of a 2-D operand of a 3-D matMul.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, isRecording, runKernel, withGradient } from './dispatch.js';
import { halfFormat, halfMatMul, matrixShape } from './half.js';

/** What is added to the product. */
export interface LinearOptions {
  /** [..., out]: added to the result. */
  readonly plus?: tf.Tensor;
  /** Its update counts, as if it were in the weight. Default: none. */
  readonly adapter?: Adapter;
}

/** A low-rank update beside a weight: `scale B A` is added to W. */
export interface Adapter {
  /** A [rank, in]. */
  readonly a: tf.Tensor2D; // [rank, in]
  /** B [out, rank]. */
  readonly b: tf.Tensor2D; // [out, rank]
  /** alpha / rank. */
  readonly scale: number;
}

/**
 * x W^T, and bias, and what else is added, in one operation:
 *
 *     y = x W^T + bias + scale (x A^T) B^T + plus
 *
 * @param x [..., in]
 * @param weight W [out, in], as PyTorch keeps it; float32, or packed in 16 bits, which has no gradient
 * @param bias [out]
 * @returns [..., out]
 * @throws RangeError where the shapes do not fit
 *
 * @example
 * ```ts
 * import { linear, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const weight = tf.tensor2d([[1, 0], [0, 2], [1, 1]]); // [out 3, in 2]
 * linear(tf.tensor2d([[3, 4]]), weight, tf.tensor1d([0, 0, 10])).arraySync(); // [ [ 3, 8, 17 ] ]
 * ```
 */
export function linear(x: tf.Tensor, weight: tf.Tensor2D, bias?: tf.Tensor1D, { plus, adapter }: LinearOptions = {}): tf.Tensor {
  const [outputs, inputs] = matrixShape(weight);
  const shape = [...x.shape.slice(0, -1), outputs];
  if (x.shape[x.shape.length - 1] !== inputs) {
    throw new RangeError(`linear: x [${x.shape}] should end in ${inputs}, the second axis of the weight [${outputs},${inputs}]`);
  }
  if (bias && bias.size !== outputs) throw new RangeError(`linear: the bias [${bias.shape}] should have ${outputs} numbers`);
  if (plus && `${plus.shape}` !== `${shape}`) throw new RangeError(`linear: plus [${plus.shape}] should be [${shape}], as the result`);
  if (adapter) checkAdapter(adapter, weight);
  const format = halfFormat(weight);
  if (format && !isRecording() && hasKernel('SearchE1HalfLinear')) {
    const { a, b, scale } = adapter ?? {};
    return runKernel('SearchE1HalfLinear', { x, halves: weight, bias, plus, a, b }, { format, scale })[0];
  }
  if (format || !hasKernel('SearchE1Linear')) return formula(x, weight, bias, plus, adapter);
  withGradient(adapter ? ADAPTED_GRADIENT : LINEAR_GRADIENT);
  if (!adapter) return runKernel('SearchE1Linear', { x, weight, bias, plus })[0];
  const { a, b, scale } = adapter;
  return runKernel('SearchE1AdaptedLinear', { x, weight, a, b, bias, plus }, { scale })[0];
}

function checkAdapter({ a, b }: Adapter, weight: tf.Tensor2D): void {
  const [outputs, inputs] = matrixShape(weight);
  if (a.shape[1] === inputs && b.shape[0] === outputs && a.shape[0] === b.shape[1]) return;
  throw new RangeError(`linear: the adapter's a [${a.shape}] and b [${b.shape}] should be [rank, ${inputs}] and [${outputs}, rank]`);
}

function formula(
  x: tf.Tensor,
  weight: tf.Tensor2D,
  bias: tf.Tensor1D | undefined,
  plus: tf.Tensor | undefined,
  adapter: Adapter | undefined,
): tf.Tensor {
  const [outputs, inputs] = matrixShape(weight);
  const rows = tf.reshape(x, [-1, inputs]) as tf.Tensor2D; // [N, in]
  let y = halfFormat(weight) ? halfMatMul(rows, weight) : tf.matMul(rows, weight, false, true); // [N, out]
  if (bias) y = tf.add(y, bias);
  if (adapter) {
    const low = tf.matMul(rows, adapter.a, false, true); // [N, rank]
    y = tf.add(y, tf.mul(tf.matMul(low, adapter.b, false, true), adapter.scale));
  }
  const shaped = tf.reshape(y, [...x.shape.slice(0, -1), outputs]); // [..., out]
  return plus ? tf.add(shaped, plus) : shaped;
}

// Registered by name and not as a tf.customGrad, so that the gradient of a frozen weight is not computed.
const LINEAR_GRADIENT: tf.GradConfig = {
  kernelName: 'SearchE1Linear',
  inputsToSave: ['x', 'weight'],
  gradFunc: (dys, [x, weight]) => {
    const dy = dys as tf.Tensor;
    const rows = asRows(dy);
    return {
      x: () => tf.reshape(tf.matMul(rows, weight as tf.Tensor2D), x.shape),
      weight: () => tf.matMul(rows, asRows(x), true, false),
      bias: () => runKernel('SearchE1SumRows', { x: rows })[0],
      plus: () => tf.clone(dy),
    };
  },
};

/** With low = x A^T and dLow = scale dy B: `dx = dy W + dLow A`, `dA = dLow^T x`, `dB = scale dy^T low`. */
const ADAPTED_GRADIENT: tf.GradConfig = {
  kernelName: 'SearchE1AdaptedLinear',
  inputsToSave: ['x', 'weight', 'a', 'b'],
  outputsToSave: [false, true],
  gradFunc: (dys, [x, weight, a, b, low], attributes) => {
    const [dy] = dys as tf.Tensor[];
    const rows = asRows(dy);
    const [dx, dA, dB] = runKernel('SearchE1AdaptedLinearGrad', { x, weight, a, b, low, dy }, attributes as object);
    return {
      x: () => dx,
      weight: () => tf.matMul(rows, asRows(x), true, false),
      a: () => dA,
      b: () => dB,
      bias: () => runKernel('SearchE1SumRows', { x: rows })[0],
      plus: () => tf.clone(dy),
    };
  },
};

/** [N, width] of [..., width]. */
const asRows = (x: tf.Tensor): tf.Tensor2D => tf.reshape(x, [-1, x.shape[x.shape.length - 1]]);
