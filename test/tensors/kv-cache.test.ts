import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';
import { type CachedLayer, KeyValueCache } from '../../src/tensors/kv-cache.js';
import { expectClose, SETUPS } from './fixtures.js';

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

  const filled = (cached: CachedLayer, which: 'k' | 'v') => tf.slice(cached[which], 0, [-1, cached.length, -1, -1]).arraySync();

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
          const cached = cache.append(layer, keys(from, length), tf.neg(keys(from, length)));
          expect(cached.length).toBe(from + length);
          expect(filled(cached, 'k')).toEqual(keys(0, from + length).arraySync());
          expect(filled(cached, 'v')).toEqual((tf.neg(keys(0, from + length)) as tf.Tensor4D).arraySync());
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
      expect(filled(grown, 'k')).toEqual(tf.slice(keys(0, 4), [1, 0, 0, 0], [1, 4, 1, 2]).arraySync());
      other.dispose();
    });
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('grows past its first room, and attention over it equals attention over the tokens themselves', () => {
    tf.tidy(() => {
      const draw = (length: number, heads: number, seed: number) =>
        tf.randomNormal([2, length, heads, 8], 0, 1, 'float32', seed) as tf.Tensor4D;
      const [q, k, v] = [draw(100, 4, 1), draw(100, 2, 2), draw(100, 2, 3)];
      const full = attention(q, k, v);
      const part = (x: tf.Tensor4D, from: number, length: number) => tf.slice(x, [0, from, 0, 0], [-1, length, -1, -1]);
      const cache = new KeyValueCache(1, 100);
      for (let from = 0; from < 100; ) {
        const length = from === 0 ? 7 : from === 30 ? 5 : 1;
        const cached = cache.append(0, part(k, from, length), part(v, from, length));
        const read = attention(part(q, from, length), cached.k, cached.v, { length: cached.length });
        expectClose(read, part(full, from, length).arraySync(), 1e-6, `tokens from ${from}`);
        from += length;
      }
      cache.dispose();
    });
  });
});
