/**
 * A tensor whose values arrive in slices, such as from a file: they are written to where they stay, without a second copy of the whole.
 *
 * The wasm backend's memory can be written directly; elsewhere one typed array is filled and handed over.
 */
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';

/** Bytes [from, from + count) of the tensor, to be written before the next is asked for: the memory may move in between. */
export type ViewOf = (from: number, count: number) => Uint8Array;

/** Makes a tensor and lets `fill` write all of its bytes, little-endian. */
export async function tensorOf(
  shape: readonly number[],
  dtype: 'float32' | 'int32',
  fill: (viewOf: ViewOf) => Promise<void>,
): Promise<tf.Tensor> {
  const size = shape.reduce((a, b) => a * b, 1);
  if (tf.getBackend() !== 'wasm') {
    const values = dtype === 'float32' ? new Float32Array(size) : new Int32Array(size);
    await fill((from, count) => new Uint8Array(values.buffer, from, count));
    return tf.tensor(values, [...shape], dtype);
  }
  const backend = tf.backend() as BackendWasm;
  const wasm = backend.wasm as unknown as { readonly HEAPU8: Uint8Array };
  const info = backend.makeOutput([...shape], dtype);
  const start = backend.dataIdMap.get(info.dataId).memoryOffset >>> 0; // above 2 GB it comes back negative
  if (start === 0 && size > 0) {
    backend.disposeData(info.dataId);
    throw new RangeError(
      `WebAssembly memory (4 GB) is full: no room for a tensor [${shape}]; load the weights in 16 bits, or choose another backend`,
    );
  }
  const tensor = tf.engine().makeTensorFromTensorInfo(info);
  try {
    await fill((from, count) => new Uint8Array(wasm.HEAPU8.buffer, start + from, count));
  } catch (error) {
    tensor.dispose();
    throw error;
  }
  return tensor;
}
