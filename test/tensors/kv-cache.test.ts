/** The cache is bookkeeping: what was put in comes out, wherever it lies, and attention over it is attention over the tokens themselves. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';
import { type CachedLayer, type Feed, KeyValueCache } from '../../src/tensors/kv-cache.js';
import { expectClose, SETUPS } from './fixtures.js';

describe.each(SETUPS)('KeyValueCache on %s', (_, setup) => {
  beforeAll(async () => {
    await startBackend(setup);
  });

  /** [1, N, 1, 2] whose values name slot, position and dimension; `mark` tells one sequence in a slot from the next. */
  const keys = (places: readonly (readonly [slot: number, position: number])[], mark = 0) =>
    tf.tensor4d(
      places.flatMap(([slot, position]) => [0, 1].map((d) => mark + slot * 1000 + position * 10 + d)),
      [1, places.length, 1, 2],
    );
  const placesOf = (cache: KeyValueCache, feeds: readonly Feed[]) =>
    feeds.flatMap(({ slot, tokens }) => Array.from({ length: tokens }, (_, i) => [slot, cache.length(slot) + i] as const));

  /** Feeds every layer; the values of the last. */
  function feed(cache: KeyValueCache, layers: number, feeds: readonly Feed[], mark = 0): CachedLayer {
    let last: CachedLayer | undefined;
    tf.tidy(() => {
      const x = keys(placesOf(cache, feeds), mark);
      const step = cache.step(feeds);
      for (let layer = 0; layer < layers; layer++) last = step.append(layer, x, tf.neg(x));
    });
    return last as CachedLayer;
  }
  const held = (cache: KeyValueCache, { k, v }: CachedLayer, slot: number) =>
    [k, v].map((x) => tf.tidy(() => [...tf.slice(x, [0, slot * cache.room, 0, 0], [1, cache.length(slot), 1, 2]).dataSync()]));
  const expected = (slot: number, length: number, mark = 0) => {
    const values = tf.tidy(() => [
      ...keys(
        Array.from({ length }, (_, t) => [slot, t]),
        mark,
      ).dataSync(),
    ]);
    return [values, values.map((value) => -value)];
  };

  test('slots of different lengths keep their own tokens across tidy and growth, and give everything back', () => {
    const before = tf.memory().numTensors;
    const cache = new KeyValueCache(2, 3, 150);
    let layer = feed(cache, 2, [
      { slot: 1, tokens: 3 },
      { slot: 0, tokens: 60 },
    ]);
    expect([0, 1, 2].map((slot) => cache.length(slot))).toEqual([60, 3, 0]);
    expect(cache.room).toBe(64);
    layer = feed(cache, 2, [
      { slot: 0, tokens: 1 },
      { slot: 1, tokens: 70 },
      { slot: 2, tokens: 1 },
    ]);
    expect(cache.room).toBe(128);
    for (const [slot, length] of [61, 73, 1].entries()) expect(held(cache, layer, slot)).toEqual(expected(slot, length));
    feed(cache, 2, [{ slot: 1, tokens: 60 }]);
    expect(cache.room).toBe(150);
    expect(() => cache.step([{ slot: 1, tokens: 18 }])).toThrow(/151 tokens exceed the capacity of 150/);
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a prompt is copied to siblings, and a slot given to another sequence', () => {
    const cache = new KeyValueCache(1, 4, 20);
    feed(cache, 1, [
      { slot: 1, tokens: 5 },
      { slot: 3, tokens: 4 },
    ]);
    cache.copy(1, [0, 2], 3);
    const layer = feed(cache, 1, [{ slot: 2, tokens: 1 }]);
    expect(held(cache, layer, 0)).toEqual(expected(1, 3));
    expect(held(cache, layer, 2).map((x) => x.slice(0, 6))).toEqual(expected(1, 3));
    expect(held(cache, layer, 2)[0].slice(6)).toEqual([2030, 2031]);
    cache.truncate(3, 2);
    const next = feed(cache, 1, [{ slot: 3, tokens: 1 }], 500);
    expect(held(cache, next, 3)[0]).toEqual([...expected(3, 2)[0], 3520, 3521]);
    expect(() => cache.truncate(3, 4)).toThrow(/holds 3 tokens, cannot be cut to 4/);
    expect(() => cache.copy(0, [1], 4)).toThrow(/holds 3 tokens, 4 cannot be copied/);
    cache.dispose();
  });

  test('attention over sequences fed in any pieces, side by side, equals attention over each of them whole', () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(pieces, { minLength: 1, maxLength: 4 }), fc.nat(1000), (plans, seed) => {
        tf.tidy(() => {
          const draw = (length: number, heads: number, more: number) =>
            tf.randomNormal([1, length, heads, 8], 0, 1, 'float32', seed + more) as tf.Tensor4D;
          const sequences = plans.map((plan, slot) => {
            const length = plan.reduce((a, b) => a + b);
            const [q, k, v] = [draw(length, 4, 3 * slot), draw(length, 2, 3 * slot + 1), draw(length, 2, 3 * slot + 2)];
            return { plan, q, k, v, whole: attention(q, k, v) };
          });
          const cache = new KeyValueCache(1, plans.length, 36);
          for (let turn = 0; plans.some((plan) => plan.length > turn); turn++) {
            const feeds = plans.flatMap((plan, slot) => (plan.length > turn ? [{ slot, tokens: plan[turn] }] : []));
            const part = (which: 'q' | 'k' | 'v' | 'whole') =>
              tf.concat(
                feeds.map(({ slot, tokens }) =>
                  tf.slice(sequences[slot][which], [0, startOf(plans[slot], turn), 0, 0], [1, tokens, -1, -1]),
                ),
                1,
              ) as tf.Tensor4D;
            const step = cache.step(feeds);
            const { k, v } = step.append(0, part('k'), part('v'));
            expectClose(attention(part('q'), k, v, { segments: step.segments }), part('whole').arraySync(), 1e-5, `turn ${turn}`);
          }
          cache.dispose();
        });
      }),
      { numRuns: 20, seed: 1 },
    );
  });
});

const startOf = (plan: readonly number[], turn: number): number => plan.slice(0, turn).reduce((a, b) => a + b, 0);
