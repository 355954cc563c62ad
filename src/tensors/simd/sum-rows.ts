import * as tf from '@tensorflow/tfjs-core';
import type { SimdBackend } from './backend.js';

/** Rows that assembly/layers.ts sums in order. */
const ROW_BLOCK = 64;

/** The sum over all rows of x, seen as [rows, width]: blocks of rows first, then their sums, so that threads can share the work and change nothing. */
export function sumRows(backend: SimdBackend, x: tf.TensorInfo, width: number): tf.TensorInfo {
  const { at, output, threads } = backend;
  let rows = tf.util.sizeFromShape(x.shape) / width;
  if (rows === 0) return backend.zeros([width]);
  let from = x;
  do {
    const blocks = Math.ceil(rows / ROW_BLOCK);
    const sums = output(blocks === 1 ? [width] : [blocks, width]);
    threads.run('sumRows', [at(from), at(sums), rows, width], blocks, { cost: (ROW_BLOCK * width) / 4 });
    if (from !== x) backend.disposeData(from.dataId);
    from = sums;
    rows = blocks;
  } while (rows > 1);
  return from;
}
