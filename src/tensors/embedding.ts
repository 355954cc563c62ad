/**
 * Embedding: `y[n] = table[ids[n]]`; the gradient adds `dy[n]` to row `ids[n]`.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';
import { halfFormat, halfRows } from './half.js';

/**
 * Looks up rows of a table.
 *
 * @param table [V, d], or packed halves of it (`half.ts`)
 * @param ids int32 [N], each in [0, V)
 * @returns [N, d]
 */
export function embedding(table: tf.Tensor2D, ids: tf.Tensor1D): tf.Tensor2D {
  if (ids.dtype !== 'int32')
    throw new TypeError(`embedding: expected int32 ids, got ${ids.dtype}; make them with tf.tensor1d(ids, 'int32')`);
  if (halfFormat(table)) return halfRows(table, ids); // [N, d]
  if (!hasKernel('SearchE1Embedding')) return tf.gather(table, ids); // [N, d]
  const lookUp = tf.customGrad((table, save) => {
    (save as tf.GradSaveFunc)([ids]);
    const rows = (table as tf.Tensor).shape[0];
    return {
      value: runKernel('SearchE1Embedding', { table: table as tf.Tensor, ids })[0],
      gradFunc: (dy: tf.Tensor, [ids]: tf.Tensor[]) => runKernel('SearchE1EmbeddingGrad', { ids, dy }, { rows })[0],
    };
  });
  return lookUp(table) as tf.Tensor2D;
}
