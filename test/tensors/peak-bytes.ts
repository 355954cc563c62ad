/** The most that a piece of work holds on the simd, the cpu or the webgpu backend. */
import * as tf from '@tensorflow/tfjs-core';
import type { Heap } from '../../src/tensors/simd/heap.js';

interface Storage {
  set(dataId: object, value: { readonly values: unknown }): void;
  delete(dataId: object): boolean;
  get(dataId: object): { readonly values: unknown };
}

/** Of tfjs-backend-webgpu: buffers of tensors that are gone are in use until they are submitted. */
interface Buffers {
  readonly numBytesUsed: number;
  acquireBuffer(...request: unknown[]): unknown;
}

/** Bytes in use at the worst moment of the work, above those in use when it began. */
export async function peakBytes(work: () => unknown): Promise<number> {
  const backend = tf.backend() as unknown as { readonly heap?: Heap; readonly data: Storage; readonly bufferManager?: Buffers };
  let [now, most] = [0, 0];
  const watched = backend.bufferManager
    ? watchBuffers(backend.bufferManager)
    : backend.heap
      ? watchHeap(backend.heap)
      : watchStorage(backend.data);
  watched.onChange = (change) => {
    now += change;
    most = Math.max(most, now);
  };
  try {
    await work();
  } finally {
    watched.stop();
  }
  return most;
}

interface Watched {
  onChange: (bytes: number) => void;
  stop(): void;
}

function watchHeap(heap: Heap): Watched {
  const { allocate, release } = heap;
  const watched: Watched = { onChange: () => undefined, stop: () => void Object.assign(heap, { allocate, release }) };
  const counted = <R>(work: () => R): R => {
    const before = heap.bytesInUse;
    const result = work();
    watched.onChange(heap.bytesInUse - before);
    return result;
  };
  heap.allocate = (bytes) => counted(() => allocate.call(heap, bytes));
  heap.release = (start) => counted(() => release.call(heap, start));
  return watched;
}

function watchBuffers(manager: Buffers): Watched {
  const { acquireBuffer } = manager;
  const watched: Watched = { onChange: () => undefined, stop: () => void Object.assign(manager, { acquireBuffer }) };
  let before = manager.numBytesUsed;
  manager.acquireBuffer = (...request) => {
    const buffer = acquireBuffer.call(manager, ...request);
    watched.onChange(manager.numBytesUsed - before);
    before = manager.numBytesUsed;
    return buffer;
  };
  return watched;
}

/** Of the cpu backend: tensors that share values are stored once. */
function watchStorage(data: Storage): Watched {
  const { set, delete: remove } = data;
  const watched: Watched = { onChange: () => undefined, stop: () => void Object.assign(data, { set, delete: remove }) };
  const bytes = (values: unknown) => (ArrayBuffer.isView(values) ? values.byteLength : Array.isArray(values) ? 4 * values.length : 0);
  data.set = (dataId, value) => {
    watched.onChange(bytes(value.values));
    set.call(data, dataId, value);
  };
  data.delete = (dataId) => {
    watched.onChange(-bytes(data.get(dataId).values));
    return remove.call(data, dataId);
  };
  return watched;
}
