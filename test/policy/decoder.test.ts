/** The decoder held to Transformers 5.23 on two random models of its own (test/fixtures/xs_tied and xs_untied). */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { type DecoderOptions, type DecoderWeights, decode, headOf } from '../../src/policy/decoder.js';
import { generate } from '../../src/policy/generate.js';
import type { Policy } from '../../src/policy/policy.js';
import { startBackend } from '../../src/tensors/backend.js';
import { KeyValueCache } from '../../src/tensors/kv-cache.js';
import { linear } from '../../src/tensors/linear.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { expectArraysClose, expectGradient, type ForwardFixture, fixtureFolder, readFixture, unpadded } from './xs.js';

const B = 2;
const T = 24;

/** Logits of every position, [B * T, V]. */
function logitsOf(model: DecoderWeights, tokens: readonly number[][], options: DecoderOptions = {}): number[][] {
  return tf.tidy(() => {
    const [rows, length] = [tokens.length, tokens[0].length];
    const hidden = decode(model, Int32Array.from(tokens.flat()), [rows, length], options);
    const logits = linear(tf.reshape(hidden, [rows * length, model.config.hiddenSize]), headOf(model)) as tf.Tensor2D;
    return logits.arraySync();
  });
}

const leftPadded = ({ position_ids, attention_mask }: ForwardFixture): DecoderOptions => ({
  positions: Int32Array.from(position_ids.flat()),
  keyMask: tf.tensor2d(attention_mask as number[][]),
});

