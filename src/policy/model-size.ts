/**
 * What a policy of a given shape takes in memory, float32: to write with, to train an adapter of, to train whole.
 *
 * Weights, gradients and AdamW's moments are counted; what the gradient keeps of a micro-batch is the sum of what each layer's operations save. Left out
 * are a backend's own pools and fragments: some ten per cent.
 */
import { type PolicyConfig, weightShapes } from './config.js';
import { ADAPTED } from './lora.js';

export interface ModelSize {
  readonly parameters: number;
  /** Bytes of the largest single weight. */
  readonly largestWeight: number;
  /** Bytes to write `sequences` of `length` tokens at once: weights and keys and values. */
  readonly writing: number;
  /** Bytes to train a LoRA adapter: frozen weights, the adapter with gradient and moments, a micro-batch. */
  readonly adapter: number;
  /** Bytes to train all weights: weights, gradients, two moments, a frozen reference, a micro-batch. */
  readonly whole: number;
}

export interface ModelSizeOptions {
  /** Sequences written together. */
  readonly sequences?: number;
  /** Tokens of each, prompt included. */
  readonly length?: number;
  /** Tokens of a micro-batch; the engine's default is 4,096. */
  readonly tokensPerMicroBatch?: number;
  /** Of those, how many are scored: each has a row of logits as wide as the vocabulary. */
  readonly scored?: number;
  readonly rank?: number;
}

const BYTES = 4;

export function modelSize(
  config: PolicyConfig,
  { sequences = 8, length = 4096, tokensPerMicroBatch = 4096, scored = 1024, rank = 64 }: ModelSizeOptions = {},
): ModelSize {
  const { hiddenSize: d, intermediateSize: inner, layers, heads, kvHeads, headDim, vocabSize } = config;
  const shapes = [...weightShapes(config)];
  const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const parameters = shapes.reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
  const adapted = shapes.filter(([name]) => ADAPTED.test(name)).reduce((sum, [, [out, inputs]]) => sum + rank * (out + inputs), 0);
  const cache = sequences * length * layers * 2 * kvHeads * headDim;
  // Of a token a block keeps: its input and middle, both normed; q, k before and after rotary, v, what attention read; gate, up and their product.
  const kept = tokensPerMicroBatch * layers * (4 * d + 3 * heads * headDim + 3 * kvHeads * headDim + 3 * inner);
  const logits = 2 * scored * vocabSize;
  return {
    parameters,
    largestWeight: BYTES * Math.max(...shapes.map(([, shape]) => sizeOf(shape))),
    writing: BYTES * (parameters + cache),
    adapter: BYTES * (parameters + 4 * adapted + kept + logits),
    whole: BYTES * (5 * parameters + kept + logits),
  };
}

const qwen25 = (
  hiddenSize: number,
  intermediateSize: number,
  layers: number,
  heads: number,
  kvHeads: number,
  { vocabSize = 151_936, tiedEmbeddings = true }: { readonly vocabSize?: number; readonly tiedEmbeddings?: boolean } = {},
): PolicyConfig => ({
  ...{ vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim: hiddenSize / heads },
  ...{ ropeTheta: 1_000_000, rmsNormEpsilon: 1e-6, tiedEmbeddings, maxPositions: 32_768, endIds: [151_645], padId: 151_643 },
});

/** Shapes of the published Qwen2.5 models (their config.json), by the names of the paper's policies and their neighbours. */
export const QWEN25: Readonly<Record<string, PolicyConfig>> = {
  'Qwen2.5-0.5B': qwen25(896, 4864, 24, 14, 2),
  'Qwen2.5-1.5B': qwen25(1536, 8960, 28, 12, 2),
  'Qwen2.5-3B': qwen25(2048, 11_008, 36, 16, 2),
  'Qwen2.5-7B': qwen25(3584, 18_944, 28, 28, 4, { vocabSize: 152_064, tiedEmbeddings: false }),
};
