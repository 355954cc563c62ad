/** A process in which nobody calls `startBackend`: the tests are in the order in which one program would meet this. */
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { openEngine } from '../../src/engines/open.js';
import { Policy } from '../../src/policy/policy.js';
import { qwen25Configs } from '../../src/policy/qwen2.5.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { basePolicyFolder } from '../../src/tinypedia/base-policy.js';

test('random weights, which cannot wait for a backend, say that one must be started', () => {
  expect(() => Policy.initialize(qwen25Configs['0.5b'], random(1))).toThrow(
    /Policy.initialize: no backend is started; call `await startBackend\(\)` before/,
  );
  expect(tf.getBackend()).toBeFalsy();
});

test('a missing checkpoint is named before a backend is started', async () => {
  await expect(openEngine('/there/is/none')).rejects.toThrow(/\/there\/is\/none/);
  expect(tf.getBackend()).toBeFalsy();
});

test('opening a policy starts what startBackend() would have taken, and two at once start it once', async () => {
  const engines = await Promise.all([openEngine(), openEngine(basePolicyFolder())]);
  const active = tf.getBackend();
  expect(active).not.toBe('cpu'); // plain JavaScript, tfjs's own choice
  expect((await startBackend()).name).toBe(active);
  for (const engine of engines) engine.dispose();
});

test('what was chosen explicitly stays', async () => {
  await startBackend({ backend: 'cpu' });
  (await openEngine()).dispose();
  expect(tf.getBackend()).toBe('cpu');
});