describe.each([
  ['simd', 'xs_tied'],
  ['simd', 'xs_untied'],
  ['cpu', 'xs_untied'],
] as const)('on %s, %s', (backend, name) => {
  const f = readFixture(name, 'forward.json') as ForwardFixture;
  let policy: Policy;

  beforeAll(async () => {
    await startBackend({ backend });
    policy = await loadPolicy(fixtureFolder(name));
  });
  afterAll(() => policy.dispose());

  test('logits, log-probabilities and entropies of a left-padded batch equal Transformers', () => {
    tf.tidy(() => {
      const hidden = tf.reshape(decode(policy, Int32Array.from(f.input_ids.flat()), [B, T], leftPadded(f)), [
        B * T,
        policy.config.hiddenSize,
      ]) as tf.Tensor2D;
      const logits = (linear(hidden, headOf(policy)) as tf.Tensor2D).arraySync();
      const next = tf.tensor1d(
        f.input_ids.flatMap((row) => [...row.slice(1), 0]),
        'int32',
      );
      const { logProbs, entropy } = selectedLogProbs(hidden, headOf(policy), next);
      const [p, h] = [logProbs.dataSync(), entropy.dataSync()];
      for (let b = 0; b < B; b++) {
        for (let t = 0; t < T; t++) {
          if (!f.attention_mask[b][t]) continue;
          expectArraysClose(logits[b * T + t], f.logits[b][t], 2e-5, `logits ${b}, ${t}`);
          expectArraysClose([h[b * T + t]], [f.entropy[b][t]], 2e-5, `entropy ${b}, ${t}`);
          if (t < T - 1) expectArraysClose([p[b * T + t]], [f.token_logprobs.values[b][t]], 2e-5, `log-probability ${b}, ${t}`);
        }
      }
    });
  });

  test('padding on the right changes nothing for the tokens before it', () => {
    const [full, short] = unpadded(f).map(({ tokens }) => tokens);
    const alone = logitsOf(policy, [short as number[]]);
    const batch = logitsOf(policy, [full as number[], [...short, ...new Array(T - short.length).fill(0)]]);
    for (let t = 0; t < short.length; t++) {
      expectArraysClose(batch[T + t], alone[t], 2e-5, `position ${t}`);
      expectArraysClose(alone[t], f.logits[1][T - short.length + t], 2e-5, `position ${t} against Transformers`);
    }
  });

  test('states of the positions that are asked for, and their gradients, are those among all', () => {
    const rows = Int32Array.of(3, 4, 23, 30, 47);
    const tokens = Int32Array.from(f.input_ids.flat());
    const d = policy.config.hiddenSize;
    const run = (asked: (options: DecoderOptions) => tf.Tensor2D) => {
      const { value, grads } = tf.variableGrads(() => {
        const states = asked(leftPadded(f)); // [R, d]
        return tf.sum(tf.mul(states, tf.cos(tf.reshape(tf.range(0, states.size), states.shape)))) as tf.Scalar;
      });
      return [value, ...Object.values(grads)].map((tensor) => tensor.dataSync());
    };
    const some = run((options) => tf.reshape(decode(policy, tokens, [B, T], { ...options, rows }), [rows.length, d]));
    const all = run((options) => tf.gather(tf.reshape(decode(policy, tokens, [B, T], options), [B * T, d]) as tf.Tensor2D, rows));
    expect(some.length).toBe(all.length);
    some.forEach((values, i) => {
      expectArraysClose(values, all[i], 2e-5, `result ${i}`);
    });
  });

  test.each([[[24]], [[1, 22, 1]], [[7, 5, 12]], [new Array(24).fill(1)]])(
    'a cache fed in pieces of %s gives what one pass gives',
    (pieces) => {
      const tokens = f.input_ids[0];
      const cache = new KeyValueCache(policy.config.layers, 1, T);
      const cached = [];
      for (let at = 0, i = 0; i < pieces.length; at += pieces[i++])
        cached.push(...logitsOf(policy, [tokens.slice(at, at + pieces[i])], { cache: cache.step([{ slot: 0, tokens: pieces[i] }]) }));
      cache.dispose();
      cached.forEach((row, t) => {
        expectArraysClose(row, f.logits[0][t], 2e-5, `position ${t}`);
      });
    },
  );

  test.each([1, 2])('greedy continuations equal Transformers token for token, %i at a time', async (batchSize) => {
    const prompts = unpadded(f).map(({ tokens }) => tokens);
    const before = tf.memory().numTensors;
    const written: number[][] = [[], []];
    const onToken = (row: number, token: number) => (written[row].push(token) === T ? 'end' : 'continue');
    const sequences = await generate(policy, prompts, { temperature: 0, seed: 1, maxTokens: 2 * T, batchSize, onToken });
    expect(sequences.map(({ tokens }) => tokens)).toEqual(f.greedy.new_tokens);
    expect(written).toEqual(f.greedy.new_tokens);
    expect(sequences.map(({ truncated, own }) => [truncated, own.every(Boolean)])).toEqual([
      [false, true],
      [false, true],
    ]);
    expect(tf.memory().numTensors).toBe(before);
    // The log-probabilities of greedy tokens are those of the distribution at temperature 1.
    sequences.forEach(({ tokens, logProbs }, row) => {
      const whole = logitsOf(policy, [[...prompts[row], ...tokens]]);
      const expected = tokens.map((token, i) => logSoftmax(whole[prompts[row].length - 1 + i])[token]);
      expectArraysClose(logProbs, expected, 2e-5, `row ${row}`);
    });
  });

  test('cross entropy and the gradient of every weight equal PyTorch, computed on the left-padded batch', () => {
    const { value, grads } = tf.tidy(() =>
      tf.variableGrads(() => {
        const hidden = tf.reshape(decode(policy, Int32Array.from(f.input_ids.flat()), [B, T], leftPadded(f)), [
          B * T,
          policy.config.hiddenSize,
        ]);
        const places = f.input_ids.flatMap((row, b) => row.flatMap((_, t) => (t >= 8 && f.attention_mask[b][t - 1] ? [b * T + t] : [])));
        const rows = tf.gather(
          hidden,
          tf.tensor1d(
            places.map((at) => at - 1),
            'int32',
          ),
        ) as tf.Tensor2D;
        const labels = tf.tensor1d(
          places.map((at) => f.input_ids.flat()[at]),
          'int32',
        );
        return tf.neg(tf.mean(selectedLogProbs(rows, headOf(policy), labels).logProbs)) as tf.Scalar;
      }, [...policy.weights.values()]),
    );
    expect(Math.abs(value.dataSync()[0] - f.cross_entropy.loss)).toBeLessThanOrEqual(1e-5);
    expect([...policy.weights.keys()].sort()).toEqual(Object.keys(f.cross_entropy.grads).sort());
    for (const [weight, variable] of policy.weights) expectGradient(weight, grads[variable.name].dataSync(), f.cross_entropy.grads[weight]);
    tf.dispose([value, grads as unknown as tf.TensorContainer]);
  });
});

function logSoftmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
  return logits.map((x) => x - top - total);
}
