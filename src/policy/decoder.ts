/**
 * The Qwen2 decoder: token ids in, hidden states out.
 *
 *     h = embed(tokens)
 *     for each block:  h += o(attention(rotary(q(x)), rotary(k(x)), v(x)))   with x = rmsNorm(h)
 *                      h += down(silu(gate(x)) * up(x))                      with x = rmsNorm(h)
 *     hidden = rmsNorm(h);   logits = hidden head^T
 *
 * As Transformers' Qwen2Model (biases on q, k and v only). Logits are not computed here: losses and samplers ask for them at the few positions
 * they need, and name these beforehand, as all other positions leave the last block once their keys and values are there. Left out: dropout.
 */
import * as tf from '@tensorflow/tfjs-core';
import { type AttentionSegment, attention } from '../tensors/attention.js';
import { checkpointed } from '../tensors/checkpointed.js';
import { type LinearWeights, TokenDecoder } from '../tensors/decode-tokens.js';
import { embedding } from '../tensors/embedding.js';
import { halfFormat } from '../tensors/half.js';
import type { CacheStep } from '../tensors/kv-cache.js';
import { linear } from '../tensors/linear.js';
import { rmsNorm } from '../tensors/rms-norm.js';
import { rotary, rotaryTables } from '../tensors/rotary.js';
import { swiglu } from '../tensors/swiglu.js';
import type { PolicyConfig } from './config.js';
import { adapterName, type LoraAdapter } from './lora.js';
import type { WeightMap } from './policy.js';
import { rotaryOf } from './rope.js';
import { withinWindow } from './sliding-window.js';

/** All that a forward pass reads: a `Policy`, or a frozen copy of one. */
export interface DecoderWeights {
  /** The decoder's shape. */
  readonly config: PolicyConfig;
  /** Tensors by Hugging Face name. */
  readonly weights: WeightMap;
  /** Ids that end a text of the model; default those of `config`. */
  readonly endIds?: readonly number[];
  /** Absent or null: adapter off. */
  readonly adapter?: LoraAdapter | null;
}

export interface DecoderOptions {
  /** [B, T] or [T] rotary positions; default 0, 1, ..., or those of the cache's step. */
  readonly positions?: Int32Array;
  /** [B, T] with 0 where a key is padding. Right-padded batches need none: causality hides the padding from what comes before it. */
  readonly keyMask?: tf.Tensor2D;
  /** Sequences that lie end to end in one row (B = 1), each with `positions` of its own. */
  readonly segments?: readonly AttentionSegment[];
  /** Keys and values of earlier positions; the tokens are the step's, end to end (B = 1), and are added to them. */
  readonly cache?: CacheStep;
  /** Positions, counted through the batch, whose states are wanted. Default: all. */
  readonly rows?: Int32Array;
  /** Whether a gradient keeps the blocks' inputs alone and computes each block again; not with a cache. */
  readonly checkpoint?: boolean;
}

/** Final hidden states of `tokens` [B, T] (row-major ids): [B, T, d], or [1, R, d] of R `rows`. Call inside tf.tidy or valueAndGradients. */
export function decode(
  model: DecoderWeights,
  tokens: Int32Array,
  [B, T]: readonly [number, number],
  options: DecoderOptions = {},
): tf.Tensor3D {
  const { config, weights } = model;
  const { heads, kvHeads, headDim, hiddenSize: d } = config;
  const { cache, segments = cache?.segments, checkpoint = false } = options;
  const positions = options.positions ?? cache?.positions ?? Int32Array.from({ length: T }, (_, t) => t);
  const constants = {
    ...rotaryTables(positions, headDim, rotaryOf(config)), // [T or B*T, hd]
    keyMask: options.keyMask,
    rows: options.rows && tf.tensor1d(options.rows, 'int32'),
  };
  const weight = (name: string) => {
    const w = weights.get(name);
    if (!w) throw new Error(`the policy has no weight ${name}`);
    return w;
  };
  const { slidingWindow } = config;
  const sequences = segments ?? Array.from({ length: B }, (_, row) => ({ queries: T, keys: T, from: row * T }));
  const windowed = slidingWindow && withinWindow(sequences, slidingWindow.tokens);
  const sliding = new Set(windowed ? slidingWindow.layers : []);
  if (windowed && options.keyMask)
    throw new RangeError(
      `${T} tokens exceed the sliding window of ${slidingWindow.tokens}: a padded batch is not computed beyond it, segments are`,
    );
  const project = (x: tf.Tensor, name: string, plus?: tf.Tensor) => projection(model, x, name, plus);

  let h = tf.reshape(embedding(weight('model.embed_tokens.weight') as tf.Tensor2D, tf.tensor1d(tokens, 'int32')), [B, T, d]); // [B, T, d]
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    const block = (before: tf.Tensor, { keyMask, rows, ...tables }: typeof constants) => {
      const x = rmsNorm(before, weight(`${at}.input_layernorm.weight`) as tf.Tensor1D, config.rmsNormEpsilon); // [B, T, d]
      const q = rotary(tf.reshape(project(x, `${at}.self_attn.q_proj`), [B, T, heads, headDim]), tables); // [B, T, H, hd]
      const k = rotary(tf.reshape(project(x, `${at}.self_attn.k_proj`), [B, T, kvHeads, headDim]), tables); // [B, T, Hkv, hd]
      const v: tf.Tensor4D = tf.reshape(project(x, `${at}.self_attn.v_proj`), [B, T, kvHeads, headDim]); // [B, T, Hkv, hd]
      const read = cache ? cache.append(layer, k, v) : { k, v }; // [B, T, Hkv, hd], or all that the cache holds
      const inOneRow = (x: tf.Tensor4D): tf.Tensor4D => tf.reshape(x, [1, x.shape[0] * x.shape[1], x.shape[2], x.shape[3]]);
      const attended = sliding.has(layer)
        ? attention(inOneRow(q), inOneRow(read.k), inOneRow(read.v), { segments: windowed })
        : attention(q, read.k, read.v, { keyMask, segments });
      const mixed = tf.reshape(attended, [B, T, heads * headDim]); // [B, T, H*hd]
      const wanted = layer === config.layers - 1 ? rows : undefined; // from here on a position is on its own
      const middle = project(pick(mixed, wanted), `${at}.self_attn.o_proj`, pick(before, wanted)); // [B, T, d], or [1, R, d]
      const y = rmsNorm(middle, weight(`${at}.post_attention_layernorm.weight`) as tf.Tensor1D, config.rmsNormEpsilon); // as middle
      const inner = swiglu(project(y, `${at}.mlp.gate_proj`), project(y, `${at}.mlp.up_proj`)); // [B, T, inner], or [1, R, inner]
      return project(inner, `${at}.mlp.down_proj`, middle); // as middle
    };
    // What no gradient needs is given back after each block.
    h = tf.tidy(() => (checkpoint ? checkpointed(block, h, { constants, trained: trainedIn(model, at) }) : block(h, constants)));
  }
  return rmsNorm(h, weight('model.norm.weight') as tf.Tensor1D, config.rmsNormEpsilon) as tf.Tensor3D; // [B, T, d], or [1, R, d]
}

