/**
 * A policy as a Hugging Face folder: `config.json`, `model.safetensors` (or shards with an index), `generation_config.json`, tokenizer files.
 *
 * What is written opens in Transformers unchanged; what Transformers writes opens here. Shards, dtypes, names and shapes are all checked, and every
 * mismatch is listed, before a tensor is made.
 */

import * as tf from '@tensorflow/tfjs-core';
import { checkChoice, checkOptions, checkPath } from '../arguments.js';
import { assertFinite, NonFiniteError } from '../non-finite.js';
import { isThere, join } from '../platform/files.js';
import { openWhole, replaceFiles, writeFile } from '../platform/replace-file.js';
import type { AdamWState } from '../tensors/adamW.js';
import { ensureBackend } from '../tensors/backend.js';
import { firstNonFiniteHalf, nonFiniteHalf } from '../tensors/finite.js';
import { type HalfFormat, halfFormat, narrowToHalves, widenHalves } from '../tensors/half.js';
import { ADAPTER_FILES } from './adapter-files.js';
import { configToJson, endProblems, type PolicyConfig, parseConfig, weightShapes } from './config.js';
import { loadOptimizer, OPTIMIZER_FILE, writeOptimizer } from './optimizer-files.js';
import { Policy, type PolicyOrigin } from './policy.js';
import { BYTES_OF, listed, NOT_SAVED, type StoredTensor, writeSafetensors } from './safetensors.js';
import { type LoadOptions, openShards, readJson, type Shards } from './shards.js';
import { readTokenizerFile, tokenizerFiles } from './tokenizer-files.js';

/**
 * Loads a Qwen2 checkpoint folder onto the active backend; where none is active, the best there is is started.
 *
 * @throws Error listing what the folder lacks or what does not fit its config; NonFiniteError for a weight with a NaN or an infinity
 *
 * @example
 * ```ts
 * import { loadPolicy } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const policy = await loadPolicy(basePolicyFolder()); // or a folder of Qwen2.5
 * policy.config.layers; // 3
 * policy.dispose();
 * ```
 */
export async function loadPolicy(folder: string, options: LoadOptions = {}): Promise<Policy> {
  checkPath('loadPolicy', folder);
  checkOptions('loadPolicy', options, ['storage', 'onProgress', 'signal'] satisfies (keyof LoadOptions)[]);
  if (options.storage !== undefined) checkChoice('loadPolicy', 'storage', options.storage, ['float32', 'stored']);
  const { config, origin, shards } = await openCheckpoint(folder, async () => {
    const { config, origin } = await readConfigs(folder);
    return { config, origin, shards: await openShards(folder, config) };
  });
  const weights = new Map<string, tf.Tensor>();
  try {
    await ensureBackend();
    await shards.readAll((name, tensor) => weights.set(name, tensor), options);
    return Policy.fromTensors(config, weights, { frozen: options.storage === 'stored', origin });
  } catch (error) {
    tf.dispose([...weights.values()]);
    throw error;
  } finally {
    await shards.close();
  }
}

/**
 * Puts a folder's weights into a policy of the same shape, as when a run is resumed. All of them are looked at before the first is replaced.
 *
 * @returns the optimiser's moments beside them, null where there are none
 */
export async function assignWeights(policy: Policy, folder: string): Promise<AdamWState | null> {
  if (policy.frozen) throw new Error(`the policy's weights are frozen and cannot be replaced: load ${folder} as a policy of its own`);
  const { shards, state } = await openCheckpoint(folder, async () => {
    const { config } = await readConfigs(folder);
    const shards = await openShards(folder, policy.config);
    try {
      const problems = differences(config, policy.config);
      if (problems.length)
        throw new Error(
          `${folder} computes otherwise than the policy that is to take its weights:\n${problems.map((p) => `  ${p}`).join('\n')}`,
        );
      return { shards, state: await loadOptimizer(folder, policy.weights) };
    } catch (error) {
      await shards.close();
      throw error;
    }
  });
  try {
    await shards.check();
    await shards.readAll((name, tensor) => {
      policy.weights.get(name)?.assign(tensor);
      tensor.dispose();
    });
    return state;
  } finally {
    await shards.close();
  }
}

const openCheckpoint = <T extends { readonly shards: Shards }>(folder: string, open: () => Promise<T>): Promise<T> =>
  openWhole(folder, [CONFIG], { open, close: ({ shards }) => shards.close() });

