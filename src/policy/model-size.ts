/**
 * What a policy of a given shape takes in memory: to write with, to train an adapter of, to train whole. Arithmetic on a config, so that it can be
 * known before anything is downloaded.
 *
 * Weights, gradients and AdamW's moments are counted, and what a micro-batch holds (`activation-memory.ts`) with this project's kernels. Left out are a
 * backend's own pools and fragments: some ten per cent.
 */
import { activationBytes } from './activation-memory.js';
import { countParameters, type PolicyConfig, weightShapes } from './config.js';
import { ADAPTED } from './lora.js';

/** What a model takes, in bytes but for the parameters. */
export interface ModelSize {
  /** Numbers in all weights. */
  readonly parameters: number;
  /** Bytes of the largest single weight, float32. */
  readonly largestWeight: number;
  /** Bytes that matrices kept in 16 bits, as BF16 files store them, save of the float32 weights, where nothing trains these. */
  readonly halfSaves: number;
  /** Bytes to write `sequences` of `length` tokens at once: weights and keys and values. */
  readonly writing: number;
  /** Bytes to train a LoRA adapter: frozen weights, the adapter with gradient and moments, a micro-batch. */
  readonly adapter: number;
  /** Bytes to train all weights: weights, gradients, two moments, a frozen reference, a micro-batch. */
  readonly whole: number;
}

/** The work that is reckoned with. */
export interface ModelSizeOptions {
  /** Sequences written together. */
  readonly sequences?: number;
  /** Tokens of each, prompt included. */
  readonly length?: number;
  /** Tokens of a micro-batch: of large models the engine's default budget holds about so many. */
  readonly tokensPerMicroBatch?: number;
  /** Of those, how many are scored: each has a row of logits as wide as the vocabulary. */
  readonly scored?: number;
  /** Of the adapter. */
  readonly rank?: number;
}

const BYTES = 4;

/**
 * Reckons what a model of this shape takes here: to write, to train with an adapter, and to train whole.
 *
 * @example
 * ```ts
 * import { modelSize, qwen25Configs } from 'search-e1/policy';
 *
 * const { parameters, writing, whole } = modelSize(qwen25Configs['0.5b']);
 * parameters; // 494032768
 * writing < whole; // true
 * ```
 */
export function modelSize(
  config: PolicyConfig,
  { sequences = 8, length = 4096, tokensPerMicroBatch = 1024, scored = 256, rank = 64 }: ModelSizeOptions = {},
): ModelSize {
  const { layers, kvHeads, headDim } = config;
  const shapes = [...weightShapes(config)];
  const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const parameters = countParameters(config);
  const halved = shapes.filter(([, shape]) => shape.length === 2 && shape[1] % 2 === 0).reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
  const adapted = shapes.filter(([name]) => ADAPTED.test(name)).reduce((sum, [, [out, inputs]]) => sum + rank * (out + inputs), 0);
  const cache = sequences * length * layers * 2 * kvHeads * headDim;
  const tokens = tokensPerMicroBatch;
  const read = { tokens, keys: tokens, scores: tokens ** 2, longest: tokens, scored };
  const held = (rank: number) =>
    activationBytes({ config, kernels: 'simd', half: false, rank, gradient: true, reads: 'logProbs', checkpoint: false }, read).bytes;
  return {
    parameters,
    largestWeight: BYTES * Math.max(...shapes.map(([, shape]) => sizeOf(shape))),
    halfSaves: (BYTES / 2) * halved,
    writing: BYTES * (parameters + cache),
    adapter: BYTES * (parameters + 4 * adapted) + held(rank),
    whole: BYTES * 5 * parameters + held(0),
  };
}
