/**
 * A policy as a Hugging Face folder: `config.json`, `model.safetensors` (or shards with an index), `generation_config.json`, tokenizer files.
 *
 * What is written opens in Transformers unchanged; what Transformers writes opens here. Shards, dtypes, names and shapes are all checked, and every
 * mismatch is listed, before a tensor is made.
 */
import { copyFile, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { AdamWState } from '../tensors/adamW.js';
import { configToJson, type PolicyConfig, parseConfig, weightShapes } from './config.js';
import { Policy } from './policy.js';
import { openSafetensors, type SafetensorsFile, writeSafetensors } from './safetensors.js';

const TIED_HEAD = 'lm_head.weight';
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'];

/**
 * Loads a Qwen2 checkpoint folder onto the active backend.
 *
 * @throws Error listing what the folder lacks or what does not fit its config.
 */
export async function loadPolicy(folder: string): Promise<Policy> {
  const config = await readConfig(folder);
  return Policy.fromValues(config, await readWeights(folder, config));
}

/** Puts a folder's weights into a policy of the same shape, as when a run is resumed. */
export async function assignWeights(policy: Policy, folder: string): Promise<void> {
  const values = await readWeights(folder, policy.config);
  for (const [name, weight] of policy.weights) {
    const fresh = tf.tensor(values.get(name) as Float32Array, weight.shape, 'float32');
    weight.assign(fresh);
    fresh.dispose();
  }
}

async function readWeights(folder: string, config: PolicyConfig): Promise<Map<string, Float32Array>> {
  const files = await openShards(folder);
  try {
    const where = new Map<string, SafetensorsFile>();
    const expected = weightShapes(config);
    const problems: string[] = [];
    for (const file of files) {
      for (const name of file.records.keys()) {
        const other = where.get(name);
        if (other) problems.push(`${name} is in ${basename(other.path)} and in ${basename(file.path)}`);
        where.set(name, file);
      }
    }
    for (const [name, shape] of expected) {
      const found = where.get(name)?.records.get(name);
      if (!found) problems.push(`${name} is missing (shape [${shape}])`);
      else if (found.shape.join() !== shape.join()) problems.push(`${name} has shape [${found.shape}], the config asks for [${shape}]`);
    }
    for (const name of where.keys()) {
      // Some writers store the tied head as well: it is the embedding again.
      if (!expected.has(name) && !(config.tiedEmbeddings && name === TIED_HEAD))
        problems.push(`${name} is not a weight of this architecture`);
    }
    if (problems.length) throw new Error(`${folder} does not fit its config.json:\n${problems.map((p) => `  ${p}`).join('\n')}`);
    const values = new Map<string, Float32Array>();
    for (const name of expected.keys()) values.set(name, await (where.get(name) as SafetensorsFile).read(name));
    const head = config.tiedEmbeddings ? await where.get(TIED_HEAD)?.read(TIED_HEAD) : undefined;
    if (head && !sameValues(head, values.get('model.embed_tokens.weight') as Float32Array)) {
      throw new Error(
        `${folder} holds an ${TIED_HEAD} of its own, but its config.json ties the head to the embedding: set tie_word_embeddings to false`,
      );
    }
    return values;
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

const sameValues = (a: Float32Array, b: Float32Array): boolean => a.length === b.length && a.every((value, i) => value === b[i]);

/** Writes the policy (adapter not included: merge it first) and copies the tokenizer files of `tokenizerFolder` beside it. */
export async function savePolicy(
  policy: Policy,
  folder: string,
  { tokenizerFolder }: { readonly tokenizerFolder?: string } = {},
): Promise<void> {
  if (policy.adapter) throw new Error('the policy has an adapter on: merge or drop it before saving');
  await mkdir(folder, { recursive: true });
  const values = await policy.values();
  const shapes = weightShapes(policy.config);
  const tensors = new Map([...shapes].map(([name, shape]) => [name, { values: values.get(name) as Float32Array, shape }]));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  await writeWhole(join(folder, 'config.json'), JSON.stringify(configToJson(policy.config), null, 2));
  const { endIds, padId } = policy.config;
  const ends = [...new Set([...endIds, ...(tokenizerFolder ? await generationEndIds(tokenizerFolder) : [])])];
  await writeWhole(
    join(folder, 'generation_config.json'),
    JSON.stringify({ eos_token_id: ends, pad_token_id: padId, do_sample: true }, null, 2),
  );
  if (!tokenizerFolder || tokenizerFolder === folder) return;
  for (const name of TOKENIZER_FILES) await copyFile(join(tokenizerFolder, name), join(folder, name));
}

/** End tokens that a folder's `generation_config.json` names; published chat models have more there than in `config.json`. */
async function generationEndIds(folder: string): Promise<number[]> {
  const path = join(folder, 'generation_config.json');
  if (!(await stat(path).catch(() => null))) return [];
  const { eos_token_id } = ((await readJson(path)) ?? {}) as { eos_token_id?: number | number[] | null };
  return [eos_token_id ?? []].flat();
}

const OPTIMIZER_FILE = 'optimizer.safetensors';

/** Writes AdamW's moments beside a checkpoint: `<weight>.first` and `<weight>.second`, the step count in the metadata. */
export async function saveOptimizer(folder: string, state: AdamWState, policy: Policy): Promise<void> {
  const tensors = new Map<string, { values: Float32Array; shape: readonly number[] }>();
  for (const [name, { shape }] of policy.weights) {
    tensors.set(`${name}.first`, { values: state.first[name], shape });
    tensors.set(`${name}.second`, { values: state.second[name], shape });
  }
  await writeSafetensors(join(folder, OPTIMIZER_FILE), tensors, { steps: String(state.steps) });
}

/** The moments beside a checkpoint; null where there are none (a base model, a merged policy). */
export async function loadOptimizer(folder: string): Promise<AdamWState | null> {
  const path = join(folder, OPTIMIZER_FILE);
  if (!(await stat(path).catch(() => null))) return null;
  const file = await openSafetensors(path);
  try {
    const first: Record<string, Float32Array> = {};
    const second: Record<string, Float32Array> = {};
    for (const name of file.records.keys()) {
      const moments = name.endsWith('.first') ? first : second;
      moments[name.replace(/\.(first|second)$/, '')] = await file.read(name);
    }
    const steps = Number(file.metadata.steps);
    if (!Number.isSafeInteger(steps) || steps < 0)
      throw new Error(`${path}: metadata "steps" is ${file.metadata.steps}, expected the number of steps taken`);
    return { steps, first, second };
  } finally {
    await file.close();
  }
}

async function readConfig(folder: string): Promise<PolicyConfig> {
  const path = join(folder, 'config.json');
  if (!(await stat(path).catch(() => null))) throw new Error(`${folder} holds no config.json: expected a Hugging Face checkpoint folder`);
  return parseConfig(await readJson(path), path);
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${path} is not JSON: ${(error as Error).message}`);
  }
}

async function openShards(folder: string): Promise<SafetensorsFile[]> {
  const single = join(folder, 'model.safetensors');
  if (await stat(single).catch(() => null)) return [await openSafetensors(single)];
  const indexPath = join(folder, 'model.safetensors.index.json');
  if (!(await stat(indexPath).catch(() => null))) {
    const found = (await readdir(folder)).filter((name) => /\.(safetensors|bin|gguf)$/.test(name));
    throw new Error(
      `${folder} holds no model.safetensors and no model.safetensors.index.json${found.length ? ` (found ${found.join(', ')})` : ''}`,
    );
  }
  const map = ((await readJson(indexPath)) as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null) throw new Error(`${indexPath} has no weight_map`);
  const names = [...new Set(Object.values(map).map(String))].sort();
  const outside = names.filter((name) => name === '' || name === '.' || name === '..' || /[\\/]/.test(name));
  if (outside.length) throw new Error(`${indexPath} names files outside its folder: ${outside.join(', ')}`);
  const found = new Set(await readdir(folder));
  const missing = names.filter((name) => !found.has(name));
  if (missing.length) throw new Error(`${indexPath} names files that are not there: ${missing.join(', ')}. Is the download complete?`);
  const files: SafetensorsFile[] = [];
  try {
    for (const name of names) files.push(await openSafetensors(join(folder, name)));
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
  return files;
}

async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.tmp`, `${text}\n`);
  await rename(`${path}.tmp`, path);
}
