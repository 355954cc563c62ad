/** Logits of a sequence, held to Transformers, and what is no sequence. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { logits } from '../../src/policy/logits.js';
import type { Policy } from '../../src/policy/policy.js';
import { startBackend } from '../../src/tensors/backend.js';
import { entropyFromLogits } from '../../src/tensors/entropy.js';
import { expectArraysClose, type ForwardFixture, fixtureFolder, readFixture, unpadded } from './xs.js';

describe.each(['xs_tied', 'xs_untied'])('of %s', (name) => {
  const f = readFixture(name, 'forward.json') as ForwardFixture;
  let policy: Policy;
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    policy = await loadPolicy(fixtureFolder(name));
  });
  afterAll(() => policy.dispose());

  test('equal Transformers at every position, and so does their entropy; nothing else is left on the backend', async () => {
    for (const [b, { tokens }] of unpadded(f).entries()) {
      const padding = f.input_ids[b].length - tokens.length;
      const before = tf.memory().numTensors;
      const rows = logits(policy, tokens);
      const entropy = entropyFromLogits(rows);
      expect(tf.memory().numTensors).toBe(before + 2);
      expect(rows.shape).toEqual([tokens.length, policy.config.vocabSize]);
      for (const [t, row] of (await rows.array()).entries())
        expectArraysClose(row, f.logits[b][t + padding], 2e-5, `row ${b}, position ${t}`);
      expectArraysClose(await entropy.array(), f.entropy[b].slice(padding), 2e-5, `entropies of row ${b}`);
      tf.dispose([rows, entropy]);
    }
  });

  test.each([
    [[], /expected at least one token id, got none/],
    ['who', /ids: expected a list of token ids, got "who"/],
    [[1, 256], /ids\[1\] is 256, expected a token id from 0 to 255/],
    [[Number.NaN], /ids\[0\] is NaN/],
    [[1.5], /ids\[0\] is 1\.5/],
  ])('of %j are refused', (ids, message) => {
    expect(() => logits(policy, ids as number[])).toThrow(message);
  });
});

test('the entropy of logits with tokens that cannot come counts the others alone', () => {
  const never = Number.NEGATIVE_INFINITY;
  const rows = tf.tensor2d([
    [0, never, 0, never],
    [5, never, never, never],
  ]);
  expectArraysClose(entropyFromLogits(rows).arraySync(), [Math.LN2, 0], 1e-6, 'two of four, one of four');
  expect(() => entropyFromLogits(tf.tensor1d([1, 2]) as never)).toThrow(/expected logits \[N, V\], got \[2\]/);
});
