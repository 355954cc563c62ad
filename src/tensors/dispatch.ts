/**
 * How an operation finds its kernel: by name, in TensorFlow.js's own registry, for the backend that is active. Where there is none, or kernels are
 * switched off, the operation's formula runs. Nothing else decides.
 */
import * as tf from '@tensorflow/tfjs-core';

/** Over packed halves, on webgpu alone: elsewhere the formula has products with them at its disposal. */
export type WebGpuKernelName = 'SearchE1HalfLinear' | 'SearchE1HalfSelectedLogProbs' | 'SearchE1HalfSelectedLogProbsGrad';

/** The same, where JavaScript does not see the memory that they lie in. */
export type HalfKernelName = WebGpuKernelName | 'SearchE1HalfRows';

/** Kernels of this project; `simd/fused-kernels.ts` holds those of the simd backend. */
export type KernelName =
  | HalfKernelName
  | 'SearchE1AdamW'
  | 'SearchE1AdaptedLinear'
  | 'SearchE1AdaptedLinearGrad'
  | 'SearchE1CopyRows'
  | 'SearchE1DecodeTokens'
  | 'SearchE1Embedding'
  | 'SearchE1EmbeddingGrad'
  | 'SearchE1ForwardKl'
  | 'SearchE1ForwardKlGrad'
  | 'SearchE1HalfMatMul'
  | 'SearchE1Linear'
  | 'SearchE1PackDecoder'
  | 'SearchE1RmsNorm'
  | 'SearchE1RmsNormGrad'
  | 'SearchE1Rotary'
  | 'SearchE1SampleTokens'
  | 'SearchE1SegmentAttention'
  | 'SearchE1SegmentAttentionGrad'
  | 'SearchE1SelectedLogProbs'
  | 'SearchE1SelectedLogProbsGrad'
  | 'SearchE1SumOfSquares'
  | 'SearchE1SumRows'
  | 'SearchE1Swiglu'
  | 'SearchE1SwigluGrad';

let enabled = false;

/** Switches all of them on or off. */
export function useKernels(on: boolean): void {
  enabled = on;
}

/** Whether the active backend has this kernel and may use it. */
export const hasKernel = (name: KernelName): boolean => enabled && Boolean(tf.getKernel(name, tf.getBackend()));

/** Whose kernels compute; with `none` the formulas do, in more steps that hold more. */
export type KernelSet = 'simd' | 'tensorflow' | 'webgpu' | 'none';

export const kernelSet = (): KernelSet => (hasKernel('SearchE1Linear') ? (tf.getBackend() as KernelSet) : 'none');

/** Whether a gradient is being taken: what a kernel computes for it alone is wanted. */
export const isRecording = (): boolean => tf.engine().state.gradientDepth > 0;

/** Registers a kernel's gradient before its first use, and not where the file is loaded: a bundler may leave out what nobody uses. */
export function withGradient(config: tf.GradConfig): void {
  if (!tf.getGradient(config.kernelName)) tf.registerGradient(config);
}

/** Runs a kernel of the active backend; its outputs in order. Gradients are the caller's business (tf.customGrad), unless registered for the name. */
export function runKernel(name: KernelName, inputs: Readonly<Record<string, tf.Tensor | undefined>>, attributes: object = {}): tf.Tensor[] {
  const given = Object.fromEntries(Object.entries(inputs).filter(([, tensor]) => tensor)) as tf.NamedTensorMap;
  const outputs = tf.engine().runKernel(name, given, attributes as tf.NamedAttrMap) as tf.Tensor | tf.Tensor[];
  return Array.isArray(outputs) ? outputs : [outputs];
}
