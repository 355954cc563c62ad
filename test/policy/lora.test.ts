/** LoRA held to PEFT 0.21: an adapter with both matrices random on xs_tied (test/fixtures/lora). */
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { decode, headOf } from '../../src/policy/decoder.js';
import { createAdapter } from '../../src/policy/lora.js';
import type { Policy } from '../../src/policy/policy.js';
import { openSafetensors } from '../../src/policy/safetensors.js';
import { startBackend } from '../../src/tensors/backend.js';
import { linear } from '../../src/tensors/linear.js';
import {
  type ExpectedGradient,
  expectArraysClose,
  expectGradient,
  fixtureFolder,
  gradientsThrough,
  noTokenizer,
  readFixture,
  unpadded,
} from './xs.js';

const expected = readFixture('lora', 'expected.json');
const PREFIX = 'base_model.model.';

/** Puts PEFT's file into the policy's adapter; both must name the same tensors. */
async function attach(policy: Policy): Promise<void> {
  const { r, lora_alpha } = readFixture('lora', 'adapter_config.json');
  policy.addAdapter({ rank: r, alpha: lora_alpha, seed: 1 });
  const variables = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
  const file = await openSafetensors(fixtureFolder('lora', 'adapter_model.safetensors'));
  expect([...variables.keys()].map((name) => PREFIX + name).sort()).toEqual([...file.records.keys()].sort());
  for (const [name, variable] of variables) {
    expect(variable.shape).toEqual(file.records.get(PREFIX + name)?.shape);
    const values = await file.read(PREFIX + name);
    tf.tidy(() => variable.assign(tf.tensor(values, variable.shape)));
  }
  await file.close();
}

/** Logits of the left-padded row and the other one, each without padding. */
function expectLogits(policy: Policy, logits: readonly number[][][], tolerance: number, what: string): void {
  unpadded(expected).forEach(({ tokens }, b) => {
    tf.tidy(() => {
      const hidden = tf.reshape(decode(policy, Int32Array.from(tokens), [1, tokens.length]), [tokens.length, policy.config.hiddenSize]);
      const got = (linear(hidden, headOf(policy)) as tf.Tensor2D).arraySync();
      got.forEach((row, t) => {
        expectArraysClose(row, logits[b][logits[b].length - tokens.length + t], tolerance, `${what} ${b}, ${t}`);
      });
    });
  });
}

describe.each(['simd', 'cpu'] as const)('on %s', (backend) => {
  let policy: Policy;
  beforeAll(async () => {
    await startBackend({ backend });
  });
  afterEach(() => policy.dispose());

  test('logits with the adapter on, and after merging it, equal PEFT', async () => {
    policy = await loadPolicy(fixtureFolder('xs_tied'));
    const before = tf.memory().numTensors;
    await attach(policy);
    expectLogits(policy, expected.logits, 3e-5, 'adapter on');
    policy.mergeAdapter();
    expect(policy.adapter).toBeNull();
    expectLogits(policy, expected.merged_logits, 3e-5, 'merged');
    for (const [name, sample] of Object.entries(expected.merged_weight_samples as Record<string, number[]>)) {
      expectArraysClose((policy.weights.get(name) as tf.Variable).dataSync().slice(0, sample.length), sample, 1e-6, name);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  test('taking the adapter off again leaves the base model', async () => {
    policy = await loadPolicy(fixtureFolder('xs_tied'));
    await attach(policy);
    policy.dropAdapter();
    expectLogits(policy, readFixture('xs_tied', 'forward.json').logits, 2e-5, 'dropped');
  });

  test('the gradient of every A and B equals PyTorch, and no other weight moves', async () => {
    policy = await loadPolicy(fixtureFolder('xs_tied'));
    const engine = inProcessEngine(policy, noTokenizer);
    await attach(policy);
    engine.resetOptimizer(); // the optimiser learns of the adapter
    const variables = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
    const weights = await policy.values();
    const { reports, gradients } = await gradientsThrough(engine, [crossEntropyLoss(unpadded(expected))], variables);
    expect(Math.abs(reports[0].loss - expected.loss)).toBeLessThanOrEqual(1e-5);
    const peftName = (name: string) => (PREFIX + name).replace(/\.weight$/, '.default.weight');
    expect([...variables.keys()].map(peftName).sort()).toEqual(Object.keys(expected.grads).sort());
    for (const [name, gradient] of gradients) {
      expectGradient(name, gradient, expected.grads[peftName(name)] as ExpectedGradient);
      const full = expected.full_grads[peftName(name)] as number[][] | undefined;
      if (full) expectArraysClose(gradient, full.flat(), 1e-4 * expected.grads[peftName(name)].norm, `${name}, entire`);
    }
    expect(await policy.values()).toEqual(weights);
  });
});

describe('a fresh adapter', () => {
  let policy: Policy;
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    policy = await loadPolicy(fixtureFolder('xs_untied'));
  });
  afterEach(() => policy.dropAdapter());

  test('changes nothing, on or merged', async () => {
    const before = await policy.values();
    const logits = readFixture('xs_untied', 'forward.json').logits;
    policy.addAdapter({ rank: 4, alpha: 8, seed: 3 });
    expectLogits(policy, logits, 2e-5, 'fresh');
    policy.mergeAdapter();
    expect(await policy.values()).toEqual(before);
  });

  test('is the same for the same seed, and another for another', () => {
    const values = (seed: number) => {
      const { variables } = createAdapter(policy.config, { rank: 2, alpha: 2, seed });
      const all = [...variables.values()].flatMap((v) => [...v.dataSync()]);
      for (const v of variables.values()) v.dispose();
      return all;
    };
    expect(values(1)).toEqual(values(1));
    expect(values(1)).not.toEqual(values(2));
  });

  test("has PEFT's start: A uniform in +-1/sqrt(in), B zero, on the seven linear layers of each block and nothing else", () => {
    policy.addAdapter({ rank: 64, alpha: 8, seed: 3 });
    const variables = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
    expect(variables.size).toBe(policy.config.layers * 7 * 2);
    for (const [name, variable] of variables) {
      const values = [...variable.dataSync()];
      if (name.includes('lora_B')) expect(values.every((v) => v === 0)).toBe(true);
      else {
        const bound = 1 / Math.sqrt(variable.shape[1] as number);
        expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(bound * (1 + 1e-6));
        const mean = values.reduce((a, b) => a + b, 0) / values.length;
        const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
        expect(deviation / (bound / Math.sqrt(3)), `${name}: deviation of a uniform distribution`).toBeCloseTo(1, 1);
      }
    }
  });

  test('is refused on top of another, and with a rank that is none', () => {
    policy.addAdapter({ rank: 1, alpha: 1, seed: 1 });
    expect(() => policy.addAdapter({ rank: 1, alpha: 1, seed: 1 })).toThrow(/has an adapter already/);
    policy.dropAdapter();
    expect(() => policy.mergeAdapter()).toThrow(/no adapter to merge/);
    for (const rank of [0, 1.5, -2]) expect(() => policy.addAdapter({ rank, alpha: 1, seed: 1 })).toThrow(/positive integer/);
  });
});
