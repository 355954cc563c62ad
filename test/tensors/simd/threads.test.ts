/** The same bits on any number of threads. */
import { setTimeout } from 'node:timers/promises';
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, test } from 'vitest';
import { decode, headOf } from '../../../src/policy/decoder.js';
import { createAdapter } from '../../../src/policy/lora.js';
import { Policy } from '../../../src/policy/policy.js';
import { random } from '../../../src/random.js';
import { AdamW } from '../../../src/tensors/adamW.js';
import { startBackend } from '../../../src/tensors/backend.js';
import { forwardKl } from '../../../src/tensors/forward-kl.js';
import { linear } from '../../../src/tensors/linear.js';
import { sampleTokens } from '../../../src/tensors/sample-tokens.js';
import { selectedLogProbs } from '../../../src/tensors/selected-log-probs.js';

const CONFIG = {
  ...{ vocabSize: 517, hiddenSize: 72, intermediateSize: 100, layers: 2, heads: 4, kvHeads: 2, headDim: 18, ropeTheta: 1e4 },
  ...{ rmsNormEpsilon: 1e-6, tiedEmbeddings: true, maxPositions: 512, endIds: [0], padId: 0 },
};
const [B, T] = [9, 77];

/** A training step with every fused operation, with or without an adapter; all numbers that come out. */
async function trainingStep(threads: number, adapted: boolean): Promise<Float32Array[]> {
  await startBackend({ backend: 'simd', threads });
  const policy = Policy.initialize(CONFIG, random(1, 'weights'), { scale: 0.2 });
  if (adapted) policy.adapter = createAdapter(CONFIG, { rank: 4, alpha: 8, seed: 3 });
  const stream = random(2, 'tokens');
  const ids = Int32Array.from({ length: B * T }, () => Math.floor(stream.uniform() * CONFIG.vocabSize));
  const trained = [...policy.trainable.values()];
  const { value, grads } = tf.tidy(() =>
    tf.variableGrads(() => {
      const hidden = tf.reshape(decode(policy, ids, [B, T]), [B * T, CONFIG.hiddenSize]) as tf.Tensor2D;
      const { logProbs, entropy } = selectedLogProbs(hidden, headOf(policy), tf.tensor1d(ids, 'int32'));
      const logits = linear(hidden, headOf(policy)) as tf.Tensor2D;
      const { perToken } = forwardKl(tf.mul(logits, 0.5), logits, { clamp: 0.05 });
      return tf.add(tf.sub(tf.mean(perToken), tf.mean(logProbs)), tf.mean(entropy)) as tf.Scalar;
    }, trained),
  );
  const optimiser = new AdamW(Object.fromEntries(trained.map((variable) => [variable.name, variable])));
  const norm = await optimiser.step(grads, { learningRate: 0.01, clipNorm: 1 });
  const logits = tf.tidy(() => tf.randomNormal([50, 517], 0, 3, 'float32', 5) as tf.Tensor2D);
  const drawn = await sampleTokens(
    logits,
    1,
    Float32Array.from({ length: 50 }, (_, i) => i / 50),
  );
  const results = [
    Float32Array.of(norm),
    value.dataSync() as Float32Array,
    ...Object.values(grads).map((gradient) => gradient.dataSync() as Float32Array),
    ...trained.map((variable) => variable.dataSync() as Float32Array),
    Float32Array.from(drawn.tokens),
    drawn.logProbs,
  ];
  tf.dispose([value, grads, logits]);
  optimiser.dispose();
  policy.dispose();
  return results;
}

