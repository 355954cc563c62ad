/** WebGPU in a browser: its own, and TensorFlow.js' backend for it, which is loaded when it is asked for. */
/// <reference types="@webgpu/types" />
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { BackendUnavailable } from '../unavailable.js';

export const PROVIDER = 'the browser';

export const NO_ADAPTER = 'the browser has WebGPU, and no adapter for it: no graphics card, or one whose driver it does not trust';

export const remedyWithoutAdapter = (): string | undefined => undefined;

export async function loadPackages(): Promise<{ readonly gpu: GPU; readonly Backend: typeof WebGPUBackend }> {
  const { gpu } = ((globalThis as { navigator?: object }).navigator ?? {}) as { readonly gpu?: GPU };
  if (!gpu) throw new BackendUnavailable('this browser has no WebGPU, or gives it to pages of https: and localhost alone');
  const { WebGPUBackend: Backend } = await import('@tensorflow/tfjs-backend-webgpu');
  tf.removeBackend('webgpu'); // where it sees a GPU it registers one over a device of its own making
  return { gpu, Backend };
}
