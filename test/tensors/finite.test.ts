import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { assertFinite, NonFiniteError } from '../../src/non-finite.js';
import { startBackend } from '../../src/tensors/backend.js';
import { assertFiniteTensors, firstNonFiniteHalf, nonFiniteHalf } from '../../src/tensors/finite.js';
import { markHalf, narrowToHalves } from '../../src/tensors/half.js';
import { SETUPS } from './fixtures.js';

const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;

describe('assertFinite', () => {
  test('names the list, the first number that is not finite and its place, and what is kept', () => {
    const check = () => assertFinite('the rewards', [1, -infinity, nan], { advice: 'the policy is as before' });
    expect(check).toThrow(NonFiniteError);
    expect(check).toThrow('the rewards: element 1 is -Infinity, expected a finite number; the policy is as before');
  });

  test('names a single number without a place', () => {
    expect(() => assertFinite('the loss', nan)).toThrow('the loss: is NaN, expected a finite number');
  });

  test('lets every finite number pass', () => {
    expect(() => assertFinite('x', [0, -0, 3.4e38, 1e-45, Number.MAX_VALUE])).not.toThrow();
    expect(() => assertFinite('x', [])).not.toThrow();
    expect(() => assertFinite('x', 0)).not.toThrow();
  });
});

describe('16-bit numbers', () => {
  test.each(['F16', 'BF16'] as const)('that are not finite are found in %s', (format) => {
    const bits = new Uint16Array(5);
    narrowToHalves(Float32Array.of(1, -65504, nan, infinity, -infinity), format, bits);
    expect(firstNonFiniteHalf(bits.subarray(0, 2), format)).toBe(-1);
    expect(firstNonFiniteHalf(bits, format)).toBe(2);
    expect([...bits.subarray(2)].map((each) => nonFiniteHalf(each, format))).toEqual([nan, infinity, -infinity]);
  });
});

describe.each(SETUPS)('assertFiniteTensors on %s', (_, setup) => {
  beforeAll(async () => {
    await startBackend(setup);
  });

  const tensors = (values: Record<string, number[]>) =>
    Object.fromEntries(Object.entries(values).map(([name, each]) => [name, tf.tensor1d(each)]));

  test.each([nan, infinity, -infinity])('names the tensor and the place of %d', async (value) => {
    const before = tf.memory().numTensors;
    const named = tensors({ first: [1, 2, 3], second: [1, 2, 3, 4, 5, value, 7] });
    await expect(assertFiniteTensors(named)).rejects.toThrow(`second: element 5 is ${value}`);
    tf.dispose(named);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('lets finite numbers pass whose squares are not, integers, and tensors without elements', async () => {
    await assertFiniteTensors({ ...tensors({ large: [3e38, -3e38], none: [] }), ids: tf.tensor1d([1, 2], 'int32') });
    await assertFiniteTensors({});
  });

  test.each(['F16', 'BF16'] as const)('looks into weights that stay in 16 bits (%s)', async (format) => {
    const bits = new Uint16Array(4);
    narrowToHalves(Float32Array.of(1, 2, nan, 4), format, bits);
    const packed = markHalf(tf.tensor2d(new Int32Array(bits.buffer), [1, 2], 'int32'), format);
    await expect(assertFiniteTensors({ head: packed })).rejects.toThrow('head: element 2 is NaN');
  });
});
