/**
 * RMSNorm (Zhang and Sennrich, 2019): `y = x / sqrt(mean(x^2) + epsilon) * weight`, over the last axis.
 */
import * as tf from '@tensorflow/tfjs-core';

/**
 * @param x [..., d]
 * @param weight [d]
 * @param epsilon added to the mean square; Qwen2: 1e-6
 * @returns [..., d]
 */
export function rmsNorm<T extends tf.Tensor>(x: T, weight: tf.Tensor1D, epsilon: number): T {
  const meanSquare = tf.mean(tf.square(x), -1, true); // [..., 1]
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(meanSquare, epsilon))), weight);
}
