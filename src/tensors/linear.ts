/**
 * Linear layer: `y = x W^T + b`, with the weight as PyTorch and Hugging Face store it, [out, in].
 *
 * Leading axes are folded into one before the product: tfjs-core 4.22 does not reduce the gradient of a 2-D operand of a 3-D matMul.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

/**
 * @param x [..., in]
 * @param weight [out, in]
 * @param bias [out]
 * @returns [..., out]
 */
export function linear(x: tf.Tensor, weight: tf.Tensor2D, bias?: tf.Tensor1D): tf.Tensor {
  const [outputs, inputs] = weight.shape;
  if (x.shape[x.shape.length - 1] !== inputs) {
    throw new RangeError(`linear: x [${x.shape}] should end in ${inputs}, the second axis of the weight [${weight.shape}]`);
  }
  if (bias && bias.size !== outputs) throw new RangeError(`linear: the bias [${bias.shape}] should have ${outputs} numbers`);
  if (hasKernel('SearchE1Linear')) return runKernel('SearchE1Linear', { x, weight, bias })[0];
  const rows = tf.reshape(x, [-1, inputs]) as tf.Tensor2D; // [N, in]
  const product = tf.matMul(rows, weight, false, true); // [N, out]
  return tf.reshape(bias ? tf.add(product, bias) : product, [...x.shape.slice(0, -1), outputs]); // [..., out]
}

// Registered by name and not as a tf.customGrad, so that the gradient of a frozen weight is not computed.
tf.registerGradient({
  kernelName: 'SearchE1Linear',
  inputsToSave: ['x', 'weight'],
  gradFunc: (dy, [x, weight]) => {
    const [outputs, inputs] = weight.shape;
    const rows = tf.reshape(dy as tf.Tensor, [-1, outputs]) as tf.Tensor2D; // [N, out]
    return {
      x: () => tf.reshape(tf.matMul(rows, weight as tf.Tensor2D), x.shape),
      weight: () => tf.matMul(rows, tf.reshape(x, [-1, inputs]) as tf.Tensor2D, true, false),
      bias: () => runKernel('SearchE1SumRows', { x: rows })[0],
    };
  },
});
