/** Checkpoint folders: Transformers' own, ours, and those that nobody should have written. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { NonFiniteError } from '../../src/non-finite.js';
import { holdsAdapter, loadAdapter, saveAdapter } from '../../src/policy/adapter-files.js';
import { assignWeights, loadPolicy, savePolicy } from '../../src/policy/checkpoint.js';
import { decode, headOf } from '../../src/policy/decoder.js';
import { loadOptimizer } from '../../src/policy/optimizer-files.js';
import { Policy } from '../../src/policy/policy.js';
import { openSafetensors, type StoredTensor, writeSafetensors } from '../../src/policy/safetensors.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { random } from '../../src/random.js';
import type { AdamWState } from '../../src/tensors/adamW.js';
import { startBackend } from '../../src/tensors/backend.js';
import { halfFormat, markHalf, narrowToHalves, widenHalves } from '../../src/tensors/half.js';
import { linear } from '../../src/tensors/linear.js';
import { tinyConfig } from '../rollout/tiny-policy.js';
import { expectArraysClose, fixtureFolder, noTokenizer, readFixture } from './xs.js';

const TOKENIZER = 'datasets/tinypedia/tokenizer';
let folder: string;
beforeAll(async () => {
  await startBackend({ backend: 'simd' });
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function valuesOf(path: string): Promise<Map<string, Float32Array>> {
  const policy = await loadPolicy(path);
  const values = await policy.values();
  policy.dispose();
  return values;
}

describe('a folder that Transformers wrote', () => {
  test('in shards gives the values of the single file', async () => {
    expect(await valuesOf(fixtureFolder('xs_untied', 'sharded'))).toEqual(await valuesOf(fixtureFolder('xs_untied')));
  });

  test('in bfloat16 is widened exactly, and computed with in float32', async () => {
    const f = readFixture('xs_tied', 'bf16', 'forward.json');
    const policy = await loadPolicy(fixtureFolder('xs_tied', 'bf16'));
    const values = await policy.values();
    for (const [name, sample] of Object.entries(f.weight_samples as Record<string, number[]>)) {
      expect([...(values.get(name) as Float32Array).slice(0, sample.length)], name).toEqual(sample.map(Math.fround));
    }
    const row = f.input_ids[0] as number[];
    const logits = tf.tidy(() => {
      const hidden = tf.reshape(decode(policy, Int32Array.from(row), [1, row.length]), [row.length, policy.config.hiddenSize]);
      return (linear(hidden, headOf(policy)) as tf.Tensor2D).arraySync();
    });
    expectArraysClose(logits.flat(), f.logits_row0.flat(), 2e-5, 'logits');
    policy.dispose();
  });

  test('in bfloat16 may stay in 16 bits: it computes the same, saves as it was stored, and takes an adapter but no other training', async () => {
    const f = readFixture('xs_tied', 'bf16', 'forward.json');
    const path = fixtureFolder('xs_tied', 'bf16');
    const policy = await loadPolicy(path, { storage: 'stored' });
    expect(await policy.values()).toEqual(await valuesOf(path));
    const row = f.input_ids[0] as number[];
    const logits = tf.tidy(() => {
      const hidden = tf.reshape(decode(policy, Int32Array.from(row), [1, row.length]), [row.length, policy.config.hiddenSize]);
      return (linear(hidden, headOf(policy)) as tf.Tensor2D).arraySync();
    });
    expectArraysClose(logits.flat(), f.logits_row0.flat(), 2e-5, 'logits');
    await savePolicy(policy, folder);
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    expect([config.dtype, config.torch_dtype]).toEqual(['bfloat16', 'bfloat16']);
    const [written, original] = await Promise.all([folder, path].map((each) => openSafetensors(join(each, 'model.safetensors'))));
    const name = 'model.layers.1.mlp.down_proj.weight';
    expect(written.records.get(name)?.dtype).toBe('BF16');
    expect(await written.read(name)).toEqual(await original.read(name));
    await Promise.all([written.close(), original.close()]);

    expect(policy.trainable.size).toBe(0);
    await expect(assignWeights(policy, path)).rejects.toThrow(/frozen/);
    const engine = inProcessEngine(policy, noTokenizer);
    engine.addAdapter({ rank: 2, alpha: 4, seed: 1 });
    const data = [{ tokens: row, scored: [5, 6, 7, 8, 9] }];
    const before = (await engine.forwardBackward(crossEntropyLoss(data))).loss;
    await engine.optimStep({ learningRate: 0.01 });
    expect((await engine.forwardBackward(crossEntropyLoss(data))).loss).toBeLessThan(before);
    engine.dispose();
  });

  test('in bfloat16 takes an adapter in, is rounded once, saved as bfloat16 throughout, and gives it back within rounding', async () => {
    const path = fixtureFolder('xs_tied', 'bf16');
    const policy = await loadPolicy(path, { storage: 'stored' });
    const exact = await loadPolicy(path);
    const tensors = tf.memory().numTensors;
    const before = await policy.values();
    const adapted = (of: Policy) => {
      of.addAdapter({ rank: 2, alpha: 4, seed: 1 });
      for (const [name, b] of of.adapter?.variables ?? []) {
        const value = tf.fill(b.shape, name.includes('lora_B') ? 0.03 : 0.5);
        b.assign(value);
        value.dispose();
      }
    };
    adapted(exact);
    exact.mergeAdapter();
    adapted(policy);
    const kept = policy.mergeAndKeepAdapter();
    const [merged, sums] = [await policy.values(), await exact.values()];
    let moved = 0;
    for (const [name, values] of merged) {
      const rounded = new Uint16Array(values.length);
      narrowToHalves(sums.get(name) as Float32Array, 'BF16', rounded);
      const expected = new Float32Array(values.length);
      widenHalves(rounded, 'BF16', expected);
      expect(values, name).toEqual(expected);
      moved += values.filter((value, i) => value !== before.get(name)?.[i]).length;
    }
    expect(moved).toBeGreaterThan(1000);

    await savePolicy(policy, folder);
    const file = await openSafetensors(join(folder, 'model.safetensors'));
    expect(new Set([...file.records.values()].map(({ dtype }) => dtype))).toEqual(new Set(['BF16']));
    for (const [name, values] of merged) expect(await file.read(name), name).toEqual(values);
    await file.close();

    policy.unmergeAdapter(kept);
    policy.dropAdapter();
    for (const [name, values] of await policy.values()) {
      const original = before.get(name) as Float32Array;
      // Each of the two roundings is by half a step of the larger number at most, 2^-8 of it.
      const bound = (i: number) => 2 ** -8 * (Math.abs(original[i]) + Math.abs((merged.get(name) as Float32Array)[i]));
      expect(
        values.every((value, i) => Math.abs(value - original[i]) <= bound(i)),
        name,
      ).toBe(true);
    }
    expect(tf.memory().numTensors).toBe(tensors);
    exact.dispose();
    policy.dispose();
  });

  test('is read in slices, with the bytes told, and stops when it is told to', async () => {
    const told: number[] = [];
    const onProgress = ({ bytes, total }: { bytes: number; total: number }) => void told.push(bytes / total);
    const policy = await loadPolicy(fixtureFolder('xs_untied'), { onProgress });
    policy.dispose();
    expect(told.length).toBeGreaterThan(20);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.at(-1)).toBe(1);
    const before = tf.memory().numTensors;
    const stop = new AbortController();
    const stopping = loadPolicy(fixtureFolder('xs_untied'), { signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) });
    await expect(stopping).rejects.toThrow('enough');
    expect(tf.memory().numTensors).toBe(before);
  });

  test('may hold the tied head a second time', async () => {
    const file = await openSafetensors(fixtureFolder('xs_tied', 'model.safetensors'));
    const tensors = new Map<string, { values: Float32Array; shape: readonly number[] }>();
    for (const [name, { shape }] of file.records) tensors.set(name, { values: await file.read(name), shape });
    await file.close();
    tensors.set('lm_head.weight', tensors.get('model.embed_tokens.weight') as { values: Float32Array; shape: readonly number[] });
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
    copyFileSync(fixtureFolder('xs_tied', 'config.json'), join(folder, 'config.json'));
    expect(await valuesOf(folder)).toEqual(await valuesOf(fixtureFolder('xs_tied')));
  });
});

describe('a saved policy', () => {
  const tiny = (seed: number) => Policy.initialize(tinyConfig, random(seed));

  test('comes back bit for bit, with its tokenizer, and leaves nothing temporary', async () => {
    const policy = tiny(1);
    const values = await policy.values();
    await savePolicy(policy, folder, { tokenizerFolder: TOKENIZER });
    policy.dispose();
    const again = await loadPolicy(folder);
    expect(again.config).toEqual(tinyConfig);
    expect(await again.values()).toEqual(values);
    again.dispose();
    expect((await loadTokenizer(folder)).encode(' who is Ada ?')).toEqual((await loadTokenizer(TOKENIZER)).encode(' who is Ada ?'));
    expect(
      ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].filter(
        (name) => !existsSync(join(folder, name)),
      ),
    ).toEqual([]);
  });

  test('keeps the end tokens that its tokenizer folder names beyond its config', async () => {
    const source = join(folder, 'source');
    mkdirSync(source);
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(TOKENIZER, name), join(source, name));
    writeFileSync(join(source, 'generation_config.json'), JSON.stringify({ eos_token_id: [tinyConfig.endIds[0], 5], temperature: 0.7 }));
    const policy = tiny(1);
    for (const out of [join(folder, 'out'), source]) {
      await savePolicy(policy, out, { tokenizerFolder: source });
      expect((await loadTokenizer(out)).endIds).toEqual((await loadTokenizer(source)).endIds);
      expect((await loadTokenizer(out)).endIds).toEqual([tinyConfig.endIds[0], 5]);
    }
    policy.dispose();
  });

  test('says again what its own config and generation_config said beyond what is read', async () => {
    const source = join(folder, 'source');
    mkdirSync(source);
    copyFileSync(fixtureFolder('xs_tied', 'model.safetensors'), join(source, 'model.safetensors'));
    const config = { ...readFixture('xs_tied', 'config.json'), bos_token_id: 7, initializer_range: 0.03, my_own: { field: [1] } };
    const generation = { do_sample: false, eos_token_id: [54, 201], pad_token_id: 9, top_k: 20, repetition_penalty: 1.05, my_own: true };
    writeFileSync(join(source, 'config.json'), JSON.stringify(config));
    writeFileSync(join(source, 'generation_config.json'), JSON.stringify(generation));
    const policy = await loadPolicy(source);
    for (const out of ['out', 'source']) {
      await savePolicy(policy, join(folder, out));
      const said = (name: string) => JSON.parse(readFileSync(join(folder, out, name), 'utf8'));
      expect(said('config.json')).toMatchObject({ bos_token_id: 7, initializer_range: 0.03, my_own: { field: [1] } });
      // the config's own end token is one as well
      expect(said('generation_config.json')).toEqual({ ...generation, eos_token_id: [54, 201, 255] });
      expect(policy.endIds).toEqual([54, 201]); // generation_config.json goes first, as in Transformers
      expect((await loadPolicy(join(folder, out))).config).toEqual(policy.config);
    }
    rmSync(join(source, 'generation_config.json'));
    const silent = await loadPolicy(source);
    await savePolicy(silent, join(folder, 'out'));
    expect(JSON.parse(readFileSync(join(folder, 'out', 'generation_config.json'), 'utf8'))).toEqual({ eos_token_id: 255, pad_token_id: 0 });
  });

  test('is cut into shards above a size, with an index that Transformers reads, and takes the place of what was saved before', async () => {
    const policy = tiny(1);
    const values = await policy.values();
    const total = 4 * policy.parameters;
    const list = () => readdirSync(folder).sort();
    await savePolicy(policy, folder);
    const whole = list();
    expect(whole).toEqual(['config.json', 'generation_config.json', 'model.safetensors']);
    writeFileSync(join(folder, 'README.md'), 'mine');
    for (const name of ['adapter_config.json', 'adapter_model.safetensors', 'optimizer.safetensors', 'model-00001-of-00002.safetensors'])
      writeFileSync(join(folder, name), 'of an earlier save');
    await savePolicy(policy, folder, { maxShardSize: 50_000 });
    const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'));
    expect(index.metadata).toEqual({ total_size: total, total_parameters: policy.parameters });
    expect(Object.keys(index.weight_map)).toEqual([...values.keys()]);
    const shards = [...new Set(Object.values(index.weight_map as Record<string, string>))];
    // the embedding, 1322 x 16 floats, is larger than a shard may be and has one of its own
    expect(shards).toEqual(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']);
    expect(index.weight_map['model.layers.0.input_layernorm.weight']).toBe(shards[1]);
    expect(list()).toEqual(['README.md', ...whole.slice(0, 2), ...shards, 'model.safetensors.index.json'].sort());
    expect(await valuesOf(folder)).toEqual(values);
    await savePolicy(policy, folder);
    expect(list()).toEqual(['README.md', ...whole].sort());
    await expect(savePolicy(policy, folder, { maxShardSize: 0 })).rejects.toThrow(/bytes above 0, got 0/);
    policy.dispose();
  });

  test('has its gzipped tokenizer files unpacked, and is not begun where there is no tokenizer', async () => {
    const source = join(folder, 'source');
    mkdirSync(source);
    const text = readFileSync(join(TOKENIZER, 'tokenizer.json'));
    writeFileSync(join(source, 'tokenizer.json.gz'), gzipSync(text));
    copyFileSync(join(TOKENIZER, 'tokenizer_config.json'), join(source, 'tokenizer_config.json'));
    const policy = tiny(1);
    const out = join(folder, 'out');
    await savePolicy(policy, out, { tokenizerFolder: source });
    expect(readdirSync(out).filter((name) => name.startsWith('tokenizer'))).toEqual(['tokenizer.json', 'tokenizer_config.json']);
    expect(readFileSync(join(out, 'tokenizer.json')).equals(text)).toBe(true);
    const before = readdirSync(out);
    writeFileSync(join(source, 'tokenizer.json.gz'), 'not gzip');
    await expect(savePolicy(policy, out, { tokenizerFolder: source })).rejects.toThrow(/tokenizer\.json\.gz cannot be unpacked/);
    await expect(savePolicy(tiny(2), out, { tokenizerFolder: fixtureFolder('xs_tied') })).rejects.toThrow(/holds no tokenizer/);
    rmSync(join(source, 'tokenizer_config.json'));
    execFileSync('mkfifo', [join(source, 'tokenizer_config.json')]);
    writeFileSync(join(source, 'tokenizer.json.gz'), gzipSync(text));
    await expect(savePolicy(policy, out, { tokenizerFolder: source })).rejects.toThrow(/tokenizer_config\.json is no regular file/);
    expect(readdirSync(out)).toEqual(before);
    expect(await valuesOf(out)).toEqual(await policy.values());
    await expect(savePolicy(policy, join(folder, 'none'), { tokenizerFolder: fixtureFolder('xs_tied') })).rejects.toThrow();
    expect(existsSync(join(folder, 'none'))).toBe(false);
    policy.dispose();
  });

  test('is refused with an adapter on, or where it takes the place of a policy with a tied head', async () => {
    const policy = tiny(1);
    policy.addAdapter({ rank: 1, alpha: 1, seed: 1 });
    await expect(savePolicy(policy, folder)).rejects.toThrow(/merge or drop it/);
    expect(existsSync(join(folder, 'model.safetensors'))).toBe(false);
    policy.dispose();
    const xs = await loadPolicy(fixtureFolder('xs_tied'));
    const before = await xs.values();
    await expect(assignWeights(xs, fixtureFolder('xs_untied'))).rejects.toThrow(/holds an lm_head\.weight of its own/);
    expect(await xs.values()).toEqual(before);
    xs.dispose();
  });

  test('goes on training where it stopped, moments and step count included', async () => {
    const data = [{ tokens: [1, 2, 3, 4, 5], scored: [1, 2, 3, 4] }];
    const settings = { learningRate: 0.01, clipNorm: 1 };
    const engines = [1, 2].map((seed) => inProcessEngine(tiny(seed), noTokenizer));
    const [first, second] = engines;
    const step = async (engine: (typeof engines)[number]) => {
      await engine.forwardBackward(crossEntropyLoss(data));
      await engine.optimStep(settings);
    };
    for (let i = 0; i < 3; i++) await step(first);
    await first.save(folder);
    expect((await loadOptimizer(folder, first.policy.weights))?.steps).toBe(3);
    await step(second); // moments of its own, to be replaced
    await second.load(folder);
    for (const engine of engines) for (let i = 0; i < 2; i++) await step(engine);
    expect(await second.policy.values()).toEqual(await first.policy.values());
    // Without its moments the next steps would have been others.
    first.resetOptimizer();
    for (const engine of engines) await step(engine);
    expect(await second.policy.values()).not.toEqual(await first.policy.values());
    first.addAdapter({ rank: 1, alpha: 1, seed: 1 });
    await expect(first.load(folder)).rejects.toThrow(/merge or drop it/);
    expect(await loadOptimizer(fixtureFolder('xs_tied'), second.policy.weights)).toBeNull();
    for (const engine of engines) engine.dispose();
  });
});

test('a path or options that are none are refused where something is saved or loaded', async () => {
  const policy = await loadPolicy(fixtureFolder('xs_tied'));
  const engine = inProcessEngine(policy, noTokenizer);
  for (const path of [undefined, '', 5] as never[]) {
    await expect(savePolicy(policy, path)).rejects.toThrow(/^savePolicy: expected a path/);
    await expect(engine.save(path)).rejects.toThrow(/expected a path/);
    await expect(engine.load(path)).rejects.toThrow(/expected a path/);
    await expect(loadAdapter(policy, path)).rejects.toThrow(/^loadAdapter: expected a path/);
  }
  await expect(savePolicy(policy, folder, { shardSize: 1 } as never)).rejects.toThrow(/no option shardSize; expected tokenizerFolder/);
  await expect(savePolicy(policy, folder, { maxShardSize: '1e6' as never })).rejects.toThrow(
    /maxShardSize: expected bytes above 0, got 1e6/,
  );
  policy.addAdapter({ rank: 1, alpha: 1, seed: 1 });
  await expect(saveAdapter(policy, undefined as never)).rejects.toThrow(/^saveAdapter: expected a path/);
  await expect(saveAdapter(policy, folder, { base: 'x' } as never)).rejects.toThrow(/no option base; expected baseModel/);
  expect(readdirSync(folder)).toEqual([]);
  engine.dispose();
});

describe('an engine with an adapter on', () => {
  const data = [{ tokens: [1, 2, 3, 4, 5], scored: [1, 2, 3, 4] }];
  const base = () => inProcessEngine(Policy.initialize(tinyConfig, random(1)), noTokenizer);
  type Trained = ReturnType<typeof base>;
  const step = async (engine: Trained) => {
    await engine.forwardBackward(crossEntropyLoss(data));
    await engine.optimStep({ learningRate: 0.01, clipNorm: 1 });
  };
  const adapterOf = async ({ policy }: Trained) =>
    new Map(
      await Promise.all(
        [...(policy.adapter?.variables ?? [])].map(async ([name, v]) => [name, Float32Array.from(await v.data())] as const),
      ),
    );

  test('saves the adapter and not the weights, and goes on over the same base bit for bit where it stopped', async () => {
    const [whole, resumed] = [base(), base()];
    whole.addAdapter({ rank: 2, alpha: 4, seed: 7 });
    for (let i = 0; i < 3; i++) await step(whole);
    await whole.save(folder);
    expect(readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'optimizer.safetensors']);
    await step(resumed); // moments of the weights, which have no place in what is loaded
    const weights = await whole.policy.values();
    for (const [name, weight] of resumed.policy.weights)
      tf.tidy(() => weight.assign(tf.tensor(weights.get(name) as Float32Array, weight.shape)));
    await resumed.load(folder);
    expect(await adapterOf(resumed)).toEqual(await adapterOf(whole));
    expect(resumed.policy.adapter).toMatchObject({ rank: 2, alpha: 4 });
    for (let i = 0; i < 3; i++) for (const engine of [whole, resumed]) await step(engine);
    expect(await adapterOf(resumed)).toEqual(await adapterOf(whole));
    expect(await resumed.policy.values()).toEqual(weights);
    for (const engine of [whole, resumed]) engine.mergeAdapter();
    expect(await resumed.policy.values()).toEqual(await whole.policy.values());
    for (const engine of [whole, resumed]) engine.dispose();
  });

  test('that took no step writes no moments, and takes those of an earlier save away', async () => {
    const engine = base();
    engine.addAdapter({ rank: 2, alpha: 4, seed: 7 });
    await step(engine);
    await engine.save(folder);
    engine.resetOptimizer();
    await engine.save(folder);
    expect(readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    await expect(engine.load(folder)).rejects.toThrow(/merge or drop it/);
    engine.dispose();
  });

  test('over weights kept in 16 bits is saved and goes on as well; without an adapter these are saved as they are', async () => {
    const stored = async () => inProcessEngine(await loadPolicy(fixtureFolder('xs_tied', 'bf16'), { storage: 'stored' }), noTokenizer);
    const [whole, resumed] = [await stored(), await stored()];
    const plain = join(folder, 'plain');
    await whole.save(plain);
    expect(await valuesOf(plain)).toEqual(await whole.policy.values());
    expect(existsSync(join(plain, 'optimizer.safetensors'))).toBe(false);
    whole.addAdapter({ rank: 2, alpha: 4, seed: 7 });
    await step(whole);
    await whole.save(join(folder, 'adapter'));
    await resumed.load(join(folder, 'adapter'));
    for (const engine of [whole, resumed]) await step(engine);
    expect(await adapterOf(resumed)).toEqual(await adapterOf(whole));
    for (const engine of [whole, resumed]) engine.dispose();
  });

  test('is left as it was by a folder whose moments do not fit', async () => {
    const [engine, other] = [base(), base()];
    engine.addAdapter({ rank: 2, alpha: 4, seed: 7 });
    await step(engine);
    await engine.save(folder);
    await writeSafetensors(join(folder, 'optimizer.safetensors'), new Map([['x.first', { values: Float32Array.of(1), shape: [1] }]]), {
      steps: '1',
    });
    const tensors = tf.memory().numTensors;
    await expect(other.load(folder)).rejects.toThrow(/x\.first is no moment[\s\S]*q_proj\.lora_A\.weight\.first is missing/);
    expect([other.policy.adapter, tf.memory().numTensors]).toEqual([null, tensors]);
    for (const each of [engine, other]) each.dispose();
  });
});

describe('a number that is not finite', () => {
  const name = 'model.layers.1.mlp.down_proj.weight';

  test.each(['F32', 'BF16', 'F16'] as const)('is found when a folder of %s is read, with its file, tensor and place', async (dtype) => {
    const source = dtype === 'F32' ? fixtureFolder('xs_tied') : fixtureFolder('xs_tied', 'bf16');
    const file = await openSafetensors(join(source, 'model.safetensors'));
    const tensors = new Map<string, StoredTensor>();
    for (const [each, { shape }] of file.records) {
      const values = await file.read(each);
      if (each === name) values[37] = Number.NEGATIVE_INFINITY;
      if (each === name) values[40] = Number.NaN;
      const halves = new Uint16Array(values.length);
      if (dtype !== 'F32') narrowToHalves(values, dtype, halves);
      tensors.set(each, { shape, dtype, values: dtype === 'F32' ? values : halves });
    }
    await file.close();
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
    copyFileSync(join(source, 'config.json'), join(folder, 'config.json'));
    const before = tf.memory().numTensors;
    for (const storage of ['float32', 'stored'] as const) {
      const attempt = loadPolicy(folder, { storage });
      await expect(attempt).rejects.toThrow(NonFiniteError);
      await expect(attempt).rejects.toThrow(/model\.safetensors: model\.layers\.1\.mlp\.down_proj\.weight: element 37 is -Infinity/);
    }
    expect(tf.memory().numTensors).toBe(before);
    const policy = await loadPolicy(source);
    const values = await policy.values();
    await expect(assignWeights(policy, folder)).rejects.toThrow(/element 37 is -Infinity/);
    expect(await policy.values()).toEqual(values);
    policy.dispose();
  });

  test('in a weight, of 32 or 16 bits, is not saved, and what was saved before stays', async () => {
    for (const storage of ['float32', 'stored'] as const) {
      const policy = await loadPolicy(fixtureFolder('xs_tied', 'bf16'), { storage });
      await savePolicy(policy, folder);
      const files = readdirSync(folder).map((each) => readFileSync(join(folder, each)));
      for (const vector of ['model.norm.weight', name]) {
        const weight = policy.weights.get(vector) as tf.Variable;
        const kept = tf.clone(weight);
        const data = (await weight.data()).slice();
        data[5] = halfFormat(weight) ? 0x7f807f80 : Number.NaN;
        const broken = tf.tensor(data, weight.shape, weight.dtype);
        weight.assign(halfFormat(weight) ? markHalf(broken, 'BF16') : broken);
        const attempt = savePolicy(policy, folder);
        await expect(attempt).rejects.toThrow(NonFiniteError);
        await expect(attempt).rejects.toThrow(new RegExp(`${vector}: element .* nothing was saved`));
        expect(readdirSync(folder).map((each) => readFileSync(join(folder, each)))).toEqual(files);
        weight.assign(kept);
      }
      policy.dispose();
    }
  });

  test('in a moment is neither saved nor read, nor is a mean of squares below 0', async () => {
    const engine = inProcessEngine(Policy.initialize(tinyConfig, random(1)), noTokenizer);
    await engine.forwardBackward(crossEntropyLoss([{ tokens: [1, 2, 3], scored: [1, 2] }]));
    await engine.optimStep({ learningRate: 0.01 });
    await engine.save(folder);
    const state = (await loadOptimizer(folder, engine.policy.weights)) as AdamWState;
    const broken = (part: 'first' | 'second', value: number): AdamWState => {
      const values = Float32Array.from(state[part]['model.norm.weight']);
      values[3] = value;
      return { ...state, [part]: { ...state[part], 'model.norm.weight': values } };
    };
    const file = join(folder, 'optimizer.safetensors');
    const kept = readFileSync(file);
    for (const part of ['first', 'second'] as const) {
      const attempt = savePolicy(engine.policy, folder, { optimizer: broken(part, Number.NaN) });
      await expect(attempt).rejects.toThrow(`the ${part} moment of model.norm.weight: element 3 is NaN`);
      expect(readFileSync(file).equals(kept)).toBe(true);
    }
    const weights = await engine.policy.values();
    for (const [value, message] of [
      [Number.POSITIVE_INFINITY, /optimizer\.safetensors: model\.norm\.weight\.second: element 3 is Infinity/],
      [-1, /second: element 3 is -1, a mean of squares is at least 0/],
    ] as const) {
      const tensors = new Map<string, StoredTensor>();
      for (const part of ['first', 'second'] as const)
        for (const [each, values] of Object.entries(broken('second', value)[part]))
          tensors.set(`${each}.${part}`, { values, shape: (engine.policy.weights.get(each) as tf.Variable).shape });
      await writeSafetensors(file, tensors, { steps: '1' });
      await expect(engine.load(folder)).rejects.toThrow(message);
      expect(await engine.policy.values()).toEqual(weights);
    }
    engine.dispose();
  });

  test('in an adapter is neither saved nor read', async () => {
    const policy = Policy.initialize(tinyConfig, random(1));
    policy.addAdapter({ rank: 1, alpha: 1, seed: 1 });
    await saveAdapter(policy, folder);
    const files = readdirSync(folder).map((each) => readFileSync(join(folder, each)));
    const [first, variable] = [...(policy.adapter?.variables ?? [])][0];
    tf.tidy(() => variable.assign(tf.fill(variable.shape, Number.NaN)));
    await expect(saveAdapter(policy, folder)).rejects.toThrow(`${first}: element 0 is NaN`);
    expect(readdirSync(folder).map((each) => readFileSync(join(folder, each)))).toEqual(files);
    policy.dropAdapter();
    const path = join(folder, 'adapter_model.safetensors');
    const bytes = readFileSync(path);
    bytes.writeFloatLE(Number.NaN, bytes.length - 4);
    writeFileSync(path, bytes);
    await expect(loadAdapter(policy, folder)).rejects.toThrow(/adapter_model\.safetensors: base_model\.model\..* is NaN/);
    expect(policy.adapter).toBeNull();
    policy.dispose();
  });
});

describe('a folder that does not fit is refused with its name', () => {
  const xs = (name: string) => fixtureFolder('xs_untied', ...name.split('/'));
  const put = (name: string, text: string | Buffer) => writeFileSync(join(folder, name), text);
  const index = (map: unknown) => put('model.safetensors.index.json', JSON.stringify(map));
  const config = () => copyFileSync(xs('config.json'), join(folder, 'config.json'));
  const folderFor = (name: string) => {
    rmSync(join(folder, name), { force: true });
    mkdirSync(join(folder, name));
  };
  const pipeFor = (name: string) => {
    rmSync(join(folder, name), { force: true });
    execFileSync('mkfifo', [join(folder, name)]);
  };

  test.each([
    ['without a config', () => rmSync(join(folder, 'config.json')), /holds no config\.json/],
    ['whose config is not JSON', () => put('config.json', '{'), /config\.json is not JSON/],
    ['whose config is a folder', () => folderFor('config.json'), /config\.json is no regular file, expected JSON/],
    ['whose config is a pipe', () => pipeFor('config.json'), /config\.json is no regular file, expected JSON/],
    [
      'whose config leads nowhere',
      () => {
        rmSync(join(folder, 'config.json'));
        symlinkSync('../../blobs/5c1f', join(folder, 'config.json'));
      },
      /config\.json is a link that leads nowhere, to \.\.\/\.\.\/blobs\/5c1f, expected JSON: is the download complete/,
    ],
    [
      'whose weights lead nowhere',
      () => symlinkSync('b', join(folder, 'model.safetensors')),
      /model\.safetensors is a link that leads nowhere/,
    ],
    [
      'whose index leads nowhere',
      () => symlinkSync('b', join(folder, 'model.safetensors.index.json')),
      /index\.json is a link that leads now/,
    ],
    [
      'whose shard leads nowhere',
      () => {
        index({ weight_map: { a: 'model-1.safetensors' } });
        symlinkSync('b', join(folder, 'model-1.safetensors'));
      },
      /model-1\.safetensors is a link that leads nowhere/,
    ],
    [
      'whose config is larger than any',
      () => truncateSync(join(folder, 'config.json'), 2 ** 32),
      /has 4294967296 bytes, expected JSON of at/,
    ],
    ['whose config is not UTF-8', () => put('config.json', Buffer.from('{"a":"\xe9"}', 'latin1')), /config\.json is not JSON/],
    ['whose generation_config is a pipe', () => pipeFor('generation_config.json'), /generation_config\.json is no regular file/],
    [
      'whose generation_config leads nowhere',
      () => symlinkSync('nowhere', join(folder, 'generation_config.json')),
      /generation_config\.json is a link that leads nowhere, to nowhere, expected JSON/,
    ],
    ['whose index is a pipe', () => pipeFor('model.safetensors.index.json'), /index\.json is no regular file, expected JSON/],
    ['without weights', () => undefined, /holds no model\.safetensors and no model\.safetensors\.index\.json/],
    ['with weights of another kind', () => put('pytorch_model.bin', ''), /found pytorch_model\.bin/],
    ['whose index is not JSON', () => put('model.safetensors.index.json', '{'), /index\.json is not JSON/],
    ['whose index is null', () => index(null), /index\.json has no weight_map/],
    ['whose index has no map', () => index({ metadata: {} }), /index\.json has no weight_map/],
    ['whose index maps to numbers', () => index({ weight_map: { a: 3 } }), /index\.json/],
    [
      'whose index leads out of the folder',
      () => index({ weight_map: { a: '../model.safetensors' } }),
      /names files outside its folder: \.\.\/model\.safetensors/,
    ],
    ['whose index leads out by a backslash', () => index({ weight_map: { a: '..\\model.safetensors' } }), /names files outside its folder/],
    ['whose index names the folder above', () => index({ weight_map: { a: '..' } }), /names files outside its folder: \.\./],
    ['whose index names an absolute path', () => index({ weight_map: { a: '/etc/passwd' } }), /names files outside its folder/],
    ['whose shard is missing', () => index({ weight_map: { a: 'model-1.safetensors' } }), /model-1\.safetensors/],
    ['whose file is cut', () => put('model.safetensors', readFileSync(xs('model.safetensors')).subarray(0, -4)), /truncated/],
  ])('%s', async (_, prepare, message) => {
    config();
    prepare();
    const attempt = loadPolicy(folder);
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(folder);
  });

  test('whose adapter or its moments lead nowhere, where it would otherwise be taken for none', async () => {
    const policy = Policy.initialize(tinyConfig, random(1));
    policy.addAdapter({ rank: 2, alpha: 4, seed: 1 });
    await saveAdapter(policy, folder);
    policy.dropAdapter();
    symlinkSync('b', join(folder, 'optimizer.safetensors'));
    await expect(loadAdapter(policy, folder, { optimizer: true })).rejects.toThrow(/optimizer\.safetensors is a link that leads nowhere/);
    rmSync(join(folder, 'adapter_config.json'));
    symlinkSync('b', join(folder, 'adapter_config.json'));
    expect(await holdsAdapter(folder)).toBe(true);
    await expect(loadAdapter(policy, folder)).rejects.toThrow(/adapter_config\.json is a link that leads nowhere/);
    policy.dispose();
  });

  test('that lacks, adds and reshapes weights: all are listed', async () => {
    config();
    const policy = await loadPolicy(fixtureFolder('xs_tied'));
    const values = await policy.values();
    policy.dispose();
    const tensors = new Map(
      [...values].map(([name, v]) => [name === 'model.norm.weight' ? 'model.norm.gain' : name, { values: v, shape: [v.length] }]),
    );
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
    await expect(loadPolicy(folder)).rejects.toThrow(
      /model\.embed_tokens\.weight has shape \[8192\], the config asks for \[256,32\][\s\S]*model\.norm\.weight is missing \(shape \[32\]\)[\s\S]*lm_head\.weight is missing[\s\S]*model\.norm\.gain is not a weight/,
    );
  });

  test('in whose shards a weight lies twice', async () => {
    config();
    const copy = (from: string, to: string) => copyFileSync(xs(from), join(folder, to));
    copy('model.safetensors', 'model-1.safetensors');
    copy('model.safetensors', 'model-2.safetensors');
    index({ weight_map: { 'model.norm.weight': 'model-1.safetensors', 'lm_head.weight': 'model-2.safetensors' } });
    await expect(loadPolicy(folder)).rejects.toThrow(/model\.norm\.weight is in model-1\.safetensors and in model-2\.safetensors/);
  });

  test.each([
    [
      'names a weight that its shard lacks',
      (map: Record<string, string>, other: string) => (map['model.norm.weight'] = other),
      /model\.norm\.weight is not in model-\S+, where the index has it/,
    ],
    [
      'names a weight that there is not',
      (map: Record<string, string>, other: string) => (map['model.extra'] = other),
      /model\.extra is not in model-/,
    ],
    [
      'leaves a weight out that a shard holds',
      (map: Record<string, string>) => delete map['model.norm.weight'],
      /model\.norm\.weight is in model-\S+, but not in the index/,
    ],
  ])('whose index %s', async (_, change, message) => {
    const sharded = fixtureFolder('xs_untied', 'sharded');
    for (const name of readdirSync(sharded)) copyFileSync(join(sharded, name), join(folder, name));
    const { weight_map: map } = readFixture('xs_untied', 'sharded', 'model.safetensors.index.json');
    const other = Object.values<string>(map).find((each) => each !== map['model.norm.weight']) as string;
    change(map, other);
    index({ weight_map: map });
    await expect(loadPolicy(folder)).rejects.toThrow(message);
  });

  test('whose generation_config ends at a token that the vocabulary does not hold', async () => {
    config();
    copyFileSync(xs('model.safetensors'), join(folder, 'model.safetensors'));
    put('generation_config.json', JSON.stringify({ eos_token_id: [255, 256] }));
    await expect(loadPolicy(folder)).rejects.toThrow(
      /generation_config\.json does not fit[\s\S]*eos_token_id 256 is none of the vocabulary's 256/,
    );
    put('generation_config.json', '[]');
    await expect(loadPolicy(folder)).rejects.toThrow(/generation_config\.json should hold a JSON object/);
  });

  test('whose tied head, stored a second time, holds a NaN: that is said, not that it is another head', async () => {
    const file = await openSafetensors(fixtureFolder('xs_tied', 'model.safetensors'));
    const tensors = new Map<string, StoredTensor>();
    for (const [name, { shape }] of file.records) tensors.set(name, { values: await file.read(name), shape });
    await file.close();
    const table = tensors.get('model.embed_tokens.weight') as StoredTensor & { values: Float32Array };
    table.values[70] = Number.NaN;
    tensors.set('lm_head.weight', table);
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
    copyFileSync(fixtureFolder('xs_tied', 'config.json'), join(folder, 'config.json'));
    await expect(loadPolicy(folder)).rejects.toThrow(/element 70 is NaN/);
  });

  test('nothing stays on the backend after a refusal', async () => {
    const before = tf.memory().numTensors;
    config();
    await expect(loadPolicy(folder)).rejects.toThrow();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('of a decoder that computes otherwise than the policy that is to take its weights', async () => {
    const policy = await loadPolicy(fixtureFolder('xs_untied'));
    copyFileSync(xs('model.safetensors'), join(folder, 'model.safetensors'));
    put('config.json', JSON.stringify({ ...readFixture('xs_untied', 'config.json'), rms_norm_eps: 1e-5 }));
    await expect(assignWeights(policy, folder)).rejects.toThrow(/rmsNormEpsilon is 0\.00001, the policy's is 0\.000001/);
    policy.dispose();
  });

  test('whose optimiser state is broken', async () => {
    const policy = Policy.initialize(tinyConfig, random(1));
    const engine = inProcessEngine(policy, noTokenizer);
    await engine.save(folder);
    const file = join(folder, 'optimizer.safetensors');
    await writeSafetensors(file, new Map([['model.norm.weight.first', { values: Float32Array.of(1), shape: [1] }]]), { steps: '3' });
    await expect(engine.load(folder)).rejects.toThrow(/model\.norm\.weight\.first has shape \[1\]/);
    await writeSafetensors(file, new Map());
    await expect(engine.load(folder)).rejects.toThrow(/optimizer\.safetensors.*steps/);
    engine.dispose();
  });
});
