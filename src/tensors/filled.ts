/**
 * Tensors whose values are written to where they stay, such as slices of a file or widened halves: no second copy of the whole exists.
 *
 * The simd backend's memory is written directly; elsewhere a typed array is filled and handed over.
 */
import * as tf from '@tensorflow/tfjs-core';

/** Bytes [from, from + count) of the tensor, to be written before the next are asked for: the memory may move in between. */
export type ViewOf = (from: number, count: number) => Uint8Array;

/** A tensor that holds anything until it is written, and its bytes, little-endian. `finish` hands it over. */
export interface Unwritten {
  readonly viewOf: ViewOf;
  /** Gives the tensor; nothing is written after this. */
  finish(): tf.Tensor;
  /** Gives the memory back instead. */
  discard(): void;
}

/** What the simd backend has of a memory that can be seen. */
interface VisibleMemory {
  readonly output?: (shape: readonly number[], dtype: string) => tf.TensorInfo;
  readonly data?: { get(dataId: object): { readonly values: unknown } };
}

export function unwritten(shape: readonly number[], dtype: 'float32' | 'int32'): Unwritten {
  const size = shape.reduce((a, b) => a * b, 1);
  const { output } = tf.backend() as unknown as VisibleMemory;
  if (!output) {
    const values = dtype === 'float32' ? new Float32Array(size) : new Int32Array(size);
    return {
      viewOf: (from, count) => new Uint8Array(values.buffer, from, count),
      finish: () => tf.tensor(values, [...shape], dtype),
      discard: () => undefined,
    };
  }
  const info = output(shape, dtype);
  const tensor = tf.engine().makeTensorFromTensorInfo(info);
  return {
    viewOf(from, count) {
      const bytes = visibleBytes(tensor) as Uint8Array;
      return new Uint8Array(bytes.buffer, bytes.byteOffset + from, count);
    },
    finish: () => tensor,
    discard: () => tensor.dispose(),
  };
}

/** A tensor's own bytes where the backend lets them be seen; undefined elsewhere. Valid until the next tensor is made. */
export function visibleBytes(tensor: tf.Tensor): Uint8Array | undefined {
  const { data } = tf.backend() as unknown as VisibleMemory;
  const values = data?.get(tensor.dataId).values;
  return ArrayBuffer.isView(values) ? new Uint8Array(values.buffer, values.byteOffset, values.byteLength) : undefined;
}
