/**
 * Embedding: `y[n] = table[ids[n]]`; the gradient adds `dy[n]` to row `ids[n]`.
 */
import * as tf from '@tensorflow/tfjs-core';

/**
 * Looks up rows of a table.
 *
 * @param table [V, d]
 * @param ids int32 [N], each in [0, V)
 * @returns [N, d]
 */
export function embedding(table: tf.Tensor2D, ids: tf.Tensor1D): tf.Tensor2D {
  if (ids.dtype !== 'int32')
    throw new TypeError(`embedding: expected int32 ids, got ${ids.dtype}; make them with tf.tensor1d(ids, 'int32')`);
  return tf.gather(table, ids); // [N, d]
}
