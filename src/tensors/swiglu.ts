/**
 * The gate of SwiGLU (Shazeer, 2020): `silu(gate) * up` with `silu(z) = z sigmoid(z)`.
 */
import * as tf from '@tensorflow/tfjs-core';

/** Both of one shape, which is that of the result. */
export function swiglu<T extends tf.Tensor>(gate: T, up: T): T {
  return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
}
