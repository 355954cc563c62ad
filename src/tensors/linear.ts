/**
 * Linear layer: `y = x W^T + b`, with the weight as PyTorch and Hugging Face store it, [out, in].
 *
 * Leading axes are folded into one before the product: tfjs-core 4.22 does not reduce the gradient of a 2-D operand of a 3-D matMul.
 */
import * as tf from '@tensorflow/tfjs-core';

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
  const rows = tf.reshape(x, [-1, inputs]) as tf.Tensor2D; // [N, in]
  const product = tf.matMul(rows, weight, false, true); // [N, out]
  return tf.reshape(bias ? tf.add(product, bias) : product, [...x.shape.slice(0, -1), outputs]); // [..., out]
}
