/**
 * WebGPU: a browser's own, or in Node Dawn's (`packages.ts`), and TensorFlow.js' webgpu backend on top of it.
 *
 * The device is made here and not by tfjs-backend-webgpu, which asks for no optional feature and looks for `navigator.gpu` once, at import. A device that
 * is lost in the middle (driver reset, memory used up) ends every later step with the reason, instead of a readback that never arrives.
 */
/// <reference types="@webgpu/types" />
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { BackendUnavailable } from '../unavailable.js';
import { loadPackages, NO_ADAPTER, remedyWithoutAdapter } from './packages.js';

export interface WebGpuDevice {
  readonly backend: WebGPUBackend;
  /** For people: adapter and driver. */
  readonly description: string;
  /** True where a processor pretends to be a graphics card (SwiftShader, lavapipe): right, and slow. */
  readonly software: boolean;
  /** Largest buffer in bytes, and so the largest tensor. */
  readonly maxBufferSize: number;
  /** Optional features that were asked for and are there. */
  readonly features: readonly string[];
}

/** Asked for where the adapter has them: shuffles inside a subgroup (attention), half precision, timers. */
const FEATURES = ['subgroups', 'shader-f16', 'timestamp-query'] as const;

const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupsPerDimension',
] as const;

/** What the shaders bind at most, and what they were tried with; WebGPU lets an adapter have no more than 8 buffers and 16 KiB. */
const NEEDED = {
  maxStorageBuffersPerShaderStage: 10,
  maxComputeWorkgroupStorageSize: 32_768,
  maxComputeInvocationsPerWorkgroup: 256,
} as const;

let open: WebGpuDevice | undefined;
/** Dawn lives as long as somebody holds it. */
let held: GPU | undefined;

/**
 * Opens a device and registers the backend `webgpu`; once.
 *
 * @throws Error where the packages, a driver or an adapter are missing
 */
export async function openWebGpu(): Promise<WebGpuDevice> {
  if (open) return open;
  const { gpu, Backend } = await loadPackages();
  held = gpu;
  const adapter = await held.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new BackendUnavailable(NO_ADAPTER, remedyWithoutAdapter());
  const { info } = adapter as unknown as { readonly info: GPUAdapterInfo }; // newer than the types that tfjs-core pins
  const { vendor, architecture, device: name, description } = info;
  const called = [name || architecture || vendor, description].filter(Boolean).join(', ');
  const short = tooLittle(adapter.limits);
  if (short.length) throw new BackendUnavailable(`the shaders need more than ${called} has: ${short.join('; ')}`);
  const device = await adapter.requestDevice({
    requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[],
    requiredLimits: Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]])),
  });
  const backend = new Backend(device, info);
  watch(device, backend);
  limitPool(backend.bufferManager);
  tf.registerBackend('webgpu', () => backend, 1);
  const software = /swiftshader|llvmpipe|lavapipe|software/i.test(`${architecture} ${name} ${description}`);
  open = {
    backend,
    description: called,
    software,
    maxBufferSize: Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize),
    features: [...device.features].filter((feature) => (FEATURES as readonly string[]).includes(feature)),
  };
  return open;
}

/** The device in use; undefined before `openWebGpu`. */
export const webGpuDevice = (): WebGpuDevice | undefined => open;

/** Which limits of an adapter the shaders would break. */
export const tooLittle = (limits: Readonly<Record<keyof typeof NEEDED, number>>): readonly string[] =>
  (Object.keys(NEEDED) as (keyof typeof NEEDED)[])
    .filter((limit) => limits[limit] < NEEDED[limit])
    .map((limit) => `${limit} is ${limits[limit]}, ${NEEDED[limit]} are needed`);

/** Errors that WebGPU reports on the side, made those of the next read. */
function watch(device: GPUDevice, backend: WebGPUBackend): void {
  let broken: Error | undefined;
  /** Of the reads under way. Not a race with `device.lost`, which would keep every value ever read for as long as the device lives. */
  const waiting = new Set<(reason: Error) => void>();
  device.lost.then(({ reason, message }) => {
    broken =
      reason === 'destroyed'
        ? (broken ?? new Error('the WebGPU device was closed while work was under way: start again'))
        : new Error(`the WebGPU device was lost: ${message || reason}. Start again; smaller batches need less memory`);
    for (const refuse of waiting) refuse(broken);
  });
  device.addEventListener('uncapturederror', (event) => {
    const { message } = (event as GPUUncapturedErrorEvent).error;
    const help = /out of memory/i.test(message) ? '\nStart again; smaller batches, or a smaller memory budget, need less' : '';
    broken ??= new Error(`WebGPU: ${message}${help}`);
  });
  const read = backend.read.bind(backend);
  backend.read = (dataId) =>
    new Promise((resolve, reject) => {
      if (broken) return reject(broken);
      waiting.add(reject);
      read(dataId)
        .then(
          (values) => (broken ? reject(broken) : resolve(values)),
          (error) => reject(broken ?? error),
        )
        .finally(() => waiting.delete(reject));
    });
  backend.readSync = (dataId) => {
    const { values } = backend.tensorMap.get(dataId);
    if (values != null) return values;
    throw new Error('webgpu reads asynchronously only: await tensor.data() instead of tensor.dataSync()');
  };
}

/**
 * Free buffers are kept for reuse, by exact size, up to half of what is in use and at least POOL_BYTES: making one costs time, as WebGPU clears it. Without a
 * limit, batches of ever new lengths fill the card's memory.
 */
const POOL_BYTES = 2 ** 31;

/** Destroys the buffers that have been free for longest whenever the free ones take more; those in use, or queued, are not among them. */
function limitPool(manager: WebGPUBackend['bufferManager']): void {
  const internals = manager as unknown as { readonly freeBuffers: Map<string, GPUBuffer[]>; numFreeBuffers: number };
  const free = new Set<GPUBuffer>(); // in the order in which they became free
  const acquire = manager.acquireBuffer.bind(manager);
  const release = manager.releaseBuffer.bind(manager);
  manager.acquireBuffer = (...request) => {
    const buffer = acquire(...request);
    free.delete(buffer);
    return buffer;
  };
  manager.releaseBuffer = (buffer, reuse = true) => {
    release(buffer, reuse);
    if (reuse) free.add(buffer);
    for (const oldest of free) {
      if (manager.numBytesAllocated - manager.numBytesUsed <= Math.max(POOL_BYTES, manager.numBytesUsed / 2)) return;
      const list = [...internals.freeBuffers.values()].find((buffers) => buffers.includes(oldest));
      list?.splice(list.indexOf(oldest), 1);
      free.delete(oldest);
      internals.numFreeBuffers--;
      manager.numBytesAllocated -= oldest.size;
      oldest.destroy();
    }
  };
}
