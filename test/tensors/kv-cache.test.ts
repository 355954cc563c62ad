import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { startBackend } from '../../src/tensors/backend.js';
import { KeyValueCache } from '../../src/tensors/kv-cache.js';
import { SETUPS } from './fixtures.js';

describe.each(SETUPS)('KeyValueCache on %s', (_, setup) => {
  beforeAll(async () => {
    await startBackend(setup);
  });

  /** [2, length, 1, 2] whose values name row, position and dimension. */
  const keys = (from: number, length: number) =>
    tf.tensor4d(
      [0, 1].map((row) => Array.from({ length }, (_, t) => [[0, 1].map((d) => row * 100 + (from + t) * 10 + d)])),
      [2, length, 1, 2],
    );

  test('returns all keys and values so far, keeps them across tidy and drops rows', () => {
    const before = tf.memory().numTensors;
    const cache = new KeyValueCache(2, 4);
    expect(cache.length).toBe(0);
    for (const [from, length] of [
      [0, 2],
      [2, 1],
      [3, 1],
    ]) {
      for (const layer of [0, 1]) {
        tf.tidy(() => {
          const { k, v } = cache.append(layer, keys(from, length), tf.neg(keys(from, length)));
          expect(k.arraySync()).toEqual(keys(0, from + length).arraySync());
          expect(v.arraySync()).toEqual((tf.neg(keys(0, from + length)) as tf.Tensor4D).arraySync());
        });
      }
      expect(cache.length).toBe(from + length);
    }
    expect(() => tf.tidy(() => void cache.append(0, keys(4, 1), keys(4, 1)))).toThrow(/capacity of 4/);
    cache.keepRows([1, 0, 1]);
    expect(cache.length).toBe(4);
    cache.keepRows([2]);
    tf.tidy(() => {
      const other = new KeyValueCache(1, 9);
      const { k } = other.append(0, keys(0, 3), keys(0, 3));
      other.keepRows([1]);
      const grown = other.append(0, tf.slice(keys(3, 1), [1, 0, 0, 0], [1, 1, 1, 2]), tf.zeros([1, 1, 1, 2]));
      expect(k.isDisposed).toBe(true);
      expect(grown.k.arraySync()).toEqual(tf.slice(keys(0, 4), [1, 0, 0, 0], [1, 4, 1, 2]).arraySync());
      other.dispose();
    });
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
