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
  readonly uniformPendingDisposal: GPUBuffer[];
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

export class ShaderQueue {
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  readonly #internals: Internals;

  constructor(readonly backend: WebGPUBackend) {
    this.#internals = backend as unknown as Internals;
  }

  get features(): GPUSupportedFeatures {
    return this.backend.device.features;
  }

  /** Largest buffer, in bytes. */
  get maxBytes(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.backend.device.limits;
    return Math.min(maxBufferSize, maxStorageBufferBindingSize);
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
    const pipeline = this.#pipelineOf(shader);
    const entries: GPUBindGroupEntry[] = tensors.map(({ dataId }, binding) => {
      backend.uploadToGPU(dataId);
      internals.commandQueueOwnedIds.add(dataId);
      return { binding, resource: { buffer: backend.tensorMap.get(dataId).resource as GPUBuffer } };
    });
    if (params.length) entries.push({ binding: tensors.length, resource: { buffer: this.#uniforms(params) } });
    const bindGroup = backend.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    internals.ensureCommandEncoderReady();
    internals.computePassEncoder ??= internals.commandEncoder.beginComputePass();
    internals.computePassEncoder.setPipeline(pipeline);
    internals.computePassEncoder.setBindGroup(0, bindGroup);
    internals.computePassEncoder.dispatchWorkgroups(x, y, z);
    internals.dispatchCountInPass++;
    if (internals.dispatchCountInPass >= tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')) {
      internals.endComputePassEncoder();
      internals.submitQueue();
    }
  }

  #uniforms(params: readonly Param[]): GPUBuffer {
    const size = Math.ceil(params.length / 4) * 16;
    const view = new DataView(new ArrayBuffer(size));
    params.forEach((param, i) => {
      if ('u32' in param) view.setUint32(4 * i, param.u32, true);
      else view.setFloat32(4 * i, param.f32, true);
    });
    const buffer = this.backend.bufferManager.acquireBuffer(size, GPUBufferUsage.COPY_DST | GPUBufferUsage.UNIFORM);
    this.backend.queue.writeBuffer(buffer, 0, view.buffer);
    this.#internals.uniformPendingDisposal.push(buffer);
    return buffer;
  }

  #pipelineOf(shader: Shader): GPUComputePipeline {
    const code = source(shader);
    let pipeline = this.#pipelines.get(code);
    if (!pipeline) {
      const module = this.backend.device.createShaderModule({ code });
      pipeline = this.backend.device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
      this.#pipelines.set(code, pipeline);
    }
    return pipeline;
  }
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