describe('threads', () => {
  // It would override what the tests ask for.
  beforeEach(() => {
    delete process.env.SEARCH_E1_THREADS;
  });

  test.each([false, true])('change no bit of a training step (adapter: %s)', async (adapted) => {
    const alone = await trainingStep(1, adapted);
    expect(alone.every((values) => values.every(Number.isFinite))).toBe(true);
    for (const threads of [2, 3, 5]) {
      const shared = await trainingStep(threads, adapted);
      expect(shared.length).toBe(alone.length);
      shared.forEach((values, i) => {
        expect(Buffer.from(values.buffer).equals(Buffer.from(alone[i].buffer)), `result ${i} on ${threads} threads`).toBe(true);
      });
    }
  });

  test('change no bit of products that are cut in every way', async () => {
    const shapes = [
      [2000, 40, 30],
      [40, 700, 300],
      [1, 900, 128],
      [333, 129, 800],
      [7, 5, 3000],
      [0, 700, 30],
    ];
    const numbers = Float32Array.from({ length: 270_000 }, (_, i) => Math.sin(i * 12.9898) * 1.7);
    const matrix = (shape: [number, number]) => tf.tensor2d(numbers.subarray(0, shape[0] * shape[1]), shape);
    const products = async (threads: number) => {
      await startBackend({ backend: 'simd', threads });
      return tf.tidy(() =>
        shapes
          .flatMap(([m, n, k]) => [
            ...[false, true].map((turned) => tf.matMul(matrix(turned ? [k, m] : [m, k]), matrix([k, n]), turned)),
            linear(matrix([m, k]), matrix([n, k]), undefined, { adapter: { a: matrix([5, k]), b: matrix([n, 5]), scale: 0.5 } }),
          ])
          .map((product) => product.dataSync() as Float32Array),
      );
    };
    const alone = await products(1);
    for (const threads of [2, 3, 7]) {
      (await products(threads)).forEach((values, i) => {
        expect(Buffer.from(values.buffer).equals(Buffer.from(alone[i].buffer)), `product ${i} on ${threads} threads`).toBe(true);
      });
    }
  });

  test('come and go between any two operations', async () => {
    const numbers = Float32Array.from({ length: 300 * 200 }, (_, i) => Math.sin(i * 12.9898));
    const product = () =>
      tf.tidy(() => {
        const a = tf.tensor2d(numbers, [300, 200]);
        return tf.matMul(a, a, false, true).dataSync() as Float32Array;
      });
    await startBackend({ backend: 'simd', threads: 1 });
    const alone = Buffer.from(product().buffer);
    for (let i = 0; i < 4; i++) {
      await startBackend({ backend: 'simd', threads: 4 });
      await setTimeout(80); // by now they run
      await startBackend({ backend: 'simd', threads: 1 });
      await startBackend({ backend: 'simd', threads: 4 }); // those told to stop are still about
      for (let j = 0; j < 20; j++) expect(Buffer.from(product().buffer).equals(alone)).toBe(true);
    }
  });

  test.skipIf(process.platform === 'win32')('go on right after a job that an interrupted cell has cut off', async () => {
    await startBackend({ backend: 'simd', threads: 2 });
    const [a, b, c] = [tf.randomNormal([600, 1500]), tf.randomNormal([1500, 1500]), tf.randomNormal([37, 1500])];
    const expected = Buffer.from(tf.matMul(c, b).dataSync().buffer);
    const ignored = () => {};
    process.on('SIGINT', ignored); // one that comes late
    Object.assign(globalThis, {
      cell: () => {
        for (;;) tf.tidy(() => tf.matMul(a, b));
      },
    });
    for (let i = 0; i < 10; i++) {
      new Worker(`setTimeout(() => process.kill(${process.pid}, 'SIGINT'), ${40 + 7 * i})`, { eval: true });
      expect(() => vm.runInThisContext('cell()', { breakOnSigint: true })).toThrow(/interrupted/);
      Object.assign(tf.engine().state, { kernelDepth: 0 });
      for (let j = 0; j < 5; j++) expect(Buffer.from(tf.tidy(() => tf.matMul(c, b).dataSync()).buffer).equals(expected)).toBe(true);
    }
    process.off('SIGINT', ignored);
    Object.assign(globalThis, { cell: undefined });
  });

  test('are as many as asked for, by option or by SEARCH_E1_THREADS', async () => {
    expect((await startBackend({ backend: 'simd', threads: 1 })).description).toMatch(/one thread/);
    expect((await startBackend({ backend: 'simd', threads: 3 })).description).toMatch(/3 threads/);
    process.env.SEARCH_E1_THREADS = '2';
    expect((await startBackend({ backend: 'simd', threads: 3 })).description).toMatch(/2 threads/);
    process.env.SEARCH_E1_THREADS = 'many';
    await expect(startBackend({ backend: 'simd' })).rejects.toThrow(/SEARCH_E1_THREADS.*expected an integer from 1 to 64, got many/);
    delete process.env.SEARCH_E1_THREADS;
    await expect(startBackend({ backend: 'simd', threads: 0 })).rejects.toThrow(/threads: expected an integer from 1 to 64, got 0/);
  });
});
