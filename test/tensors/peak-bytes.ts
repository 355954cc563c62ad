/** The most that a piece of work holds on the simd backend. */
import * as tf from '@tensorflow/tfjs-core';
import type { SimdBackend } from '../../src/tensors/simd/backend.js';

/** Bytes in use at the worst moment of the work, above those in use when it began. */
export function peakBytes(work: () => unknown): number {
  const { heap } = tf.backend() as unknown as SimdBackend;
  const start = heap.bytesInUse;
  let most = start;
  const allocate = heap.allocate;
  heap.allocate = (bytes) => {
    const at = allocate.call(heap, bytes);
    most = Math.max(most, heap.bytesInUse);
    return at;
  };
  try {
    work();
  } finally {
    heap.allocate = allocate;
  }
  return most - start;
}
