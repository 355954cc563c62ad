/**
 * The gate of SwiGLU (Shazeer, 2020): `silu(gate) * up` with `silu(z) = z sigmoid(z)`.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

/**
 * Both of one shape, which is that of the result.
 *
 * @example
 * ```ts
 * import { startBackend, swiglu, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * swiglu(tf.tensor1d([0, 1]), tf.tensor1d([5, 2])).dataSync()[1].toFixed(3); // '1.462'
 * ```
 */
export function swiglu<T extends tf.Tensor>(gate: T, up: T): T {
  if (`${gate.shape}` !== `${up.shape}`) throw new RangeError(`swiglu: gate [${gate.shape}] and up [${up.shape}] should have one shape`);
  return hasKernel('SearchE1Swiglu') ? byKernel(gate, up) : tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
}

/** With s = sigmoid(gate): `d gate = dy up s (1 + gate (1 - s))`, `d up = dy gate s`. */
function byKernel<T extends tf.Tensor>(gate: T, up: T): T {
  const multiply = tf.customGrad((...args) => {
    const [gate, up, save] = args as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    save([gate, up]);
    return {
      value: runKernel('SearchE1Swiglu', { gate, up })[0],
      gradFunc: (dy: tf.Tensor, [gate, up]: tf.Tensor[]) => runKernel('SearchE1SwigluGrad', { gate, up, dy }),
    };
  });
  return multiply(gate, up) as T;
}
