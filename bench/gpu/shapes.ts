/** The models that are measured, with random weights: what they compute does not matter, how fast does. */
import { Policy, type PolicyConfig, weightShapes } from '../../src/index.js';
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

const qwen = (hiddenSize: number, intermediateSize: number, layers: number, heads: number, kvHeads: number): PolicyConfig => ({
  vocabSize: 151_936,
  hiddenSize,
  intermediateSize,
  layers,
  heads,
  kvHeads,
  headDim: hiddenSize / heads,
  ropeTheta: 1_000_000,
  rmsNormEpsilon: 1e-6,
  tiedEmbeddings: true,
  maxPositions: 32_768,
  endIds: [],
  padId: null,
});

/** Shape of the classroom's base policy (datasets/tinypedia/base-policy/config.json). */
const classroom: PolicyConfig = {
  vocabSize: 1322,
  hiddenSize: 96,
  intermediateSize: 256,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  headDim: 24,
  ropeTheta: 10_000,
  rmsNormEpsilon: 1e-6,
  tiedEmbeddings: true,
  maxPositions: 1024,
  endIds: [],
  padId: null,
};

export const WORKS: readonly Work[] = [
  { name: 'classroom', config: classroom, sequences: 160, prompt: 32, drawn: 128, miniBatches: 2 },
  { name: 'qwen2.5-0.5b', config: qwen(896, 4864, 24, 14, 2), sequences: 16, prompt: 256, drawn: 128, miniBatches: 1 },
  { name: 'qwen2.5-3b', config: qwen(2048, 11_008, 36, 16, 2), sequences: 8, prompt: 256, drawn: 64, miniBatches: 1 },
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

export const parameters = (config: PolicyConfig): number =>
  [...weightShapes(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);

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
