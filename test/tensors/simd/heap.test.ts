import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { startBackend } from '../../../src/tensors/backend.js';
import type { SimdBackend } from '../../../src/tensors/simd/backend.js';
import { Heap } from '../../../src/tensors/simd/heap.js';

const MB = 2 ** 20;

describe('Heap', () => {
  test('gives out blocks that lie apart and inside memory, and is whole again once all are back', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 3 * MB }), fc.nat()), { maxLength: 80 }), (steps) => {
        const heap = new Heap(128 * MB);
        const blocks: { start: number; bytes: number }[] = [];
        for (const [bytes, choice] of steps) {
          if (choice % 3 === 0 && blocks.length > 0) heap.release(blocks.splice(choice % blocks.length, 1)[0].start);
          else blocks.push({ start: heap.allocate(bytes), bytes });
          const sorted = [...blocks].sort((a, b) => a.start - b.start);
          sorted.forEach(({ start, bytes: size }, i) => {
            expect(start).toBeGreaterThan(0);
            expect(start % 64).toBe(0);
            expect(start + size).toBeLessThanOrEqual(sorted[i + 1]?.start ?? heap.bytes);
          });
        }
        for (const { start } of blocks) heap.release(start);
        expect(heap.bytesInUse).toBe(0);
        const before = heap.bytes;
        heap.release(heap.allocate(before - 64)); // one block again: all but the first unit
        expect(heap.bytes).toBe(before);
      }),
      { numRuns: 50 },
    );
  });

  test('grows on demand, keeps what was written, and says what is in use beyond its maximum', () => {
    const heap = new Heap(128 * MB);
    const start = heap.allocate(40 * MB);
    const values = heap.floats(start, 3);
    values.set([1, 2, 3]);
    heap.allocate(70 * MB);
    expect(heap.bytes).toBeGreaterThan(110 * MB);
    expect([...heap.floats(start, 3)]).toEqual([1, 2, 3]);
    values[0] = 4; // a view made before memory grew
    expect(heap.floats(start, 1)[0]).toBe(4);
    expect(() => heap.allocate(40 * MB)).toThrow(/110 MB in use of at most 128 MB, and no room for another 40 MB/);
  });

  test('refuses a block that is not in use', () => {
    const heap = new Heap(64 * MB);
    const start = heap.allocate(100);
    heap.release(start);
    expect(() => heap.release(start)).toThrow(/freed twice/);
  });
});

describe('tensors in shared memory', () => {
  let backend: SimdBackend;

  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    backend = tf.backend() as unknown as SimdBackend;
  });

  test('give their memory back when disposed', () => {
    tf.tidy(() => tf.matMul(tf.ones([9, 9]), tf.ones([9, 9]))); // what kernels work in stays
    const before = backend.heap.bytesInUse;
    const a = tf.ones([300, 300]);
    const b = tf.clone(a);
    const c = tf.matMul(a, b);
    expect(backend.heap.bytesInUse - before).toBeGreaterThanOrEqual(2 * 360_000);
    a.dispose();
    expect(b.dataSync()[0]).toBe(1); // still held by the clone
    tf.dispose([b, c]);
    expect(backend.heap.bytesInUse).toBe(before);
  });

  test('are copied in and out: arrays of the caller stay his', () => {
    const given = Float32Array.of(1, 2, 3);
    const x = tf.tensor1d(given);
    given[0] = 9;
    const read = x.dataSync();
    x.dispose();
    tf.tensor1d([7, 7, 7]).dispose(); // takes the same memory
    expect([...read]).toEqual([1, 2, 3]);
  });

  test('move to the cpu backend and back', async () => {
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    await startBackend({ backend: 'cpu' });
    const y = tf.add(x, 1);
    await startBackend({ backend: 'simd' });
    expect([...tf.mul(y, 2).dataSync()]).toEqual([4, 6, 8, 10]);
  });

  test('hold no memory after a training-like loop', () => {
    const w = tf.variable(tf.randomNormal([64, 64], 0, 1, 'float32', 1));
    const step = () =>
      tf.tidy(() => {
        const { grads } = tf.variableGrads(() => tf.mean(tf.square(tf.matMul(tf.sigmoid(w), w))) as tf.Scalar, [w]);
        w.assign(tf.sub(w, tf.mul(grads[w.name], 0.1)));
      });
    step();
    const before = backend.heap.bytesInUse;
    for (let i = 0; i < 20; i++) step();
    expect(backend.heap.bytesInUse).toBe(before);
    w.dispose();
  });
});
