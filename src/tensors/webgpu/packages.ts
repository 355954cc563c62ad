/**
 * WebGPU under Node: Dawn, by the npm package `webgpu` (Vulkan, Metal or D3D12), and TensorFlow.js' backend for it. In a browser `packages.browser.ts` takes
 * this file's place.
 */
/// <reference types="@webgpu/types" />
import { existsSync, readdirSync } from 'node:fs';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { BackendUnavailable } from '../unavailable.js';

/** For people: what provides the device. */
export const PROVIDER = 'Dawn';

export const NO_ADAPTER = 'Dawn finds no adapter: no driver for Vulkan, Metal or D3D12 that it accepts (lavapipe of Mesa 22 is too old)';

export const remedyWithoutAdapter = (): string | undefined => loaderCommand();

/** npm's command for both, in versions that this was written for. */
const INSTALL = 'npm install webgpu@0.6 @tensorflow/tfjs-backend-webgpu@4.22.0';

/** Dawn and tfjs-backend-webgpu, both optional peers. */
export async function loadPackages(): Promise<{ readonly gpu: GPU; readonly Backend: typeof WebGPUBackend }> {
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
        throw new BackendUnavailable(`the optional package ${name} is not installed`, INSTALL);
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
