/**
 * Tensors: the TensorFlow.js backends, measured and said, and the fused operations that the policy is made of.
 *
 * @module
 */

/** The TensorFlow.js that the package computes with, so that tensors of yours are its own: another copy would have other backends. */
export * as tf from '@tensorflow/tfjs-core';
export { NonFiniteError } from '../non-finite.js';
export { AdamW, type AdamWSettings, type AdamWState } from './adamW.js';
export { type AttentionOptions, type AttentionSegment, attention, type KeyRange } from './attention.js';
export {
  type BackendName,
  type BackendOptions,
  type BackendReport,
  backendNames,
  type Compute,
  type ComputedOn,
  startBackend,
} from './backend.js';
export { entropyFromLogits } from './entropy.js';
export { type ForwardKl, type ForwardKlOptions, forwardKl } from './forward-kl.js';
export { type BackendState, type GraphicsCard, type Inspection, inspectBackends } from './inspect.js';
export { type CachedLayer, type CacheStep, type Feed, KeyValueCache } from './kv-cache.js';
export { type Adapter, type LinearOptions, linear } from './linear.js';
export { type BackendSpeed, measureBandwidth, measureMatMul, measureSpeed } from './measure.js';
export { rmsNorm } from './rms-norm.js';
export { type RotaryFrequencies, type RotaryTables, rotary, rotaryTables } from './rotary.js';
export { type SampledTokens, sampleTokens } from './sample-tokens.js';
export { type SelectedLogProbs, selectedLogProbs } from './selected-log-probs.js';
export { swiglu } from './swiglu.js';
