/** What the active backend can still hold, and in one piece. */
import * as tf from '@tensorflow/tfjs-core';
import type { SimdBackend } from './simd/backend.js';
import { webGpuDevice } from './webgpu/device.js';

/** Bytes; Infinity where the backend does not say. */
export interface Capacity {
  readonly free: number;
  readonly largestTensor: number;
}

export function capacity(): Capacity {
  switch (tf.getBackend()) {
    case 'simd': {
      const { heap } = tf.backend() as unknown as SimdBackend;
      const free = heap.maximumBytes - heap.bytesInUse;
      return { free, largestTensor: free };
    }
    case 'webgpu':
      return { free: Number.POSITIVE_INFINITY, largestTensor: webGpuDevice()?.maxBufferSize ?? Number.POSITIVE_INFINITY };
    default:
      return { free: Number.POSITIVE_INFINITY, largestTensor: Number.POSITIVE_INFINITY };
  }
}
