/**
 * Puts this project's WGSL shaders into the same command queue as TensorFlow.js' own, on the same buffers.
 *
 * tfjs-backend-webgpu offers `runWebGPUProgram` for shaders with one output and its own shape code; these here have several outputs, write in place
 * and index for themselves. The queue's rules are the backend's: what a dispatch binds is not given back before it was submitted.
 */
/// <reference types="@webgpu/types" />
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';

/** What of the backend is private in its types, as of 4.22. */
interface Internals {
  commandEncoder: GPUCommandEncoder;
  computePassEncoder: GPUComputePassEncoder | null;
  readonly commandQueueOwnedIds: WeakSet<object>;
  dispatchCountInPass: number;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

/** A number of a shader's `Params`, in the order of its fields. */
export type Param = { readonly u32: number } | { readonly f32: number };
export const u32 = (value: number): Param => ({ u32: value });
export const f32 = (value: number): Param => ({ f32: value });

/** WGSL without bindings: `buffers` names them in order, as `name: array<f32>` or, written to, `var name: array<f32>`. */
export interface Shader {
  readonly buffers: readonly string[];
  /** Fields of `params`, such as `rows: u32`. */
  readonly params: readonly string[];
  readonly code: string;
  /** Lines above everything else: `enable subgroups;`. */
  readonly preamble?: string;
}

/** A slot of the parameter buffer: WebGPU's alignment of dynamic offsets; more parameters than fit no shader here has. */
const SLOT_BYTES = 256;
const SLOTS = 256;

/** What is queued keeps its buffers: beyond this much it is submitted, so that they can be used again. */
const UNSUBMITTED_BYTES = 2 ** 28;

/** A buffer without bytes cannot be bound, and what is queued with it is lost: tensors without elements get one vector. */
const LEAST_BYTES = 16;

/** Bind groups that are kept: making one takes longer than the rest of a dispatch, and a loop binds the same buffers again. */
const BIND_GROUPS = 4096;

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** By the numbers of the buffers. */
  readonly bindGroups: Map<string, GPUBindGroup>;
}

export class ShaderQueue {
  /** What matrix products of more than a few rows round their operands to; sums are float32. */
  compute: 'float32' | 'float16' = 'float32';
  readonly #compiled = new Map<Shader, Compiled>();
  readonly #numbers = new WeakMap<GPUBuffer, number>();
  #buffers = 0;
  #bindGroups = 0;
  readonly #internals: Internals;
  /** Parameters of the dispatches that are queued, written to the device in one go before they are submitted. */
  readonly #slots: GPUBuffer;
  readonly #staged = new DataView(new ArrayBuffer(SLOT_BYTES * SLOTS));
  readonly #offset = new Uint32Array(1);
  #used = 0;
  /** Bytes of the buffers taken since the last submission. */
  #made = 0;
  /** Largest buffer, in bytes. */
  readonly maxBytes: number;

