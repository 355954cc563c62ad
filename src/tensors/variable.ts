import * as tf from '@tensorflow/tfjs-core';

let created = 0;

/** A trainable float32 variable. TensorFlow.js refuses a name that is taken; a number is put behind it so that several policies live side by side. */
export function createVariable(name: string, values: Float32Array, shape: readonly number[]): tf.Variable {
  const tensor = tf.tensor(values, [...shape], 'float32');
  const variable = tf.variable(tensor, true, `${name}#${created++}`);
  tensor.dispose();
  return variable;
}
