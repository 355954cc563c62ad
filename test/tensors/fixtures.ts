/**
 * The parity fixtures (PyTorch and Transformers) and the set-ups that every machine can run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';

export const SETUPS = [
  ['cpu', { backend: 'cpu' }],
  ['simd', { backend: 'simd', kernels: false }],
  ['simd with kernels', { backend: 'simd', kernels: true }],
] as const;

// biome-ignore lint/suspicious/noExplicitAny: each file has its own shape, described in its README
export const fixture = (name: string): any => JSON.parse(readFileSync(join(__dirname, '../fixtures', `${name}.json`), 'utf8'));

/** Holds a tensor to nested arrays: the larger of absolute and relative difference within the tolerance. */
export function expectClose(actual: tf.Tensor, expected: unknown, tolerance: number, what = 'value'): void {
  const wanted = (expected as number[]).flat(Number.POSITIVE_INFINITY as 1) as number[];
  const got = actual.dataSync();
  expect(got.length, `${what}: size`).toBe(wanted.length);
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) {
    const difference = Math.abs(got[i] - wanted[i]) / Math.max(1, Math.abs(wanted[i]));
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  expect(worst, `${what}: largest difference`).toBeLessThanOrEqual(tolerance);
}

/** Runs in a tidy and fails when tensors are left over. */
export function withoutLeak(body: () => void): void {
  const before = tf.memory().numTensors;
  tf.tidy(body);
  expect(tf.memory().numTensors - before, 'tensors left over').toBe(0);
}
