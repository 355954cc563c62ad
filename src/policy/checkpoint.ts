/**
 * A policy as a Hugging Face folder: `config.json`, `model.safetensors` (or shards with an index), `generation_config.json`, tokenizer files.
 *
 * What is written opens in Transformers unchanged; what Transformers writes opens here. Shards, dtypes, names and shapes are all checked, and every
 * mismatch is listed, before a tensor is made.
 */
import { copyFile, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { replaceFile } from '../replace-file.js';
import { ensureBackend } from '../tensors/backend.js';
import { type HalfFormat, halfFormat, narrowToHalves, widenHalves } from '../tensors/half.js';
import { configToJson, type PolicyConfig, parseConfig, weightShapes } from './config.js';
import { Policy } from './policy.js';
import { type StoredTensor, writeSafetensors } from './safetensors.js';
import { type LoadOptions, openShards, readJson } from './shards.js';
import { tokenizerFiles } from './tokenizer-files.js';

/**
 * Loads a Qwen2 checkpoint folder onto the active backend; where none is active, the best there is is started.
 *
 * @throws Error listing what the folder lacks or what does not fit its config.
 */
export async function loadPolicy(folder: string, options: LoadOptions = {}): Promise<Policy> {
  const config = await readConfig(folder);
  await ensureBackend();
  const shards = await openShards(folder, config);
  const weights = new Map<string, tf.Tensor>();
  try {
    await shards.readAll((name, tensor) => weights.set(name, tensor), options);
    return Policy.fromTensors(config, weights, { frozen: options.storage === 'stored' });
  } catch (error) {
    tf.dispose([...weights.values()]);
    throw error;
  } finally {
    await shards.close();
  }
}

/** Puts a folder's weights into a policy of the same shape, as when a run is resumed. */
export async function assignWeights(policy: Policy, folder: string): Promise<void> {
  if (policy.frozen) throw new Error(`the policy's weights are frozen and cannot be replaced: load ${folder} as a policy of its own`);
  const shards = await openShards(folder, policy.config);
  try {
    await shards.readAll((name, tensor) => {
      policy.weights.get(name)?.assign(tensor);
      tensor.dispose();
    });
  } finally {
    await shards.close();
  }
}

/**
 * Writes the policy (adapter not included: merge it first) and copies the tokenizer files of `tokenizerFolder` beside it. Weights are written one after the
 * other as they are stored on the backend, F32 or 16 bits.
 */
export async function savePolicy(
  policy: Policy,
  folder: string,
  { tokenizerFolder }: { readonly tokenizerFolder?: string } = {},
): Promise<void> {
  if (policy.adapter) throw new Error('the policy has an adapter on: merge or drop it before saving');
  await mkdir(folder, { recursive: true });
  const tensors = new Map<string, StoredTensor>();
  const format = [...policy.weights.values()].map(halfFormat).find((each) => each !== undefined);
  for (const [name, shape] of weightShapes(policy.config)) {
    const weight = policy.weights.get(name) as tf.Variable;
    if (halfFormat(weight)) tensors.set(name, { shape, dtype: halfFormat(weight), values: async () => halvesOf(await weight.data()) });
    else {
      const halves = format && shape.length === 1 ? exactHalves(await weight.data<'float32'>(), format) : null;
      if (halves) tensors.set(name, { shape, dtype: format, values: halves });
      else tensors.set(name, { shape, values: async () => (await weight.data()) as Float32Array });
    }
  }
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const dtype = format === 'BF16' ? 'bfloat16' : format === 'F16' ? 'float16' : 'float32';
  await replaceFile(join(folder, 'config.json'), `${JSON.stringify(configToJson(policy.config, dtype), null, 2)}\n`);
  const { endIds, padId } = policy.config;
  const generation = tokenizerFolder ? await generationConfig(tokenizerFolder) : {};
  const ends = [...new Set([...endIds, ...[generation.eos_token_id ?? []].flat()])];
  const settings = { do_sample: true, ...generation, eos_token_id: ends, pad_token_id: padId ?? generation.pad_token_id ?? null };
  await replaceFile(join(folder, 'generation_config.json'), `${JSON.stringify(settings, null, 2)}\n`);
  if (!tokenizerFolder || tokenizerFolder === folder) return;
  for (const name of await tokenizerFiles(tokenizerFolder)) await copyFile(join(tokenizerFolder, name), join(folder, name));
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

/** A folder's `generation_config.json`, which may name more end tokens than its `config.json`; empty where there is none. */
async function generationConfig(folder: string): Promise<Record<string, unknown> & { eos_token_id?: number | number[] | null }> {
  const path = join(folder, 'generation_config.json');
  if (!(await stat(path).catch(() => null))) return {};
  return ((await readJson(path)) ?? {}) as Record<string, unknown>;
}

async function readConfig(folder: string): Promise<PolicyConfig> {
  const path = join(folder, 'config.json');
  if (!(await stat(path).catch(() => null))) throw new Error(`${folder} holds no config.json: expected a Hugging Face checkpoint folder`);
  return parseConfig(await readJson(path), path);
}
