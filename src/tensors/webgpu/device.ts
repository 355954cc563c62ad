/**
 * WebGPU under Node: Dawn through the npm package `webgpu` (Vulkan, Metal or D3D12), and TensorFlow.js' webgpu backend on top of it.
 *
 * The device is made here and not by tfjs-backend-webgpu, which asks for no optional feature and looks for `navigator.gpu` once, at import. A device that
 * is lost in the middle (driver reset, memory used up) ends every later step with the reason, instead of a readback that never arrives.
 */
/// <reference types="@webgpu/types" />
import { existsSync, readdirSync } from 'node:fs';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { BackendUnavailable } from '../unavailable.js';

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
let dawn: GPU | undefined;

/**
 * Starts Dawn and registers the backend `webgpu`; once.
 *
 * @throws Error where the packages, a driver or an adapter are missing
 */
export async function openWebGpu(): Promise<WebGpuDevice> {
  if (open) return open;
  const { gpu, Backend } = await loadPackages();
  dawn = gpu;
  const adapter = await dawn.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter)
    throw new BackendUnavailable(
      'Dawn finds no adapter: no driver for Vulkan, Metal or D3D12 that it accepts (lavapipe of Mesa 22 is too old)',
      loaderCommand(),
    );
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

/** Dawn and tfjs-backend-webgpu, both optional dependencies. */
async function loadPackages(): Promise<{ gpu: GPU; Backend: typeof WebGPUBackend }> {
  if (process.platform === 'linux' && !vulkanDrivers().length)
    throw new BackendUnavailable('no Vulkan driver is installed: there is no graphics card, or its driver is missing', loaderCommand());
  if (process.platform === 'linux' && !canLoad('libvulkan.so.1'))
    throw new BackendUnavailable(
      'a Vulkan driver is installed, but not the loader that opens it, libvulkan.so.1',
      'apt-get install libvulkan1',
    );
  const names: readonly string[] = ['webgpu', '@tensorflow/tfjs-backend-webgpu']; // not literals: both are optional
  const load = (name: string) =>
    import(name).catch((error: NodeJS.ErrnoException) => {
      if (/^(ERR_)?MODULE_NOT_FOUND$/.test(error.code ?? ''))
        throw new BackendUnavailable(`the optional package ${name} is not installed`, `npm install --include=optional ${name}`);
      throw new Error(`${name} is installed, but does not load: ${error.message.split('\n')[0]}`);
    });
  // First the backend: it would register itself if it saw navigator.gpu.
  const { WebGPUBackend: Backend } = await load(names[1]);
  const { create, globals } = await load(names[0]);
  Object.assign(globalThis, globals);
  const gpu = create([]) as GPU;
  // The backend's constructor looks for it. Node 20 has no navigator, later versions have one that cannot be assigned.
  const scope = globalThis as { navigator?: object };
  if (!scope.navigator) Object.defineProperty(scope, 'navigator', { value: {}, configurable: true, writable: true });
  Object.defineProperty(scope.navigator, 'gpu', { value: {}, configurable: true, writable: true });
  return { gpu, Backend };
}

/** Only where the kernel sees a card: NVIDIA's driver brings its manifest along, the others' drivers are Mesa's; both need the loader. */
function loaderCommand(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  if (existsSync('/dev/nvidiactl')) return 'apt-get install libvulkan1';
  return existsSync('/dev/dri') ? 'apt-get install libvulkan1 mesa-vulkan-drivers' : undefined;
}

/** Whether the linker finds a library, looked for as Dawn does. It is no addon, and Node refuses it, but for another reason than where it is missing. */
export function canLoad(library: string): boolean {
  try {
    process.dlopen({ exports: {} }, library);
    return true;
  } catch (error) {
    return !/cannot open shared object file|Error loading shared library/.test((error as Error).message);
  }
}

/** Manifests of Vulkan drivers, by the rules of the Khronos loader. Without one Dawn complains on stderr, in several lines. */
export function vulkanDrivers(): readonly string[] {
  const named = process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES;
  if (named) return named.split(':').filter((path) => existsSync(path));
  const data = (process.env.XDG_DATA_DIRS || '/usr/local/share:/usr/share').split(':').map((folder) => `${folder}/vulkan/icd.d`);
  const folders = ['/etc/vulkan/icd.d', '/usr/local/etc/vulkan/icd.d', ...data];
  const found = folders.flatMap((folder) => (existsSync(folder) ? readdirSync(folder).map((file) => `${folder}/${file}`) : []));
  return [...found.filter((path) => path.endsWith('.json')), ...(process.env.VK_ADD_DRIVER_FILES?.split(':') ?? [])];
}

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