/** [1, R, width]: rows of [B, T, width], counted through the batch. */
function pick(x: tf.Tensor, rows: tf.Tensor1D | undefined): tf.Tensor {
  const width = x.shape[x.shape.length - 1];
  return rows ? tf.reshape(embedding(tf.reshape(x, [-1, width]) as tf.Tensor2D, rows), [1, -1, width]) : x;
}

/** What is trained of a block: its adapter where there is one, else its weights, if they are floats. */
const trainedIn = ({ weights, adapter }: DecoderWeights, block: string): tf.Tensor[] =>
  [...(adapter?.variables ?? weights)].flatMap(([name, weight]) => (name.startsWith(`${block}.`) && !halfFormat(weight) ? [weight] : []));

/** The output head [V, d]: the embedding table where the two are tied. */
export function headOf({ config, weights }: DecoderWeights): tf.Tensor2D {
  return weights.get(config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight') as tf.Tensor2D;
}

/**
 * The same decoder for one token of each sequence at a time, up to the logits; null where there is no kernel for it (`tensors/decode-tokens.ts`), as
 * where sequences outgrow a sliding window.
 *
 * @param positions how many there may be
 */
export function tokenDecoder(model: DecoderWeights, positions: number): TokenDecoder | null {
  const { config, weights } = model;
  if (config.slidingWindow && positions > config.slidingWindow.tokens) return null;
  const vector = (name: string) => weights.get(name) as tf.Tensor1D;
  const blocks = Array.from({ length: config.layers }, (_, layer) => {
    const at = `model.layers.${layer}`;
    const linears = (prefix: string, names: readonly string[]) => names.map((name) => linearWeights(model, `${at}.${prefix}.${name}_proj`));
    const [q, k, v, o] = linears('self_attn', ['q', 'k', 'v', 'o']);
    const [gate, up, down] = linears('mlp', ['gate', 'up', 'down']);
    const norms = { inputNorm: vector(`${at}.input_layernorm.weight`), postNorm: vector(`${at}.post_attention_layernorm.weight`) };
    return { ...norms, q, k, v, o, gate, up, down };
  });
  const { heads, kvHeads, headDim, rmsNormEpsilon: epsilon } = config;
  const table = weights.get('model.embed_tokens.weight') as tf.Tensor2D;
  const stack = { table, blocks, norm: vector('model.norm.weight'), head: headOf(model), heads, kvHeads, epsilon };
  return TokenDecoder.open(stack, () =>
    rotaryTables(
      Int32Array.from({ length: positions }, (_, t) => t),
      headDim,
      rotaryOf(config),
    ),
  );
}

/** x W^T + b (+ plus), with the adapter's (alpha / rank) (x A^T) B^T where it is on. */
function projection(model: DecoderWeights, x: tf.Tensor, layer: string, plus?: tf.Tensor): tf.Tensor {
  const { weight, bias, adapter } = linearWeights(model, layer);
  return linear(x, weight, bias, { plus, adapter });
}

function linearWeights({ weights, adapter }: DecoderWeights, layer: string): LinearWeights {
  const weight = weights.get(`${layer}.weight`) as tf.Tensor2D | undefined;
  if (!weight) throw new Error(`the policy has no weight ${layer}.weight`);
  const a = adapter?.variables.get(adapterName(`${layer}.weight`, 'A')) as tf.Tensor2D | undefined;
  const b = adapter?.variables.get(adapterName(`${layer}.weight`, 'B')) as tf.Tensor2D | undefined;
  const bias = weights.get(`${layer}.bias`) as tf.Tensor1D | undefined;
  return { weight, bias, adapter: adapter && a && b ? { a, b, scale: adapter.alpha / adapter.rank } : undefined };
}