/** Settings of the decoder that differ; where a text ends is not the decoder's. */
function differences(found: PolicyConfig, expected: PolicyConfig): string[] {
  const text = (config: PolicyConfig) =>
    new Map(
      Object.entries(config).flatMap(([name, value]) =>
        ['endIds', 'padId', 'maxPositions'].includes(name) ? [] : [[name, JSON.stringify(value)]],
      ),
    );
  const [ours, theirs] = [text(expected), text(found)];
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter((name) => ours.get(name) !== theirs.get(name))
    .map((name) => `${name} is ${theirs.get(name) ?? 'not set'}, the policy's is ${ours.get(name) ?? 'not set'}`);
}

/** What is written beside the weights, and how. */
export interface SaveOptions {
  /** Its tokenizer files are put beside the weights, unpacked where they are gzipped, as Transformers opens no others. */
  readonly tokenizerFolder?: string;
  /** Bytes that a weight file holds at most, if it holds more than one weight; above it there are several, and an index. Default 5e9, as Transformers. */
  readonly maxShardSize?: number;
  /** The moments of the policy's weights, for whoever trains on. */
  readonly optimizer?: AdamWState | null;
}

/**
 * Writes the policy (adapter not included: merge it first) as a folder that Transformers opens. Weights are written one after the other as they are stored on
 * the backend, F32 or 16 bits; what the policy's own `config.json` and `generation_config.json` say beyond what is read here is said again.
 *
 * An earlier save in the folder, adapters included, is replaced as a whole: after a failure or a kill the folder holds the old or the new.
 *
 * @throws NonFiniteError, before anything is replaced, for a weight or moment with a NaN or an infinity
 *
 * @example
 * ```ts
 * import { mkdtemp, readdir } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { loadPolicy, savePolicy } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const policy = await loadPolicy(basePolicyFolder());
 * const folder = await mkdtemp(join(tmpdir(), 'policy-'));
 * await savePolicy(policy, folder);
 * await readdir(folder); // [ 'config.json', 'generation_config.json', 'model.safetensors' ]
 * ```
 */
export async function savePolicy(policy: Policy, folder: string, options: SaveOptions = {}): Promise<void> {
  checkPath('savePolicy', folder);
  checkOptions('savePolicy', options, ['tokenizerFolder', 'maxShardSize', 'optimizer'] satisfies (keyof SaveOptions)[]);
  const { tokenizerFolder, maxShardSize = 5e9, optimizer = null } = options;
  if (policy.adapter) throw new Error('the policy has an adapter on: merge or drop it before saving');
  if (typeof maxShardSize !== 'number' || !(maxShardSize > 0))
    throw new RangeError(`maxShardSize: expected bytes above 0, got ${maxShardSize}`);
  const copied = tokenizerFolder ? await tokenizerFiles(tokenizerFolder) : [];
  const generation = await generationConfigOf(policy, tokenizerFolder);
  const { tensors, format } = await storedWeights(policy);
  const dtype = format === 'BF16' ? 'bfloat16' : format === 'F16' ? 'float16' : 'float32';
  await replaceFiles(folder, {
    marker: CONFIG,
    outdated: isOutdated,
    async write(into) {
      const put = (name: string, json: object) => writeFile(join(into, name), `${JSON.stringify(json, null, 2)}\n`);
      await writeShards(into, tensors, maxShardSize);
      await writeOptimizer(into, optimizer, policy.weights);
      const { bos_token_id, attention_dropout, ...computed } = configToJson(policy.config, dtype);
      await put(CONFIG, { bos_token_id, attention_dropout, ...policy.origin?.config, ...computed });
      await put(GENERATION, generation);
      for (const name of copied)
        await writeFile(join(into, name.replace(/\.gz$/, '')), await readTokenizerFile(join(tokenizerFolder as string, name)));
    },
  });
}

const CONFIG = 'config.json';
const GENERATION = 'generation_config.json';

/** Files of an earlier save; a tokenizer's stay unless they are written anew. */
const isOutdated = (name: string): boolean =>
  /^(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|config\.json|generation_config\.json)$/.test(name) ||
  name === OPTIMIZER_FILE ||
  ADAPTER_FILES.includes(name);

/** The weights as they are written, each looked at when it is its turn. */
async function storedWeights(policy: Policy): Promise<{ tensors: Map<string, StoredTensor>; format: HalfFormat | undefined }> {
  const tensors = new Map<string, StoredTensor>();
  const format = [...policy.weights.values()].map(halfFormat).find((each) => each !== undefined);
  for (const [name, shape] of weightShapes(policy.config)) {
    const weight = policy.weights.get(name) as tf.Variable;
    const dtype = halfFormat(weight);
    if (dtype) {
      tensors.set(name, { shape, dtype, values: async () => finiteHalves(name, halvesOf(await weight.data()), dtype) });
      continue;
    }
    const values = async () => {
      const all = await weight.data<'float32'>();
      assertFinite(name, all, NOT_SAVED);
      return all;
    };
    const halves = format ? exactHalves(await values(), format) : null;
    if (halves) tensors.set(name, { shape, dtype: format, values: halves });
    else tensors.set(name, { shape, values });
  }
  return { tensors, format };
}