  constructor(readonly backend: WebGPUBackend) {
    this.#internals = backend as unknown as Internals;
    this.#slots = backend.device.createBuffer({ size: SLOT_BYTES * SLOTS, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.UNIFORM });
    const submit = this.#internals.submitQueue.bind(backend);
    this.#internals.submitQueue = () => {
      if (this.#used) backend.queue.writeBuffer(this.#slots, 0, this.#staged.buffer, 0, this.#used * SLOT_BYTES);
      this.#used = 0;
      this.#made = 0;
      submit();
    };
    const { bufferManager } = backend;
    const acquire = bufferManager.acquireBuffer.bind(bufferManager);
    bufferManager.acquireBuffer = (size, ...rest) => {
      if (this.#made >= UNSUBMITTED_BYTES) this.#submit();
      this.#made += size;
      return acquire(size || LEAST_BYTES, ...rest);
    };
    writeSmallUploads(backend);
    readNothing(backend);
    const { maxBufferSize, maxStorageBufferBindingSize } = backend.device.limits;
    this.maxBytes = Math.min(maxBufferSize, maxStorageBufferBindingSize);
  }

  get features(): GPUSupportedFeatures {
    return this.backend.device.features;
  }

  /** A new tensor whose values mean nothing yet. */
  output(shape: readonly number[], dtype: 'float32' | 'int32' = 'float32'): tf.TensorInfo {
    const bytes = 4 * tf.util.sizeFromShape([...shape]);
    if (bytes > this.maxBytes) {
      throw new RangeError(
        `a tensor of shape [${shape}] takes ${bytes} bytes; this WebGPU device allows ${this.maxBytes} in one. Make the batch or the micro-batch smaller`,
      );
    }
    const tensor = this.backend.makeTensorInfo([...shape], dtype);
    this.backend.uploadToGPU(tensor.dataId);
    return tensor;
  }

  /** Gives a tensor made here back, once everything queued that uses it has run. */
  release(...tensors: readonly tf.TensorInfo[]): void {
    for (const { dataId } of tensors) this.backend.disposeData(dataId);
  }

  /** Queues one dispatch of `groups` workgroups; more than one dimension allows are laid out in two, which shaders undo with `group_index`. */
  run(
    shader: Shader,
    tensors: readonly tf.TensorInfo[],
    params: readonly Param[],
    groups: number | readonly [number, number, number],
  ): void {
    const { backend } = this;
    const internals = this.#internals;
    const most = backend.device.limits.maxComputeWorkgroupsPerDimension;
    const [x, y, z] = typeof groups === 'number' ? [Math.min(groups, most), Math.ceil(groups / most), 1] : groups;
    if (x === 0 || y === 0 || z === 0) return;
    if (this.#used === SLOTS) this.#submit();
    const buffers = tensors.map(({ dataId }) => {
      backend.uploadToGPU(dataId); // may submit what is queued
      return backend.tensorMap.get(dataId).resource as GPUBuffer;
    });
    for (const { dataId } of tensors) internals.commandQueueOwnedIds.add(dataId);
    const compiled = this.#compiledOf(shader);
    const bindGroup = this.#bindGroupOf(compiled, buffers, params.length > 0);
    internals.ensureCommandEncoderReady();
    internals.computePassEncoder ??= internals.commandEncoder.beginComputePass();
    internals.computePassEncoder.setPipeline(compiled.pipeline);
    if (params.length) {
      this.#stage(params);
      internals.computePassEncoder.setBindGroup(0, bindGroup, this.#offset, 0, 1);
    } else internals.computePassEncoder.setBindGroup(0, bindGroup);
    internals.computePassEncoder.dispatchWorkgroups(x, y, z);
    internals.dispatchCountInPass++;
    if (internals.dispatchCountInPass >= tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')) this.#submit();
  }

  #submit(): void {
    if (!this.#internals.commandEncoder) return;
    this.#internals.endComputePassEncoder();
    this.#internals.submitQueue();
  }

  #stage(params: readonly Param[]): void {
    const offset = this.#used++ * SLOT_BYTES;
    params.forEach((param, i) => {
      if ('u32' in param) this.#staged.setUint32(offset + 4 * i, param.u32, true);
      else this.#staged.setFloat32(offset + 4 * i, param.f32, true);
    });
    this.#offset[0] = offset;
  }

  #bindGroupOf({ bindGroups, layout }: Compiled, buffers: readonly GPUBuffer[], withParams: boolean): GPUBindGroup {
    const key = buffers.map((buffer) => this.#numberOf(buffer)).join();
    let bindGroup = bindGroups.get(key);
    if (!bindGroup) {
      if (this.#bindGroups++ === BIND_GROUPS) this.#forgetBindGroups();
      const entries: GPUBindGroupEntry[] = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
      if (withParams) entries.push({ binding: buffers.length, resource: { buffer: this.#slots, offset: 0, size: SLOT_BYTES } });
      bindGroup = this.backend.device.createBindGroup({ layout, entries });
      bindGroups.set(key, bindGroup);
    }
    return bindGroup;
  }

  #numberOf(buffer: GPUBuffer): number {
    let number = this.#numbers.get(buffer);
    if (number === undefined) {
      number = this.#buffers++;
      this.#numbers.set(buffer, number);
    }
    return number;
  }

  /** Buffers that are gone have left theirs behind. */
  #forgetBindGroups(): void {
    for (const { bindGroups } of this.#compiled.values()) bindGroups.clear();
    this.#bindGroups = 1;
  }

  #compiledOf(shader: Shader): Compiled {
    let compiled = this.#compiled.get(shader);
    if (!compiled) {
      const { device } = this.backend;
      const types = shader.buffers.map((buffer) => (buffer.startsWith('var ') ? 'storage' : 'read-only-storage'));
      const layout = device.createBindGroupLayout({
        entries: [
          ...types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } as const })),
          ...(shader.params.length
            ? [{ binding: types.length, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'uniform', hasDynamicOffset: true } as const }]
            : []),
        ],
      });
      const pipeline = device.createComputePipeline({
        layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module: device.createShaderModule({ code: source(shader) }), entryPoint: 'main' },
      });
      compiled = { pipeline, layout, bindGroups: new Map() };
      this.#compiled.set(shader, compiled);
    }
    return compiled;
  }
}

