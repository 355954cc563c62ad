/**
 * LoRA (Hu et al. 2021): W x + (alpha / rank) B (A x), with A [rank, in] random and B [out, rank] zero, on all seven linear layers of a block.
 *
 * Names and initialisation are PEFT's: A is Kaiming-uniform with a = sqrt(5), that is uniform in +-1/sqrt(in); B is 0, so a fresh adapter changes nothing.
 */
import * as tf from '@tensorflow/tfjs-core';
import { checkOptions } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import { random } from '../random.js';
import { addToHalves, halfFormat } from '../tensors/half.js';
import { createVariable } from '../tensors/variable.js';
import { type PolicyConfig, weightShapes } from './config.js';

/** A fresh adapter on all linear layers of the blocks: A as PEFT draws it, B zero, so that it changes nothing yet. */
export interface LoraOptions {
  /** Columns of B, rows of A; at least 1. Paper and PEFT name none; OPSD: 64. */
  readonly rank: number;
  /** The update is scaled by alpha / rank. */
  readonly alpha: number;
  /** A is drawn from it. */
  readonly seed: number;
}

/** Low-rank updates beside the weights of a policy: W + (alpha / rank) B A. */
export interface LoraAdapter {
  /** Columns of B, rows of A. */
  readonly rank: number;
  /** The update is scaled by alpha / rank. */
  readonly alpha: number;
  /** PEFT names without the `base_model.model.` prefix: `<layer>.lora_A.weight` [rank, in] and `<layer>.lora_B.weight` [out, rank]. */
  readonly variables: ReadonlyMap<string, tf.Variable>;
}

/** PEFT's users take 4 to 256; far more than a layer's width would only fill the memory. */
const LARGEST_RANK = 65_536;

/** What float32 holds, in which the adapter is scaled. */
export const LARGEST_ALPHA = 3e38;

/** The linear layers that carry an adapter: all of a block, not the embedding and the head (OPSD v3, paper: "LoRA"). */
export const ADAPTED = /\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight$/;

/** @throws TypeError, RangeError for options that are none; alpha is above 0 as in every file of PEFT's */
export function createAdapter(config: PolicyConfig, options: LoraOptions): LoraAdapter {
  checkOptions('LoRA', options, ['rank', 'alpha', 'seed'] satisfies (keyof LoraOptions)[]);
  const { rank, alpha, seed } = options;
  checkNumber('LoRA rank', rank, { integer: true, min: 1, max: LARGEST_RANK });
  checkNumber('LoRA alpha', alpha, { above: 0, max: LARGEST_ALPHA });
  const variables = new Map<string, tf.Variable>();
  for (const [name, [out, inputs]] of weightShapes(config)) {
    if (!ADAPTED.test(name)) continue;
    const stream = random(seed, 'lora', name);
    const bound = 1 / Math.sqrt(inputs);
    const a = Float32Array.from({ length: rank * inputs }, () => bound * (2 * stream.uniform() - 1));
    for (const [part, value, shape] of [
      ['A', a, [rank, inputs]],
      ['B', new Float32Array(out * rank), [out, rank]],
    ] as const) {
      const key = adapterName(name, part);
      variables.set(key, createVariable(key, value, shape));
    }
  }
  return { rank, alpha, variables };
}

export const adapterName = (weight: string, part: 'A' | 'B'): string => weight.replace(/\.weight$/, `.lora_${part}.weight`);

/** W + sign (alpha / rank) B A, or null where the weight carries no adapter. Added in float32; a weight of 16 bits is rounded to 16 bits again, as PEFT does. */
export function mergedWeight(adapter: LoraAdapter, name: string, weight: tf.Tensor, sign: 1 | -1 = 1): tf.Tensor | null {
  const a = adapter.variables.get(adapterName(name, 'A')) as tf.Tensor2D | undefined; // [rank, in]
  const b = adapter.variables.get(adapterName(name, 'B')) as tf.Tensor2D | undefined; // [out, rank]
  if (!a || !b) return null;
  const change = (rows: tf.Tensor2D): tf.Tensor2D => tf.mul(tf.matMul(rows, a), (sign * adapter.alpha) / adapter.rank); // [rows, in]
  if (halfFormat(weight)) return addToHalves(weight, (from, to) => change(tf.slice(b, [from, 0], [to - from, -1])));
  return tf.tidy(() => tf.add(weight, change(b))); // [out, in]
}
