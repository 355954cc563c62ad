/** One token of each sequence by the kernel: the bits of the operations one by one, for any shape, with and without an adapter, on any number of threads. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { weightShapes } from '../../../src/policy/config.js';
import { type DecoderWeights, decode, headOf, tokenDecoder } from '../../../src/policy/decoder.js';
import { createAdapter } from '../../../src/policy/lora.js';
import { Policy } from '../../../src/policy/policy.js';
import { random } from '../../../src/random.js';
import { startBackend } from '../../../src/tensors/backend.js';
import { KeyValueCache } from '../../../src/tensors/kv-cache.js';
import { linear } from '../../../src/tensors/linear.js';

const CONFIG = {
  ...{ vocabSize: 61, hiddenSize: 24, intermediateSize: 40, layers: 2, heads: 2, kvHeads: 1, headDim: 8, ropeTheta: 1e4 },
  ...{ rmsNormEpsilon: 1e-6, tiedEmbeddings: true, maxPositions: 512, endIds: [0], padId: 0 },
};
const CAPACITY = 30;

const configs = fc
  .record({
    ...{
      vocabSize: fc.integer({ min: 9, max: 70 }),
      hiddenSize: fc.integer({ min: 1, max: 40 }),
      intermediateSize: fc.integer({ min: 1, max: 300 }),
    },
    ...{ layers: fc.integer({ min: 1, max: 3 }), kvHeads: fc.integer({ min: 1, max: 3 }), group: fc.integer({ min: 1, max: 3 }) },
    ...{ half: fc.integer({ min: 1, max: 20 }), tiedEmbeddings: fc.boolean() },
  })
  .map(({ half, group, ...config }) => ({ ...CONFIG, ...config, heads: group * config.kvHeads, headDim: 2 * half }));

/** What slots hold already. */
const held = fc.array(fc.integer({ min: 1, max: CAPACITY - 1 }), { minLength: 1, maxLength: 50 });

/** Logits after one token a sequence, read by the kernel or by the operations, behind `lengths` tokens that the operations read. */
function logits(model: DecoderWeights, lengths: readonly number[], seed: number, byKernel: boolean): Float32Array {
  const { config } = model;
  const source = random(seed, 'tokens');
  const draw = (length: number) => Int32Array.from({ length }, () => source.integer(config.vocabSize));
  const cache = new KeyValueCache(config.layers, lengths.length, CAPACITY);
  const decoder = byKernel ? tokenDecoder(model, CAPACITY) : null;
  const next = tf.tidy(() => {
    const feeds = lengths.map((tokens, slot) => ({ slot, tokens }));
    const before = draw(lengths.reduce((a, b) => a + b));
    decode(model, before, [1, before.length], { cache: cache.step(feeds) });
    const tokens = draw(lengths.length);
    const step = cache.step(lengths.map((_, slot) => ({ slot, tokens: 1 })));
    if (decoder) return decoder.decode(tokens, step);
    const hidden = decode(model, tokens, [1, tokens.length], { cache: step });
    return linear(tf.reshape(hidden, [tokens.length, config.hiddenSize]), headOf(model));
  });
  const values = next.dataSync<'float32'>();
  next.dispose();
  decoder?.dispose();
  cache.dispose();
  return values;
}

describe('tokens decoded by one kernel', () => {
  // It would override what the tests ask for.
  beforeEach(() => {
    delete process.env.SEARCH_E1_THREADS;
  });

  test.each([1, 3])('give the bits of the operations on %i threads', async (threads) => {
    await startBackend({ backend: 'simd', threads });
    const before = tf.memory().numTensors;
    fc.assert(
      fc.property(configs, held, fc.integer({ min: 0, max: 5 }), fc.nat(1000), (config, lengths, rank, seed) => {
        const policy = Policy.initialize(config, random(seed, 'weights'), { scale: 0.3 });
        if (rank > 0) {
          policy.attachAdapter(createAdapter(config, { rank, alpha: 2, seed }));
          for (const variable of policy.trainable.values()) {
            const moved = tf.randomNormal(variable.shape, 0, 0.3, 'float32', seed);
            variable.assign(moved);
            moved.dispose();
          }
        }
        const [kernel, operations] = [true, false].map((byKernel) => logits(policy, lengths, seed, byKernel));
        policy.dispose();
        expect(kernel.every(Number.isFinite)).toBe(true);
        expect(Buffer.from(kernel.buffer).equals(Buffer.from(operations.buffer))).toBe(true);
      }),
      { numRuns: 60, seed: 1 },
    );
    expect(tf.memory().numTensors).toBe(before);
  });

  test('are checked before the kernel reads them', async () => {
    await startBackend({ backend: 'simd' });
    const policy = Policy.initialize(CONFIG, random(1, 'weights'));
    const cache = new KeyValueCache(CONFIG.layers, 2, CAPACITY);
    const decoder = tokenDecoder(policy, 5);
    if (!decoder) throw new Error('the simd backend has this kernel');
    const one = () => cache.step([{ slot: 0, tokens: 1 }]);
    expect(() => decoder.decode(Int32Array.of(1), one())).toThrow(/layer 0 has not been appended to yet/);
    tf.tidy(() => decode(policy, Int32Array.of(1, 2), [1, 2], { cache: cache.step([{ slot: 0, tokens: 2 }]) }));
    expect(() => decoder.decode(Int32Array.of(1, 2), one())).toThrow(/2 tokens for a step of 1/);
    expect(() => decoder.decode(Int32Array.of(61), one())).toThrow(/id 61 at 0 should be in \[0, 61\)/);
    expect(() => decoder.decode(Int32Array.of(60), one())).toThrow(/id 5 at 0 should be in \[0, 5\)/);
    decoder.dispose();
    cache.dispose();
    policy.dispose();
  });

  test('are read by the operations where weights are large, or there is no kernel', async () => {
    await startBackend({ backend: 'simd' });
    const config = { ...CONFIG, vocabSize: 2 ** 20, hiddenSize: 32 };
    const large = Policy.fromTensors(config, new Map([...weightShapes(config)].map(([name, shape]) => [name, tf.fill([...shape], 0)])));
    expect(tokenDecoder(large, 5)).toBeNull();
    large.dispose();
    await startBackend({ backend: 'cpu' });
    const policy = Policy.initialize(CONFIG, random(1, 'weights'));
    expect(tokenDecoder(policy, 5)).toBeNull();
    policy.dispose();
  });
});
