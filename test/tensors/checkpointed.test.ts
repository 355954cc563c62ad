/** Checkpointed activations change nothing but memory and time. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import type { Paired } from '../../src/engines/engine.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { forwardKlLoss } from '../../src/ofsd/loss.js';
import { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { checkpointed } from '../../src/tensors/checkpointed.js';
import { valueAndGradients } from '../../src/tensors/gradients.js';
import { gradientsThrough, noTokenizer, tinyConfig } from '../policy/xs.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';
import { peakBytes } from './peak-bytes.js';

/** Two that begin alike, and one that does not; the teacher reads three tokens more. */
const source = random(1, 'checkpointed');
const ids = (count: number) => Array.from({ length: count }, () => source.integer(50));
const [beginning, more] = [ids(14), ids(3)];
const data = [[...beginning, ...ids(5)], [...beginning, ...ids(9)], ids(12)].map((tokens): Paired => {
  const scored = tokens.flatMap((_, t) => (t > 6 ? [t] : []));
  return { tokens, scored, teacher: { tokens: [...more, ...tokens], scored: scored.map((t) => t + 3) } };
});

const backends = ['simd', 'cpu', ...(swiftShaderCanRun ? (['webgpu'] as const) : [])] as const;
describe.each(backends)('on %s', (backend) => {
  beforeAll(async () => {
    useSwiftShader();
    await startBackend({ backend });
  });
  afterAll(async () => {
    await startBackend({ backend: 'cpu' });
  });

  test.each([0, 3])('loss, metrics and gradients are the same to the last bit, with an adapter of rank %i', async (rank) => {
    const before = tf.memory().numTensors;
    const [kept, again] = await Promise.all(
      [false, true].map(async (gradientCheckpointing) => {
        const policy = Policy.initialize(tinyConfig, random(1, 'weights'), { scale: 0.3 });
        const engine = inProcessEngine(policy, noTokenizer, { gradientCheckpointing });
        if (rank) {
          engine.addAdapter({ rank, alpha: 6, seed: 2 });
          for (const [name, b] of policy.adapter?.variables ?? [])
            if (name.includes('lora_B')) tf.tidy(() => b.assign(tf.randomNormal(b.shape, 0, 0.1, 'float32', 3)));
        }
        const losses = [crossEntropyLoss(data), ...(rank ? [forwardKlLoss(data, { clamp: 0.5 })] : [])];
        const result = await gradientsThrough(engine, losses, policy.trainable as ReadonlyMap<string, tf.Variable>);
        engine.dispose();
        return result;
      }),
    );
    expect(again).toEqual(kept);
    expect(kept.gradNorm).toBeGreaterThan(0);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a part', () => {
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
  });

  test('runs once without a gradient and twice with one, on constants that may be gone by then, within gradients of TensorFlow.js too', () => {
    tf.tidy(() => {
      const [x, weight, unread] = [tf.tensor2d([[1, 2]]), tf.tensor2d([[3, 4]]), tf.tensor1d([5])];
      let runs = 0;
      const part = (x: tf.Tensor) => {
        const scale = tf.scalar(2);
        const y = checkpointed(
          (x, { scale }) => {
            runs++;
            return tf.tanh(tf.mul(tf.mul(x, weight), scale));
          },
          x,
          { constants: { scale }, trained: [weight, unread] },
        );
        scale.dispose();
        return y;
      };
      const plain = (x: tf.Tensor) => tf.tanh(tf.mul(tf.mul(x, weight), tf.scalar(2)));
      const values = (tensors: readonly (tf.Tensor | undefined)[]) => tensors.map((tensor) => [...(tensor?.dataSync() ?? [])]);
      expect(values([part(x)])).toEqual(values([plain(x)]));
      expect(runs).toBe(1);
      const [dx, dWeight, none] = valueAndGradients(() => part(x), [x, weight, unread]).gradients;
      expect(runs).toBe(3);
      const expected = valueAndGradients(() => plain(x), [x, weight]).gradients;
      expect(values([dx, dWeight])).toEqual(values(expected));
      expect(values([none])).toEqual([[0]]);
      expect(values([tf.grad(part)(x)])).toEqual(values([expected[0]]));
    });
  });

  test('holds its input alone until it runs again', async () => {
    const x = tf.randomNormal([1000, 64], 0, 1, 'float32', 1);
    const deep = (x: tf.Tensor) => {
      let y = x;
      for (let i = 0; i < 10; i++) y = tf.sin(y);
      return y;
    };
    const one = 4 * 64_000;
    const parts = (part: (x: tf.Tensor) => tf.Tensor) => () =>
      tf.dispose(
        valueAndGradients(() => {
          let y: tf.Tensor = x;
          for (let i = 0; i < 8; i++) y = tf.tidy(() => part(y));
          return y;
        }, [x]).gradients as tf.Tensor[],
      );
    expect(await peakBytes(parts(deep))).toBeGreaterThanOrEqual(80 * one);
    expect(await peakBytes(parts((x) => checkpointed(deep, x, { constants: {}, trained: [] })))).toBeLessThan((8 + 10 + 5) * one);
    x.dispose();
  });
});
