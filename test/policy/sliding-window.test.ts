/** Sliding windows as segments, held to attention with an explicit mask: `key > query - window` and `key <= query` (Transformers' masking_utils). */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { withinWindow } from '../../src/policy/sliding-window.js';
import { type AttentionSegment, attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';

const [HEADS, KEY_HEADS, WIDTH] = [4, 2, 8];

/** Positions that a query of the segments may read, as rows of keys, by going through the segments. */
function rowsRead(segments: readonly AttentionSegment[]): number[][] {
  return segments.flatMap(({ queries, keys, from, before = [] }) => {
    const all = [...before, { from, keys }].flatMap((range) => Array.from({ length: range.keys }, (_, i) => range.from + i));
    return Array.from({ length: queries }, (_, i) => all.slice(0, all.length - queries + i + 1));
  });
}

const sequences = fc.array(fc.record({ shared: fc.integer({ min: 0, max: 6 }), queries: fc.integer({ min: 1, max: 12 }) }), {
  minLength: 1,
  maxLength: 4,
});

/** Sequences end to end; each may begin with the first rows of the one before. */
function packed(parts: readonly { readonly shared: number; readonly queries: number }[]): AttentionSegment[] {
  let from = 0;
  return parts.map(({ shared, queries }, i) => {
    const previous = i > 0 ? { from: from - parts[i - 1].queries, keys: Math.min(shared, parts[i - 1].queries) } : { from: 0, keys: 0 };
    const segment = { queries, keys: queries, from, before: previous.keys > 0 ? [previous] : [] };
    from += queries;
    return segment;
  });
}

test('a query reads the last of the keys that it read before, itself included', () => {
  fc.assert(
    fc.property(sequences, fc.integer({ min: 1, max: 10 }), (parts, window) => {
      const segments = packed(parts);
      const expected = rowsRead(segments).map((rows) => rows.slice(-window));
      expect(rowsRead(withinWindow(segments, window) ?? segments)).toEqual(expected);
    }),
  );
});

test('nothing is cut up to the window', () => {
  expect(withinWindow([{ queries: 8, keys: 8, from: 0 }], 8)).toBeUndefined();
  expect(withinWindow([{ queries: 1, keys: 8, from: 64 }], 7)).toEqual([
    { queries: 1, keys: 1, from: 71, before: [{ from: 65, keys: 6 }] },
  ]);
});

describe.each(['simd', 'cpu'] as const)('on %s', (backend) => {
  test('values and gradients are those of the masked formula', async () => {
    await startBackend({ backend });
    const [length, window] = [11, 4];
    const draw = (heads: number, seed: number) => tf.randomNormal([1, length, heads, WIDTH], 0, 1, 'float32', seed) as tf.Tensor4D;
    const [q, k, v, dy] = [draw(HEADS, 1), draw(KEY_HEADS, 2), draw(KEY_HEADS, 3), draw(HEADS, 4)];
    const masked = (q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D) => {
      const byHead = (x: tf.Tensor4D) =>
        tf.transpose(tf.reshape(tf.stack(Array(HEADS / x.shape[2]).fill(x), 3), [length, HEADS, WIDTH]), [1, 0, 2]);
      const hidden = tf.tensor2d(
        Array.from({ length }, (_, i) => Array.from({ length }, (_, j) => (j <= i && j > i - window ? 0 : -1e30))),
      );
      const scores = tf.add(tf.mul(tf.matMul(byHead(q), byHead(k), false, true), 1 / Math.sqrt(WIDTH)), hidden); // [H, T, T]
      return tf.reshape(tf.transpose(tf.matMul(tf.softmax(scores), byHead(v)), [1, 0, 2]), q.shape) as tf.Tensor4D;
    };
    const segments = withinWindow([{ queries: length, keys: length, from: 0 }], window);
    const both = [masked, (q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D) => attention(q, k, v, { segments })].map((read) => {
      const { value, grads } = tf.valueAndGrads((...x) =>
        tf.sum(tf.mul(read(x[0] as tf.Tensor4D, x[1] as tf.Tensor4D, x[2] as tf.Tensor4D), dy)),
      )([q, k, v]);
      return [read(q, k, v), value, ...grads].map((each) => [...each.dataSync()]);
    });
    both[0].flat().forEach((value, i) => expect(Math.abs(both[1].flat()[i] - value)).toBeLessThanOrEqual(1e-5));
  });
});
