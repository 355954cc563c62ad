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
  return (hasKernel('SearchE1Embedding') ? byKernel(ids) : formula(ids))(table) as tf.Tensor2D;
}

/** As tf.gather, whose own gradient makes a copy of dy for every row of the table on the cpu backend. */
const formula = (ids: tf.Tensor1D) =>
  tf.customGrad((...args) => {
    const [table, save] = args as [tf.Tensor, tf.GradSaveFunc];
    save([ids]);
    const shape = table.shape;
    return {
      value: tf.gather(table, ids), // [N, d]
      gradFunc: (dy: tf.Tensor, [ids]: tf.Tensor[]) => tf.scatterND(tf.reshape(ids, [-1, 1]), dy, shape), // [V, d]
    };
  });

const byKernel = (ids: tf.Tensor1D) =>
  tf.customGrad((...args) => {
    const [table, save] = args as [tf.Tensor, tf.GradSaveFunc];
    save([ids]);
    const rows = table.shape[0];
    return {
      value: runKernel('SearchE1Embedding', { table, ids })[0],
      gradFunc: (dy: tf.Tensor, [ids]: tf.Tensor[]) => runKernel('SearchE1EmbeddingGrad', { ids, dy }, { rows })[0],
    };
  });
