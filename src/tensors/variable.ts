import * as tf from '@tensorflow/tfjs-core';

let created = 0;

/** A trainable float32 variable. TensorFlow.js refuses a name that is taken; a number is put behind it so that several policies live side by side. */
export function createVariable(name: string, values: Float32Array, shape: readonly number[]): tf.Variable {
  return asVariable(name, tf.tensor(values, [...shape], 'float32'));
}

/** The same over a tensor that is there already, which the variable owns from here on; only float32 is trainable. */
export function asVariable(name: string, tensor: tf.Tensor): tf.Variable {
  const variable = tf.variable(tensor, tensor.dtype === 'float32', `${name}#${created++}`);
  tensor.dispose();
  return variable;
}
