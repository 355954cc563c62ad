import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { AdamW } from '../../src/tensors/adamW.js';
import { startBackend } from '../../src/tensors/backend.js';
import { expectClose, fixture, SETUPS } from './fixtures.js';

describe.each(SETUPS)('AdamW on %s', (_, setup) => {
  const f = fixture('adamw');

  beforeAll(async () => {
    await startBackend(setup);
  });

  test.each(f.runs as unknown[])('equals five steps of torch.optim.AdamW (run %#)', async (given) => {
    const run = given as { max_grad_norm: number | null; weight_decay: number; steps: Record<string, number[]>[] };
    const variables = { w: tf.variable(tf.tensor(f.w0)), b: tf.variable(tf.tensor(f.b0)) };
    const optimiser = new AdamW(variables);
    const before = tf.memory().numTensors;
    for (const [i, step] of run.steps.entries()) {
      const gradients = { w: tf.tensor(f.grads[i].w), b: tf.tensor(f.grads[i].b) };
      const norm = await optimiser.step(gradients, { learningRate: f.lr, weightDecay: run.weight_decay, clipNorm: run.max_grad_norm ?? 0 });
      tf.dispose(gradients);
      const expectedNorm = Math.hypot(...f.grads[i].w.flat(), ...f.grads[i].b);
      expect(norm).toBeCloseTo(expectedNorm, 5);
      expectClose(variables.w, step.w, 1e-6, 'w');
      expectClose(variables.b, step.b, 1e-6, 'b');
    }
    expect(tf.memory().numTensors).toBe(before);
    optimiser.dispose();
    tf.dispose(variables);
  });

  test('goes on from a restored state as if never interrupted', async () => {
    const start = () => {
      const variables = { w: tf.variable(tf.tensor(f.w0)), b: tf.variable(tf.tensor(f.b0)) };
      return { variables, optimiser: new AdamW(variables) };
    };
    const step = async (optimiser: AdamW, i: number) => {
      const gradients = { w: tf.tensor(f.grads[i].w), b: tf.tensor(f.grads[i].b) };
      await optimiser.step(gradients, { learningRate: 0.01 });
    };
    const whole = start();
    for (let i = 0; i < 5; i++) await step(whole.optimiser, i);
    const first = start();
    for (let i = 0; i < 2; i++) await step(first.optimiser, i);
    const second = start();
    second.variables.w.assign(first.variables.w);
    second.variables.b.assign(first.variables.b);
    second.optimiser.restore(await first.optimiser.state());
    for (let i = 2; i < 5; i++) await step(second.optimiser, i);
    expect(second.variables.w.arraySync()).toEqual(whole.variables.w.arraySync());
    expect(await second.optimiser.state()).toEqual(await whole.optimiser.state());
  });

  test('refuses a gradient that belongs to no variable, and moments of another size', async () => {
    const optimiser = new AdamW({ w: tf.variable(tf.zeros([2])) });
    await expect(optimiser.step({ other: tf.zeros([2]) }, { learningRate: 1 })).rejects.toThrow(/other/);
    expect(() => optimiser.restore({ steps: 1, first: { w: new Float32Array(3) }, second: { w: new Float32Array(2) } })).toThrow(
      /w should hold 2/,
    );
  });
});
