/**
 * The policy: a Qwen2 decoder from a Hugging Face folder, its tokenizer, sampling, and LoRA adapters as PEFT keeps them.
 *
 * @module
 */
export { type LoadAdapterOptions, loadAdapter, type SaveAdapterOptions, saveAdapter } from './adapter-files.js';
export { type BpeVocabulary, trainBpe } from './bpe-trainer.js';
export { type ChatMessage, type ChatOptions, chatTemplate, type RenderChat } from './chat-template.js';
export { loadPolicy, type SaveOptions, savePolicy } from './checkpoint.js';
export { configToJson, type PolicyConfig, parseConfig, weightShapes } from './config.js';
export type { DecoderWeights } from './decoder.js';
export { type GenerateOptions, generate, type Reply, type Rewrite, type SampledSequence } from './generate.js';
export { type GenerationSettings, readGenerationSettings } from './generation-config.js';
export { logits } from './logits.js';
export type { LoraAdapter, LoraOptions } from './lora.js';
export { MarkedText, marked, type Piece } from './marked-text.js';
export { type ModelSize, type ModelSizeOptions, modelSize } from './model-size.js';
export { Policy, type PolicyOrigin, type WeightMap } from './policy.js';
export { type Qwen25Size, qwen25Configs } from './qwen2.5.js';
export type { Yarn } from './rope.js';
export {
  openSafetensors,
  type SafetensorsFile,
  type StoredTensor,
  type StoredType,
  type TensorRecord,
  writeSafetensors,
} from './safetensors.js';
export type { SamplingLimits } from './sampling-limits.js';
export type { LoadOptions, LoadProgress, Storage } from './shards.js';
export type { SlidingWindow } from './sliding-window.js';
export { loadTokenizer, type Tokenizer, type TokenizerOptions, type TokenStream } from './tokenizer.js';
