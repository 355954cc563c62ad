/** The models that are measured, with random weights: what they compute does not matter, how fast does. */
import { basePolicyConfig, Policy, type PolicyConfig, type Qwen25Size, qwen25Configs, weightShapes } from '../../src/index.js';
import { random } from '../../src/random.js';

export interface Work {
  readonly name: string;
  readonly config: PolicyConfig;
  /** Sequences, tokens of their prompts, tokens drawn after them. */
  readonly sequences: number;
  readonly prompt: number;
  readonly drawn: number;
  /** Optimiser steps a GRPO step. */
  readonly miniBatches: number;
}

/** Shape of the classroom's base policy (datasets/tinypedia/base-policy/config.json). No end token: sequences are as long as they are said to be. */
const classroom = basePolicyConfig({ size: 1322, endIds: [], padId: null });

const qwen = (size: Qwen25Size): PolicyConfig => ({ ...qwen25Configs[size], endIds: [] });

export const WORKS: readonly Work[] = [
  { name: 'classroom', config: classroom, sequences: 160, prompt: 32, drawn: 128, miniBatches: 2 },
  { name: 'qwen2.5-0.5b', config: qwen('0.5b'), sequences: 16, prompt: 256, drawn: 128, miniBatches: 1 },
  { name: 'qwen2.5-3b', config: qwen('3b'), sequences: 8, prompt: 256, drawn: 64, miniBatches: 1 },
];

/** A work small enough for a processor that pretends to be a graphics card: shows that the harness runs. */
export const TINY: Work = {
  name: 'tiny',
  config: { ...classroom, vocabSize: 200, layers: 1 },
  sequences: 4,
  prompt: 8,
  drawn: 6,
  miniBatches: 1,
};

/** Weights from one block of a million normal numbers, over and over: a billion fresh ones would take minutes. */
export function randomPolicy(config: PolicyConfig): Policy {
  const block = new Float32Array(2 ** 20);
  const stream = random(1, 'weights');
  for (let i = 0; i < block.length; i++) block[i] = 0.02 * stream.normal();
  const values = new Map<string, Float32Array>();
  for (const [name, shape] of weightShapes(config)) {
    const value = new Float32Array(shape.reduce((a, b) => a * b, 1));
    if (name.endsWith('norm.weight')) value.fill(1);
    else if (!name.endsWith('bias'))
      for (let at = 0; at < value.length; at += block.length) value.set(block.subarray(0, value.length - at), at);
    values.set(name, value);
  }
  return Policy.fromValues(config, values);
}
