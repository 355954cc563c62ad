/**
 * RMSNorm (Zhang and Sennrich, 2019): `y = x / sqrt(mean(x^2) + epsilon) * weight`, over the last axis.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

/**
 * Root mean square norm (Zhang and Sennrich, 2019), as Transformers' Qwen2RMSNorm:
 *
 *     y = weight * x / sqrt(mean(x^2) + epsilon)      over the last axis
 *
 * @param x [..., d]
 * @param weight [d]
 * @param epsilon added to the mean square; Qwen2: 1e-6
 * @returns [..., d]
 *
 * @example
 * ```ts
 * import { rmsNorm, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * Array.from(rmsNorm(tf.tensor2d([[3, 4]]), tf.tensor1d([1, 1]), 1e-6).dataSync(), (value) => value.toFixed(3)); // [ '0.849', '1.131' ]
 * ```
 */
export function rmsNorm<T extends tf.Tensor>(x: T, weight: tf.Tensor1D, epsilon: number): T {
  const width = x.shape[x.shape.length - 1];
  if (weight.size !== width) throw new RangeError(`rmsNorm: the weight [${weight.shape}] should have ${width} numbers, as x [${x.shape}]`);
  return hasKernel('SearchE1RmsNorm') ? byKernel(x, weight, epsilon) : formula(x, weight, epsilon);
}

function formula<T extends tf.Tensor>(x: T, weight: tf.Tensor1D, epsilon: number): T {
  const meanSquare = tf.mean(tf.square(x), -1, true); // [..., 1]
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(meanSquare, epsilon))), weight);
}

/** With r = 1 / root mean square: `dx = r w dy - x r^3 / d sum(x w dy)`, `dw = sum over rows of x r dy`. */
function byKernel<T extends tf.Tensor>(x: T, weight: tf.Tensor1D, epsilon: number): T {
  const normalise = tf.customGrad((...args) => {
    const [x, weight, save] = args as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    const [y, inverse] = runKernel('SearchE1RmsNorm', { x, weight }, { epsilon });
    save([x, weight, inverse]);
    return {
      value: y,
      gradFunc: (dy: tf.Tensor, [x, weight, inverse]: tf.Tensor[]) => runKernel('SearchE1RmsNormGrad', { x, weight, inverse, dy }),
    };
  });
  return normalise(x, weight) as T;
}
