import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, test } from 'vitest';
import { startBackend } from '../../src/tensors/backend.js';
import { measureMatMul } from '../../src/tensors/measure.js';
import { expectClose } from './fixtures.js';

describe('startBackend', () => {
  afterEach(() => {
    delete process.env.SEARCH_E1_BACKEND;
  });

  test('takes the best backend that starts, says so, and says why not a better one', async () => {
    const report = await startBackend();
    expect(tf.getBackend()).toBe(report.name);
    expect(['tensorflow', 'simd']).toContain(report.name);
    if (report.name === 'simd') expect(report.notes.join()).toMatch(/^tensorflow: /);
    expect(await startBackend()).toEqual(report);
  });

  test('switches to a backend that is named, and comes back', async () => {
    expect((await startBackend({ backend: 'cpu' })).name).toBe('cpu');
    expect(tf.getBackend()).toBe('cpu');
    expect((await startBackend({ backend: 'simd' })).name).toBe('simd');
    expect(tf.getBackend()).toBe('simd');
  });

  test('lets SEARCH_E1_BACKEND override the option, and refuses a name it does not know', async () => {
    process.env.SEARCH_E1_BACKEND = 'cpu';
    expect((await startBackend({ backend: 'simd' })).name).toBe('cpu');
    process.env.SEARCH_E1_BACKEND = 'gpu';
    await expect(startBackend()).rejects.toThrow(/expected auto, tensorflow, webgpu, simd, cpu; got gpu/);
  });

  test.each([
    ['a name that is no option', 'cpu', /startBackend\(\{ backend: 'cpu' \}\)/],
    ['a list', ['cpu'], /expected options such as \{ backend: 'simd' \}, got \["cpu"\]/],
    ['a backend there is not', { backend: 'cuda' }, /^startBackend: backend: expected auto, tensorflow, webgpu, simd, cpu; got cuda$/],
    ['an option there is not', { backends: 'cpu' }, /no option 'backends'; expected backend, kernels, compute, threads/],
    ['kernels in words', { kernels: 'no' }, /kernels: expected true or false; got no/],
    ['another precision', { compute: 'bfloat16' }, /^startBackend: compute: expected float32 or float16; got bfloat16$/],
    ['threads in words', { threads: '2' }, /^threads: expected an integer from 1 to 64, got 2$/],
    ['no thread', { threads: 0 }, /threads: expected an integer from 1 to 64, got 0/],
  ])('refuses %s, and leaves the active backend', async (_, options, message) => {
    await startBackend({ backend: 'cpu' });
    await expect(startBackend(options as object)).rejects.toThrow(message);
    expect(tf.getBackend()).toBe('cpu');
  });

  test.each([
    ['SEARCH_E1_THREADS', 'abc', /SEARCH_E1_THREADS \(environment variable\): expected an integer from 1 to 64, got abc/],
    ['SEARCH_E1_THREADS', '1.5', /SEARCH_E1_THREADS .*got 1.5/],
    ['SEARCH_E1_COMPUTE', 'int8', /SEARCH_E1_COMPUTE \(environment variable\): expected float32 or float16; got int8/],
  ])('refuses %s=%s by its name instead of going on to a slower backend', async (name, value, message) => {
    process.env[name] = value;
    try {
      await expect(startBackend()).rejects.toThrow(message);
    } finally {
      delete process.env[name];
    }
  });

  test('one start waits for the other: the last that was asked for is active in the end', async () => {
    await Promise.all([startBackend({ backend: 'simd' }), startBackend({ backend: 'cpu' })]);
    expect(tf.getBackend()).toBe('cpu');
  });

  test('measures a speed', async () => {
    await startBackend({ backend: 'simd' });
    expect(await measureMatMul(64)).toBeGreaterThan(0);
  });
});

describe('the simd backend', () => {
  test.each([
    [
      [5, 7],
      [7, 3],
    ],
    [
      [2, 5, 7],
      [2, 7, 3],
    ],
    [
      [2, 3, 5, 7],
      [2, 3, 7, 3],
    ],
  ])('multiplies %j by %j in every transposition as the cpu backend does', async (left, right) => {
    const turned = (shape: number[], turn: boolean) =>
      turn ? [...shape.slice(0, -2), shape[shape.length - 1], shape[shape.length - 2]] : shape;
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const product = async (backend: 'cpu' | 'simd') => {
          await startBackend({ backend });
          return tf.tidy(() => {
            const a = tf.randomNormal(turned(left, transposeA), 0, 1, 'float32', 1);
            const b = tf.randomNormal(turned(right, transposeB), 0, 1, 'float32', 2);
            return tf.matMul(a, b, transposeA, transposeB).arraySync();
          });
        };
        const expected = await product('cpu');
        const actual = await product('simd');
        tf.tidy(() => expectClose(tf.tensor(actual as number[][]), expected, 1e-5));
      }
    }
  });
});
