/** LoRA held to PEFT 0.21: an adapter with both matrices random on xs_tied (test/fixtures/lora). */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { holdsAdapter, loadAdapter, saveAdapter } from '../../src/policy/adapter-files.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { weightShapes } from '../../src/policy/config.js';
import { decode, headOf } from '../../src/policy/decoder.js';
import { ADAPTED, adapterName, createAdapter } from '../../src/policy/lora.js';
import type { Policy } from '../../src/policy/policy.js';
import { openSafetensors, writeSafetensors } from '../../src/policy/safetensors.js';
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

/** Puts PEFT's adapter on the policy; it must adapt what a fresh one adapts. */
async function attach(policy: Policy): Promise<void> {
  await loadAdapter(policy, fixtureFolder('lora'));
  expect([...(policy.adapter?.variables.keys() ?? [])].sort()).toEqual(
    [...weightShapes(policy.config).keys()]
      .flatMap((name) => (ADAPTED.test(name) ? [adapterName(name, 'A'), adapterName(name, 'B')] : []))
      .sort(),
  );
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
    for (const rank of [0, 1.5, -2]) expect(() => policy.addAdapter({ rank, alpha: 1, seed: 1 })).toThrow(/rank: expected a whole number/);
  });

  test.each<[object | undefined, RegExp]>([
    [undefined, /^LoRA: options: expected an object/],
    [{ rank: 2, seed: 1 }, /^LoRA alpha: expected a number above 0.*got undefined/],
    [{ rank: 2, alpha: Number.NaN, seed: 1 }, /^LoRA alpha: .* got NaN/],
    [{ rank: 2, alpha: '4', seed: 1 }, /^LoRA alpha: .* got "4"/],
    [{ rank: 2, alpha: 0, seed: 1 }, /^LoRA alpha: .* got 0/],
    [{ rank: 2, alpha: 1e300, seed: 1 }, /^LoRA alpha: .* got 1e\+300/],
    [{ rank: 1e9, alpha: 4, seed: 1 }, /^LoRA rank: .* got 1000000000/],
    [{ rank: 2, alpha: 4, seed: 1, dropout: 0.1 }, /no option dropout; expected rank, alpha, seed/],
  ])('is refused with %j', (options, message) => {
    expect(() => policy.addAdapter(options as never)).toThrow(message);
    expect(policy.adapter).toBeNull();
  });
});

