/**
 * The `simd` backend of TensorFlow.js: every float and integer tensor lies in one shared WebAssembly memory, where this project's kernels work on it
 * with several threads; operations without a kernel of ours run as the stock JavaScript kernels of the `cpu` backend, on the same memory.
 */
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { Heap } from './heap.js';
import { compileKernels, type KernelBuild, type KernelModule } from './module.js';
import { Threads } from './threads.js';

type DType = 'float32' | 'int32';

/** What the data storage holds for a tensor in shared memory, in the shape that stock kernels expect. */
class Held {
  refCount: number;
  #values: Float32Array | Int32Array | undefined;

  constructor(
    readonly heap: Heap,
    readonly at: number,
    readonly length: number,
    readonly dtype: DType,
    refCount: number,
  ) {
    this.refCount = refCount;
  }

  /** A view, made when a stock kernel first asks. */
  get values(): Float32Array | Int32Array {
    this.#values ??= this.dtype === 'float32' ? this.heap.floats(this.at, this.length) : this.heap.integers(this.at, this.length);
    return this.#values;
  }
}

let dataIds = 0;

export class SimdBackend extends MathBackendCPU {
  readonly heap = new Heap();
  readonly kernels: KernelModule;
  readonly build: KernelBuild;
  readonly threads: Threads;

  /** @throws Error where WebAssembly has no SIMD or no shared memory */
  constructor() {
    super();
    const { build, module } = compileKernels();
    this.build = build;
    this.kernels = new WebAssembly.Instance(module, { env: { memory: this.heap.memory } }).exports as KernelModule;
    this.threads = new Threads(module, this.kernels, this.heap);
  }

  /** Where a tensor's values lie, in bytes; 0 where there is no tensor. */
  at = (tensor: tf.TensorInfo | undefined): number => {
    if (!tensor) return 0;
    const data: unknown = this.data.get(tensor.dataId);
    if (data instanceof Held && data.dtype === tensor.dtype) return data.at;
    throw new TypeError(`a kernel of the simd backend reads float32 and int32, got ${tensor.dtype}; use tf.cast`);
  };

  /** Whether a tensor of this type lies in shared memory: stock kernels may pass on integers or booleans under the name of floats. */
  holds = (tensor: tf.TensorInfo, dtype: DType): boolean => {
    const data: unknown = this.data.get(tensor.dataId);
    return tensor.dtype === dtype && data instanceof Held && data.dtype === dtype;
  };

  /** A tensor for a kernel to write; it holds anything. */
  output = (shape: readonly number[], dtype: DType = 'float32'): tf.TensorInfo => {
    const dataId = { id: dataIds++ };
    const length = tf.util.sizeFromShape([...shape]);
    this.#hold(dataId, this.heap.allocate(4 * length), length, dtype, 1);
    return { dataId, shape: [...shape], dtype };
  };

  /** A block of memory that goes with the outputs of a kernel to its gradient. For TensorFlow.js it is empty: nobody else reads it. */
  block = (floats: number): tf.TensorInfo => {
    const dataId = { id: dataIds++ };
    this.#hold(dataId, this.heap.allocate(4 * floats), 0, 'float32', 1);
    return { dataId, shape: [0], dtype: 'float32' };
  };

  /** An output that starts as zeros. */
  zeros = (shape: readonly number[]): tf.TensorInfo => {
    const tensor = this.output(shape);
    this.heap.floats(this.at(tensor), tf.util.sizeFromShape([...shape])).fill(0);
    return tensor;
  };

  /** Copies values into shared memory, where their type has a place there. */
  override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): tf.DataId {
    const dataId = { id: dataIds++ };
    this.move(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(dataId: tf.DataId, values: tf.backend_util.BackendValues, _: number[], dtype: tf.DataType, refCount: number): void {
    if (!values || (dtype !== 'float32' && dtype !== 'int32')) {
      this.data.set(dataId, { values, dtype, refCount });
      return;
    }
    const given = tf.util.convertBackendValuesAndArrayBuffer(values, dtype) as Float32Array | Int32Array;
    const held = this.#hold(dataId, this.heap.allocate(4 * given.length), given.length, dtype, refCount);
    held.values.set(given);
  }

  /** A copy: the memory is given to another tensor once this one is disposed. */
  override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
    const data: unknown = this.data.get(dataId);
    return data instanceof Held ? data.values.slice() : super.readSync(dataId);
  }

  override async read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues> {
    return this.readSync(dataId);
  }

  override disposeData(dataId: tf.DataId, force = false): boolean {
    const data: unknown = this.data.has(dataId) ? this.data.get(dataId) : undefined;
    const gone = super.disposeData(dataId, force);
    if (gone && data instanceof Held) this.heap.release(data.at);
    return gone;
  }

  override memory(): { unreliable: boolean; reasons: string[] } {
    return { unreliable: false, reasons: [] };
  }

  override dispose(): void {
    this.threads.dispose();
  }

  #hold(dataId: tf.DataId, at: number, length: number, dtype: DType, refCount: number): Held {
    const held = new Held(this.heap, at, length, dtype, refCount);
    this.data.set(dataId, held);
    return held;
  }
}