/** Bytes up to which values are written to the device without a staging buffer of their own. */
const SMALL_UPLOAD = 2 ** 20;

/**
 * TensorFlow.js makes a mapped buffer for each upload and ends the pass to copy it; ids and tables of a few bytes, of which a step has dozens, are written
 * through the queue. What takes its buffer from the pool may do so before anything unsubmitted: buffers come back to the pool after they were submitted.
 */
function writeSmallUploads(backend: WebGPUBackend): void {
  const upload = backend.uploadToGPU.bind(backend);
  backend.uploadToGPU = (dataId) => {
    const data = backend.tensorMap.get(dataId) as unknown as { resource: unknown; dtype: string; values: unknown };
    const { values } = data;
    const plain = (data.dtype === 'int32' && values instanceof Int32Array) || (data.dtype === 'float32' && values instanceof Float32Array);
    if (data.resource || !plain || values.byteLength > SMALL_UPLOAD) return upload(dataId);
    data.values = null;
    upload(dataId);
    if (values.byteLength > 0) backend.queue.writeBuffer(data.resource as unknown as GPUBuffer, 0, values);
  };
}

/** What a tensor without elements reads: nothing, though its buffer has bytes. */
function readNothing(backend: WebGPUBackend): void {
  const read = backend.read.bind(backend);
  backend.read = async (dataId) => {
    const { shape, dtype } = backend.tensorMap.get(dataId) as unknown as { shape: number[]; dtype: tf.NumericDataType };
    return shape && tf.util.sizeFromShape(shape) === 0 ? tf.util.getTypedArrayFromDType(dtype, 0) : read(dataId);
  };
}

/** A shader for each variant, written once: a shader is known by its identity, and compiled once. */
export function variants<V>(write: (variant: V) => Shader): (variant: V) => Shader {
  const written = new Map<string, Shader>();
  return (variant) => {
    const key = JSON.stringify(variant);
    let shader = written.get(key);
    if (!shader) {
      shader = write(variant);
      written.set(key, shader);
    }
    return shader;
  };
}

function source({ preamble = '', buffers, params, code }: Shader): string {
  const bindings = buffers.map((buffer, i) => {
    const written = buffer.startsWith('var ');
    return `@group(0) @binding(${i}) var<storage, ${written ? 'read_write' : 'read'}> ${buffer.replace(/^var /, '')};`;
  });
  const uniforms = params.length
    ? [`struct Params { ${params.join(', ')} }`, `@group(0) @binding(${buffers.length}) var<uniform> params: Params;`]
    : [];
  return [preamble, ...bindings, ...uniforms, code].join('\n');
}

/** WGSL: the number of a workgroup that `run` laid out in two dimensions. */
export const GROUP_INDEX = 'fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }';

/** WGSL: `reduce_sum(value, lane)` and `reduce_max`, over a workgroup of `size` threads (a power of two); each holds a barrier on either side. */
export const reductions = (size: number): string => `
var<workgroup> reduced: array<f32, ${size}>;
fn reduce_sum(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  reduced[lane] = value;
  workgroupBarrier();
  for (var step = ${size / 2}u; step > 0u; step /= 2u) {
    if (lane < step) { reduced[lane] += reduced[lane + step]; }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&reduced[0]);
}
fn reduce_max(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  reduced[lane] = value;
  workgroupBarrier();
  for (var step = ${size / 2}u; step > 0u; step /= 2u) {
    if (lane < step) { reduced[lane] = max(reduced[lane], reduced[lane + step]); }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&reduced[0]);
}`;
