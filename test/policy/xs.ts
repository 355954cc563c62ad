/** The parity models xs_tied and xs_untied (Transformers 5.23, PEFT 0.21; random weights): what their files expect, and how it is compared. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { Engine, Loss, Scored } from '../../src/engines/engine.js';
import type { PolicyConfig } from '../../src/policy/config.js';
import type { Tokenizer } from '../../src/policy/tokenizer.js';

export const fixtureFolder = (...parts: string[]): string => join(__dirname, '../fixtures', ...parts);

// biome-ignore lint/suspicious/noExplicitAny: each file has its own shape, described in the parity fixtures' README
export const readFixture = (...parts: string[]): any => JSON.parse(readFileSync(fixtureFolder(...parts), 'utf8'));

/** What is known of a gradient: its norm, its sum, and some of its values. */
export interface ExpectedGradient {
  readonly norm: number;
  readonly sum: number;
  readonly sample_index: readonly number[];
  readonly sample: readonly number[];
}

export interface ForwardFixture {
  readonly input_ids: readonly number[][];
  readonly attention_mask: readonly number[][];
  readonly position_ids: readonly number[][];
  readonly logits: readonly number[][][];
  readonly token_logprobs: { readonly values: readonly number[][] };
  readonly entropy: readonly number[][];
  readonly greedy: { readonly new_tokens: readonly number[][] };
  readonly cross_entropy: {
    readonly loss: number;
    readonly grad_total_norm: number;
    readonly grads: Readonly<Record<string, ExpectedGradient>>;
  };
}

/** A policy of token ids has no text: the engine needs a tokenizer only for what these tests do not ask. */
export const noTokenizer: Tokenizer = {
  size: 256,
  endIds: [255],
  padId: 0,
  encode: () => {
    throw new Error('the parity models have no tokenizer');
  },
  decode: () => {
    throw new Error('the parity models have no tokenizer');
  },
  stream: () => {
    throw new Error('the parity models have no tokenizer');
  },
};

/** Both rows without their padding, and the labels that the fixture's cross entropy is the mean of: positions >= 8 that are not padding. */
export function unpadded({ input_ids, attention_mask }: Pick<ForwardFixture, 'input_ids' | 'attention_mask'>): Scored[] {
  return input_ids.map((row, b) => {
    const first = attention_mask[b].indexOf(1);
    return { tokens: row.slice(first), scored: row.flatMap((_, t) => (t >= 8 && t > first ? [t - first] : [])) };
  });
}

export function expectArraysClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  expect(actual.length, `${what}: size`).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i] - expected[i]) / Math.max(1, Math.abs(expected[i]));
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  expect(worst, `${what}: largest difference`).toBeLessThanOrEqual(tolerance);
}

/** Tolerance relative to the tensor's norm (the fixtures' README). */
export function expectGradient(
  name: string,
  actual: ArrayLike<number>,
  { norm, sum, sample_index, sample }: ExpectedGradient,
  tolerance = 1e-4,
): void {
  const values = Array.from(actual);
  expect(Math.abs(Math.hypot(...values) - norm), `${name}: norm`).toBeLessThanOrEqual(tolerance * norm);
  expect(Math.abs(values.reduce((a, b) => a + b, 0) - sum), `${name}: sum`).toBeLessThanOrEqual(
    tolerance * norm * Math.sqrt(values.length),
  );
  sample_index.forEach((at, i) => {
    expect(Math.abs(values[at] - sample[i]), `${name}: value ${at}`).toBeLessThanOrEqual(tolerance * norm);
  });
}

/**
 * The gradient that a loss has in an engine, read off one optimiser step: with an epsilon far above every gradient, AdamW's first step is
 * -change = learningRate g / (|g| + epsilon), from which g follows.
 */
export async function gradientsThrough(engine: Engine, losses: readonly Loss[], variables: ReadonlyMap<string, tf.Variable>) {
  const values = async () =>
    new Map(await Promise.all([...variables].map(async ([name, v]) => [name, Float32Array.from(await v.data())] as const)));
  engine.resetOptimizer();
  const before = await values();
  const reports = [];
  for (const loss of losses) reports.push(await engine.forwardBackward(loss));
  const large = 1e4;
  const { gradNorm } = await engine.optimStep({ learningRate: large, epsilon: large });
  const after = await values();
  const gradient = (change: number) => change / (1 - Math.abs(change) / large);
  const gradients = new Map(
    [...before].map(([name, old]) => [name, old.map((v, i) => gradient(v - (after.get(name) as Float32Array)[i]))]),
  );
  for (const [name, variable] of variables) tf.tidy(() => variable.assign(tf.tensor(before.get(name) as Float32Array, variable.shape)));
  engine.resetOptimizer();
  return { reports, gradients, gradNorm };
}

/** A decoder that is quick to initialise and to compute anywhere: two blocks, two heads over one. */
export const tinyConfig: PolicyConfig = {
  vocabSize: 50,
  hiddenSize: 16,
  intermediateSize: 24,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  ropeTheta: 10_000,
  rmsNormEpsilon: 1e-6,
  tiedEmbeddings: true,
  maxPositions: 64,
  endIds: [],
  padId: null,
};