function finiteHalves(name: string, bits: Uint16Array, format: HalfFormat): Uint16Array {
  const index = firstNonFiniteHalf(bits, format);
  if (index >= 0) throw new NonFiniteError(name, nonFiniteHalf(bits[index], format), index, NOT_SAVED.advice);
  return bits;
}

/** One `model.safetensors`, or shards named and indexed as Transformers does; a weight is never cut. */
async function writeShards(folder: string, tensors: ReadonlyMap<string, StoredTensor>, maxShardSize: number): Promise<void> {
  const bytesOf = ({ shape, dtype = 'F32' }: StoredTensor) => shape.reduce((a, b) => a * b, BYTES_OF[dtype]);
  const shards: Map<string, StoredTensor>[] = [];
  let room = 0;
  for (const [name, tensor] of tensors) {
    const bytes = bytesOf(tensor);
    if (shards.length === 0 || bytes > room) {
      shards.push(new Map());
      room = maxShardSize;
    }
    shards[shards.length - 1].set(name, tensor);
    room -= bytes;
  }
  if (shards.length === 1) return writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const five = (n: number) => String(n).padStart(5, '0');
  const weight_map: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const file = `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`;
    for (const name of shard.keys()) weight_map[name] = file;
    await writeSafetensors(join(folder, file), shard);
  }
  const all = [...tensors.values()];
  const total_parameters = all.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const index = { metadata: { total_parameters, total_size: all.reduce((sum, each) => sum + bytesOf(each), 0) }, weight_map };
  await writeFile(join(folder, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`);
}

/**
 * What `generation_config.json` says: what the policy's own said, then what the tokenizer folder's says, and every end token of both and of the config. A
 * policy that was made here is sampled; one that Transformers made and that has no such file is as Transformers' defaults are.
 */
async function generationConfigOf({ config, origin }: Policy, tokenizerFolder: string | undefined): Promise<Record<string, unknown>> {
  const beside = tokenizerFolder ? await readGenerationConfig(tokenizerFolder) : null;
  const own = origin?.generation ?? null;
  const endsOf = (generation: Record<string, unknown> | null) => [(generation?.eos_token_id ?? []) as number | number[]].flat();
  const ends = [...new Set([...endsOf(own), ...config.endIds, ...endsOf(beside)])];
  const eos_token_id = ends.length > 1 ? ends : (ends[0] ?? null);
  const settings = { ...(origin ? {} : { do_sample: true }), ...beside, ...own };
  return { ...settings, eos_token_id, pad_token_id: own?.pad_token_id ?? config.padId ?? beside?.pad_token_id ?? null };
}

async function readGenerationConfig(folder: string): Promise<Record<string, unknown> | null> {
  const path = join(folder, GENERATION);
  if (!(await isThere(path))) return null;
  return record(await readJson(path), path);
}

function record(json: unknown, path: string): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new Error(`${path} should hold a JSON object`);
  return json as Record<string, unknown>;
}

/** Vectors lie as float32 beside matrices of 16 bits: as 16 bits again where that loses nothing, as it does not where they were read so. */
function exactHalves(values: Float32Array, format: HalfFormat): Uint16Array | null {
  const halves = new Uint16Array(values.length);
  narrowToHalves(values, format, halves);
  const wide = new Float32Array(values.length);
  widenHalves(halves, format, wide);
  return values.every((value, i) => Object.is(value, wide[i])) ? halves : null;
}

const halvesOf = (packed: ArrayBufferView): Uint16Array => new Uint16Array(packed.buffer, packed.byteOffset, packed.byteLength / 2);

/** `config.json` as it is read here, and it and `generation_config.json` as they stand, for when the policy is saved. */
async function readConfigs(folder: string): Promise<{ config: PolicyConfig; origin: PolicyOrigin }> {
  const path = join(folder, CONFIG);
  if (!(await isThere(path))) throw new Error(`${folder} holds no config.json: expected a Hugging Face checkpoint folder`);
  const json = await readJson(path);
  const config = parseConfig(json, path);
  const generation = await readGenerationConfig(folder);
  const problems = endProblems(generation ?? {}, config.vocabSize);
  if (problems.length) throw new Error(`${join(folder, GENERATION)} does not fit its ${CONFIG}:\n${listed(problems)}`);
  return { config, origin: { config: json as Record<string, unknown>, generation } };
}
