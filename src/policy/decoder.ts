/**
 * The Qwen2 decoder: token ids in, hidden states out.
 *
 *     h = embed(tokens)
 *     for each block:  h += o(attention(rotary(q(x)), rotary(k(x)), v(x)))   with x = rmsNorm(h)
 *                      h += down(silu(gate(x)) * up(x))                      with x = rmsNorm(h)
 *     hidden = rmsNorm(h);   logits = hidden head^T
 *
 * As Transformers' Qwen2Model (biases on q, k and v only). Logits are not computed here: losses and samplers ask for them at the few positions
 * they need. Left out: dropout, sliding windows.
 */
import * as tf from '@tensorflow/tfjs-core';
import { type AttentionSegment, attention } from '../tensors/attention.js';
import { embedding } from '../tensors/embedding.js';
import type { CacheStep } from '../tensors/kv-cache.js';
import { linear } from '../tensors/linear.js';
import { rmsNorm } from '../tensors/rms-norm.js';
import { rotary, rotaryTables } from '../tensors/rotary.js';
import { swiglu } from '../tensors/swiglu.js';
import type { PolicyConfig } from './config.js';
import { adapterName, type LoraAdapter } from './lora.js';
import type { WeightMap } from './policy.js';
import { rotaryOf } from './rope.js';

export interface DecoderWeights {
  readonly config: PolicyConfig;
  readonly weights: WeightMap;
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
}

/** Final hidden states [B, T, d] of `tokens` [B, T] (row-major ids). Call inside tf.tidy or tf.variableGrads. */
export function decode(
  model: DecoderWeights,
  tokens: Int32Array,
  [B, T]: readonly [number, number],
  options: DecoderOptions = {},
): tf.Tensor3D {
  const { config, weights } = model;
  const { heads, kvHeads, headDim, hiddenSize: d } = config;
  const { cache, keyMask, segments = cache?.segments } = options;
  const positions = options.positions ?? cache?.positions ?? Int32Array.from({ length: T }, (_, t) => t);
  const tables = rotaryTables(positions, headDim, rotaryOf(config)); // [T or B*T, hd]
  const weight = (name: string) => {
    const w = weights.get(name);
    if (!w) throw new Error(`the policy has no weight ${name}`);
    return w;
  };
  const project = (x: tf.Tensor, name: string, plus?: tf.Tensor) => projection(model, x, name, plus);

  let h = tf.reshape(embedding(weight('model.embed_tokens.weight') as tf.Tensor2D, tf.tensor1d(tokens, 'int32')), [B, T, d]); // [B, T, d]
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    const before = h;
    // What no gradient needs is given back after each block.
    h = tf.tidy(() => {
      const x = rmsNorm(before, weight(`${at}.input_layernorm.weight`) as tf.Tensor1D, config.rmsNormEpsilon); // [B, T, d]
      const q = rotary(tf.reshape(project(x, `${at}.self_attn.q_proj`), [B, T, heads, headDim]), tables); // [B, T, H, hd]
      const k = rotary(tf.reshape(project(x, `${at}.self_attn.k_proj`), [B, T, kvHeads, headDim]), tables); // [B, T, Hkv, hd]
      const v: tf.Tensor4D = tf.reshape(project(x, `${at}.self_attn.v_proj`), [B, T, kvHeads, headDim]); // [B, T, Hkv, hd]
      const read = cache ? cache.append(layer, k, v) : { k, v }; // [B, T, Hkv, hd], or all that the cache holds
      const mixed = tf.reshape(attention(q, read.k, read.v, { keyMask, segments }), [B, T, heads * headDim]); // [B, T, H*hd]
      const middle = project(mixed, `${at}.self_attn.o_proj`, before); // [B, T, d]
      const y = rmsNorm(middle, weight(`${at}.post_attention_layernorm.weight`) as tf.Tensor1D, config.rmsNormEpsilon); // [B, T, d]
      const inner = swiglu(project(y, `${at}.mlp.gate_proj`), project(y, `${at}.mlp.up_proj`)); // [B, T, inner]
      return project(inner, `${at}.mlp.down_proj`, middle); // [B, T, d]
    });
  }
  return rmsNorm(h, weight('model.norm.weight') as tf.Tensor1D, config.rmsNormEpsilon) as tf.Tensor3D; // [B, T, d]
}

/** The output head [V, d]: the embedding table where the two are tied. */
export function headOf({ config, weights }: DecoderWeights): tf.Tensor2D {
  return weights.get(config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight') as tf.Tensor2D;
}

/** x W^T + b (+ plus), with the adapter's (alpha / rank) (x A^T) B^T where it is on. */
function projection({ weights, adapter }: DecoderWeights, x: tf.Tensor, layer: string, plus?: tf.Tensor): tf.Tensor {
  const weight = weights.get(`${layer}.weight`) as tf.Tensor2D | undefined;
  if (!weight) throw new Error(`the policy has no weight ${layer}.weight`);
  const a = adapter?.variables.get(adapterName(`${layer}.weight`, 'A')) as tf.Tensor2D | undefined;
  const b = adapter?.variables.get(adapterName(`${layer}.weight`, 'B')) as tf.Tensor2D | undefined;
  const bias = weights.get(`${layer}.bias`) as tf.Tensor1D | undefined;
  return linear(x, weight, bias, { plus, adapter: adapter && a && b ? { a, b, scale: adapter.alpha / adapter.rank } : undefined });
}
