/**
 * The wasm backend's memory, as kernels need it: where a tensor lies, room for a result, room to work in.
 */
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type * as tf from '@tensorflow/tfjs-core';

export interface Heap {
  readonly memory: WebAssembly.Memory;
  /** Where a tensor's values lie, in bytes; 0 where there is no tensor. */
  at(tensor: tf.TensorInfo | undefined): number;
  output(shape: readonly number[], dtype?: 'float32' | 'int32'): tf.TensorInfo;
  /** An output that starts as zeros. */
  zeros(shape: readonly number[]): tf.TensorInfo;
  /** Throws a RangeError unless all ids are in [0, limit): a kernel would read and write beside the table. */
  checkIds(ids: tf.TensorInfo, limit: number): void;
  /** Memory for the length of one kernel call; the next call gets the same. */
  scratch(floats: number): number;
}

/** What emscripten puts around the memory; views are made anew when it grows, so they are read from here each time. */
interface Emscripten {
  readonly asm: { readonly memory: WebAssembly.Memory };
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
}

export function heapOf(backend: BackendWasm): Heap {
  const wasm = backend.wasm as unknown as Emscripten;
  let scratch = 0;
  let scratchFloats = 0;
  // Pointers above 2 GB come back negative.
  const at = (tensor: tf.TensorInfo | undefined) => (tensor ? backend.dataIdMap.get(tensor.dataId).memoryOffset >>> 0 : 0);
  const output = (shape: readonly number[], dtype: 'float32' | 'int32' = 'float32') => {
    const tensor = backend.makeOutput([...shape], dtype);
    if (at(tensor) === 0) throw new RangeError(`WebAssembly memory (4 GB) is full: no room for a tensor [${shape}]; use smaller batches`);
    return tensor;
  };
  return {
    memory: wasm.asm.memory,
    at,
    output,
    zeros(shape) {
      const tensor = output(shape);
      const start = at(tensor);
      wasm.HEAPU8.fill(0, start, start + 4 * shape.reduce((product, length) => product * length, 1));
      return tensor;
    },
    checkIds(ids, limit) {
      const wrong = backend.typedArrayFromHeap(ids).findIndex((id) => id < 0 || id >= limit);
      if (wrong >= 0) throw new RangeError(`id ${backend.typedArrayFromHeap(ids)[wrong]} at ${wrong} should be in [0, ${limit})`);
    },
    scratch(floats) {
      if (floats > scratchFloats) {
        wasm._free(scratch);
        scratch = wasm._malloc(4 * floats) >>> 0;
        scratchFloats = floats;
      }
      return scratch;
    },
  };
}