describe('an adapter folder', () => {
  let policy: Policy;
  let folder: string;
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    policy = await loadPolicy(fixtureFolder('xs_tied'));
  });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'search-e1-adapter-'));
  });
  afterEach(() => {
    policy.dropAdapter();
    rmSync(folder, { recursive: true });
  });
  const peft = readFixture('lora', 'adapter_config.json');
  const put = (config: object) => {
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...peft, ...config }));
    copyFileSync(fixtureFolder('lora', 'adapter_model.safetensors'), join(folder, 'adapter_model.safetensors'));
  };

  test('comes back bit for bit, under the names and shapes that PEFT writes', async () => {
    await loadAdapter(policy, fixtureFolder('lora'));
    await saveAdapter(policy, folder, { baseModel: 'xs' });
    const [ours, theirs] = await Promise.all(
      [folder, fixtureFolder('lora')].map((each) => openSafetensors(join(each, 'adapter_model.safetensors'))),
    );
    expect([...ours.records.keys()].sort()).toEqual([...theirs.records.keys()].sort());
    for (const name of theirs.records.keys()) expect(await ours.read(name)).toEqual(await theirs.read(name));
    await Promise.all([ours.close(), theirs.close()]);
    const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ r: peft.r, lora_alpha: peft.lora_alpha, peft_type: 'LORA', base_model_name_or_path: 'xs' });
    expect(config.target_modules).toEqual([...peft.target_modules].sort());
    policy.dropAdapter();
    await loadAdapter(policy, folder);
    expectLogits(policy, expected.logits, 3e-5, 'read again');
  });

  test('may leave layers out, and may scale by the root of the rank', async () => {
    put({ use_rslora: true, target_modules: ['q_proj'] });
    const file = await openSafetensors(fixtureFolder('lora', 'adapter_model.safetensors'));
    const some = new Map<string, { values: Float32Array; shape: readonly number[] }>();
    for (const [name, { shape }] of file.records) if (name.includes('q_proj')) some.set(name, { values: await file.read(name), shape });
    await file.close();
    await writeSafetensors(join(folder, 'adapter_model.safetensors'), some);
    await loadAdapter(policy, folder);
    expect(policy.adapter?.variables.size).toBe(2 * policy.config.layers);
    expect((policy.adapter?.alpha as number) / (policy.adapter?.rank as number)).toBeCloseTo(peft.lora_alpha / Math.sqrt(peft.r), 12);
    await saveAdapter(policy, folder);
    expect(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')).target_modules).toEqual(['q_proj']);
  });

  test('is saved for the layers it has, and no others', async () => {
    const targets = ['model.layers.1.mlp.up_proj', 'q_proj'];
    put({ target_modules: targets });
    const file = await openSafetensors(fixtureFolder('lora', 'adapter_model.safetensors'));
    const some = new Map<string, { values: Float32Array; shape: readonly number[] }>();
    for (const [name, { shape }] of file.records)
      if (/q_proj|layers\.1\.mlp\.up_proj/.test(name)) some.set(name, { values: await file.read(name), shape });
    await file.close();
    await writeSafetensors(join(folder, 'adapter_model.safetensors'), some);
    await loadAdapter(policy, folder);
    expect(policy.adapter?.variables.size).toBe(6);
    await saveAdapter(policy, folder);
    const saved = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')).target_modules;
    expect(saved).toEqual(['model.layers.0.self_attn.q_proj', 'model.layers.1.mlp.up_proj', 'model.layers.1.self_attn.q_proj']);
    policy.dropAdapter();
    await loadAdapter(policy, folder);
    expect(policy.adapter?.variables.size).toBe(6);
  });

  test('is not put beside a policy, nor read where there is one', async () => {
    await loadAdapter(policy, fixtureFolder('lora'));
    writeFileSync(join(folder, 'config.json'), '{}');
    await expect(saveAdapter(policy, folder)).rejects.toThrow(/holds a policy/);
    put({});
    await expect(holdsAdapter(folder)).rejects.toThrow(/an adapter and a policy/);
  });

  test('is merged and taken out again: the weights return within rounding, the adapter unchanged', async () => {
    const before = await policy.values();
    await loadAdapter(policy, fixtureFolder('lora'));
    const kept = policy.mergeAndKeepAdapter();
    expectLogits(policy, expected.merged_logits, 3e-5, 'merged');
    policy.unmergeAdapter(kept);
    for (const [name, values] of await policy.values()) expectArraysClose(values, before.get(name) as Float32Array, 1e-6, name);
    expectLogits(policy, expected.logits, 3e-5, 'on again');
    expect(() => policy.unmergeAdapter(kept)).toThrow(/has an adapter already/);
  });

  test.each([
    ['of DoRA', { use_dora: true }, /use_dora/],
    ['with trained biases and modules', { bias: 'all', modules_to_save: ['lm_head'] }, /modules_to_save, bias all/],
    ['of several variants, all named', { use_qalora: true, kasa_config: { x: 1 } }, /kasa_config, use_qalora/],
    ['that took from the weights below', { init_lora_weights: 'pissa_niter_4' }, /init_lora_weights pissa_niter_4/],
    ['of single parameters', { target_parameters: ['mlp.gate_proj'] }, /target_parameters/],
    ['with ranks of its own', { rank_pattern: { q_proj: 8 } }, /rank_pattern/],
    ['of a field that nobody here knows', { use_new_thing: { a: 1 } }, /use_new_thing/],
    [
      'of single tokens and of biases of its own',
      { trainable_token_indices: [1], lora_bias: true },
      /trainable_token_indices, lora_bias|lora_bias, trainable/,
    ],
    ['with alphas of its own', { alpha_pattern: { q_proj: 8 } }, /alpha_pattern/],
    ['of a classifier', { task_type: 'SEQ_CLS' }, /task_type SEQ_CLS/],
    ['of the head', { target_modules: ['q_proj', 'lm_head'] }, /target_modules names lm_head/],
    ['of the embedding', { target_modules: ['q_proj', 'embed_tokens'] }, /target_modules names model\.embed_tokens/],
    ['of a pattern of Python alone', { target_modules: '(?i)q_proj' }, /target_modules "\(\?i\)q_proj" is no pattern/],
    ['with tensors of layers that it does not name', { target_modules: ['q_proj'] }, /k_proj\.lora_A\.weight belongs to no layer/],
    [
      'with tensors of layers that it leaves out',
      { layers_to_transform: [0] },
      /layers\.1\.self_attn\.q_proj\.lora_A\.weight belongs to no layer/,
    ],
    ['with tensors of layers that it excludes', { exclude_modules: ['o_proj'] }, /o_proj\.lora_A\.weight belongs to no layer/],
    ['of another kind', { peft_type: 'IA3' }, /is not the configuration of a LoRA adapter/],
    ['of another rank', { r: 3 }, /lora_A\.weight has shape \[4,32\], rank 3 asks for \[3,32\][\s\S]*lora_B/],
  ])('%s is refused', async (_, change, message) => {
    put(change);
    const tensors = tf.memory().numTensors;
    await expect(loadAdapter(policy, folder)).rejects.toThrow(message);
    expect([policy.adapter, tf.memory().numTensors]).toEqual([null, tensors]);
  });

  test('with a matrix missing or too many is refused, all listed', async () => {
    put({});
    const [values, shape] = [new Float32Array(4 * 32), [4, 32]];
    const name = (layer: string) => `base_model.model.model.layers.0.${layer}.lora_A.weight`;
    await writeSafetensors(
      join(folder, 'adapter_model.safetensors'),
      new Map([name('self_attn.q_proj'), name('self_attn.x_proj')].map((each) => [each, { values, shape }])),
    );
    await expect(loadAdapter(policy, folder)).rejects.toThrow(
      /x_proj\.lora_A\.weight belongs to no layer[\s\S]*q_proj\.lora_B\.weight is missing/,
    );
  });
});
