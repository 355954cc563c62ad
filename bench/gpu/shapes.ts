/** The models that are measured, with random weights: what they compute does not matter, how fast does. */
import * as tf from '@tensorflow/tfjs-core';
import { weightShapes } from '../../src/policy/config.js';
import { Policy, type PolicyConfig, type Qwen25Size, qwen25Configs } from '../../src/policy/index.js';
import { random } from '../../src/random.js';
import { markHalf } from '../../src/tensors/half.js';
import { basePolicyConfig } from '../../src/tinypedia/pretrain.js';

export interface Work {
  readonly name: string;
  readonly config: PolicyConfig;
  /** Sequences, tokens of their prompts, tokens drawn after them. */
  readonly sequences: number;
  readonly prompt: number;
  readonly drawn: number;
  /** Optimiser steps a GRPO step. */
  readonly miniBatches: number;
  /** GRPO steps that are counted, of which the fastest is told, after one that is not. */
  readonly rounds: number;
  /** Matrices kept in BF16, and an adapter of rank 64 trained on them instead of the weights. */
  readonly halves?: boolean;
}

/** Shape of the classroom's base policy (datasets/tinypedia/base-policy/config.json). No end token: sequences are as long as they are said to be. */
const classroom = basePolicyConfig({ size: 1322, endIds: [], padId: null });

const qwen = (size: Qwen25Size): PolicyConfig => ({ ...qwen25Configs[size], endIds: [] });

export const WORKS: readonly Work[] = [
  { name: 'classroom', config: classroom, sequences: 160, prompt: 32, drawn: 128, miniBatches: 2, rounds: 3 },
  { name: 'qwen2.5-0.5b', config: qwen('0.5b'), sequences: 16, prompt: 256, drawn: 128, miniBatches: 1, rounds: 1 },
  { name: 'qwen2.5-3b', config: qwen('3b'), sequences: 8, prompt: 256, drawn: 64, miniBatches: 1, rounds: 1 },
  {
    name: 'qwen2.5-3b kept in BF16, LoRA',
    config: qwen('3b'),
    sequences: 8,
    prompt: 256,
    drawn: 64,
    miniBatches: 1,
    rounds: 1,
    halves: true,
  },
];

/** A work small enough for a processor that pretends to be a graphics card: shows that the harness runs. */
export const TINY: Work = {
  name: 'tiny',
  config: { ...classroom, vocabSize: 200, layers: 1 },
  sequences: 4,
  prompt: 8,
  drawn: 6,
  miniBatches: 1,
  rounds: 0,
};

/** Weights from one block of a million normal numbers, over and over: a billion fresh ones would take minutes. With `halves` matrices are kept in BF16. */
export function randomPolicy(config: PolicyConfig, halves = false): Policy {
  const block = new Float32Array(2 ** 20);
  const stream = random(1, 'weights');
  for (let i = 0; i < block.length; i++) block[i] = 0.02 * stream.normal();
  const bits = Uint16Array.from(new Uint32Array(block.buffer), (word) => word >>> 16);
  const tensors = new Map<string, tf.Tensor>();
  for (const [name, shape] of weightShapes(config)) {
    const size = shape.reduce((a, b) => a * b, 1);
    if (halves && shape.length === 2) {
      const packed = new Int32Array(size / 2);
      fillOver(new Uint16Array(packed.buffer), bits);
      tensors.set(name, markHalf(tf.tensor(packed, [shape[0], shape[1] / 2], 'int32'), 'BF16'));
      continue;
    }
    const value = new Float32Array(size);
    if (name.endsWith('norm.weight')) value.fill(1);
    else if (!name.endsWith('bias')) fillOver(value, block);
    tensors.set(name, tf.tensor(value, [...shape], 'float32'));
  }
  return Policy.fromTensors(config, tensors);
}

function fillOver<T extends Float32Array | Uint16Array>(into: T, block: T): void {
  for (let at = 0; at < into.length; at += block.length) into.set(block.subarray(0, into.length - at), at);
}
