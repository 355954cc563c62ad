/** One token of each sequence by the kernel for TensorFlow, beside the operations one by one: any shape, with and without an adapter. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DecoderWeights, decode, headOf, tokenDecoder } from '../../../src/policy/decoder.js';
import { createAdapter } from '../../../src/policy/lora.js';
import { Policy } from '../../../src/policy/policy.js';
import { random } from '../../../src/random.js';
import { startBackend } from '../../../src/tensors/backend.js';
import { KeyValueCache } from '../../../src/tensors/kv-cache.js';
import { linear } from '../../../src/tensors/linear.js';
import { tensorFlow } from './set-up.js';

const CAPACITY = 40;

const configs = fc
  .record({
    ...{ vocabSize: fc.integer({ min: 9, max: 70 }), hiddenSize: fc.integer({ min: 1, max: 40 }) },
    ...{ intermediateSize: fc.integer({ min: 1, max: 100 }), layers: fc.integer({ min: 1, max: 3 }) },
    ...{ kvHeads: fc.integer({ min: 1, max: 3 }), group: fc.integer({ min: 1, max: 3 }), half: fc.integer({ min: 1, max: 20 }) },
  })
  .map(({ half, group, ...config }) => ({
    ...{ ...config, heads: group * config.kvHeads, headDim: 2 * half, ropeTheta: 1e4, rmsNormEpsilon: 1e-6 },
    ...{ tiedEmbeddings: true, maxPositions: 512, endIds: [0], padId: 0 },
  }));

/** Logits of one token a sequence behind `lengths` tokens, and of one more, which reads what the first has left in the cache. */
function logits(model: DecoderWeights, lengths: readonly number[], seed: number, byKernel: boolean): number[][] {
  const { config } = model;
  const source = random(seed, 'tokens');
  const draw = (length: number) => Int32Array.from({ length }, () => source.integer(config.vocabSize));
  const cache = new KeyValueCache(config.layers, lengths.length, CAPACITY);
  const decoder = byKernel ? tokenDecoder(model, CAPACITY) : null;
  expect(decoder !== null).toBe(byKernel);
  const before = draw(lengths.reduce((a, b) => a + b));
  tf.dispose(
    tf.tidy(() => decode(model, before, [1, before.length], { cache: cache.step(lengths.map((tokens, slot) => ({ slot, tokens }))) })),
  );
  const read = [0, 1].map(() =>
    tf.tidy(() => {
      const tokens = draw(lengths.length);
      const step = cache.step(lengths.map((_, slot) => ({ slot, tokens: 1 })));
      if (decoder) return [...decoder.decode(tokens, step).dataSync()];
      const hidden = decode(model, tokens, [1, tokens.length], { cache: step });
      return [...linear(tf.reshape(hidden, [tokens.length, config.hiddenSize]), headOf(model)).dataSync()];
    }),
  );
  decoder?.dispose();
  cache.dispose();
  return read;
}

describe.skipIf(!tensorFlow.kernels)(`tokens decoded by one kernel on tensorflow${tensorFlow.missing}`, () => {
  test('have the logits of the operations', async () => {
    await startBackend({ backend: 'tensorflow' });
    const left = tf.memory().numTensors;
    fc.assert(
      fc.property(
        configs,
        fc.array(fc.integer({ min: 1, max: CAPACITY - 2 }), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 0, max: 5 }),
        fc.nat(1000),
        (config, lengths, rank, seed) => {
          const policy = Policy.initialize(config, random(seed, 'weights'), { scale: 0.3 });
          if (rank > 0) {
            policy.attachAdapter(createAdapter(config, { rank, alpha: 2, seed }));
            for (const variable of policy.trainable.values())
              tf.tidy(() => variable.assign(tf.randomNormal(variable.shape, 0, 0.3, 'float32', seed)));
          }
          const [kernel, operations] = [true, false].map((byKernel) => logits(policy, lengths, seed, byKernel).flat());
          policy.dispose();
          const scale = operations.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
          const worst = kernel.reduce((most, value, i) => Math.max(most, Math.abs(value - operations[i])), 0); // NaN stays NaN
          expect(worst / scale).toBeLessThan(1e-4);
        },
      ),
      { numRuns: 40 },
    );
    expect(tf.memory().numTensors).toBe(left);
  });

  test('are checked before the kernel reads them', async () => {
    await startBackend({ backend: 'tensorflow' });
    const [config] = fc.sample(configs, { numRuns: 1, seed: 1 });
    const policy = Policy.initialize(config, random(1, 'weights'));
    const cache = new KeyValueCache(config.layers, 1, CAPACITY);
    const decoder = tokenDecoder(policy, 5);
    tf.dispose(tf.tidy(() => decode(policy, Int32Array.of(1, 2), [1, 2], { cache: cache.step([{ slot: 0, tokens: 2 }]) })));
    const outside = Int32Array.of(config.vocabSize);
    expect(() => decoder?.decode(outside, cache.step([{ slot: 0, tokens: 1 }]))).toThrow(/id \d+ at 0 should be in \[0, \d+\)/);
    decoder?.dispose();
    cache.dispose();
    policy.dispose();
  });
});
