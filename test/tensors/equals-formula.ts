/** Kernels beside the formulas that they replace. */
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { useKernels } from '../../src/tensors/dispatch.js';

/** Differences count relative to the largest value expected, or to 1 where all are smaller: what cancels out keeps the rounding of its terms. */
export function expectSame(actual: Float32Array, expected: Float32Array, tolerance: number, what: string, least = 1): void {
  expect(actual.length, `${what}: size`).toBe(expected.length);
  const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), least);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i] - expected[i]) / scale;
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  expect(worst, `${what}: largest difference, relative to the largest value`).toBeLessThanOrEqual(tolerance);
}

/** Runs an operation with kernels off and on, and compares its value and the gradient of every input. */
export function expectKernelEqualsFormula(inputs: tf.Tensor[], operation: (...inputs: tf.Tensor[]) => tf.Tensor, tolerance = 1e-5): void {
  const before = tf.memory().numTensors;
  const [formula, kernel] = [false, true].map((on) => {
    useKernels(on);
    return tf.tidy(() => {
      const value = operation(...inputs);
      const dy = tf.randomNormal(value.shape, 0, 1, 'float32', 7);
      return [value, ...tf.grads(operation)(inputs, dy)].map((tensor) => tensor.dataSync() as Float32Array);
    });
  });
  formula.forEach((expected, i) => {
    expectSame(kernel[i], expected, tolerance, i === 0 ? 'value' : `gradient ${i}`);
  });
  expect(tf.memory().numTensors - before, 'tensors left over').toBe(0);
}
