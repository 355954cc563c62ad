/**
 * A LoRA adapter as PEFT keeps it: `adapter_config.json` and `adapter_model.safetensors`. What is written opens in PEFT; what PEFT writes opens here.
 *
 * It is put where PEFT would put it (`adapter-targets.ts`). What is not computed here (DoRA and other variants, trained biases or whole modules, ranks that
 * differ from layer to layer, initialisations that change the weights below, fields that nobody here knows) is refused, never ignored, with every reason in one
 * error.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkOptions, checkPath } from '../arguments.js';
import { assertFinite } from '../non-finite.js';
import { isThere, join } from '../platform/files.js';
import { finishReplacing, openWhole, replaceFiles, writeFile } from '../platform/replace-file.js';
import type { AdamWState } from '../tensors/adamW.js';
import { ensureBackend } from '../tensors/backend.js';
import { createVariable } from '../tensors/variable.js';
import { targetedLayers, targetFields, targetsOf } from './adapter-targets.js';
import { weightShapes } from './config.js';
import { adapterName, LARGEST_ALPHA, type LoraAdapter } from './lora.js';
import { loadOptimizer, OPTIMIZER_FILE, writeOptimizer } from './optimizer-files.js';
import type { Policy } from './policy.js';
import { listed, NOT_SAVED, openSafetensors, type SafetensorsFile, type StoredTensor, writeSafetensors } from './safetensors.js';
import { readJson } from './shards.js';

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';
/** What an adapter's folder is made of, apart from the optimiser's state. */
export const ADAPTER_FILES: readonly string[] = [CONFIG, WEIGHTS];
const PREFIX = 'base_model.model.';

const schema = z.looseObject({
  peft_type: z.literal('LORA'),
  r: z.number().int().positive(),
  lora_alpha: z.number().positive().max(LARGEST_ALPHA),
  bias: z.string().nullish(),
  use_rslora: z.boolean().nullish(),
  task_type: z.string().nullish(),
  ...targetFields,
  init_lora_weights: z.union([z.boolean(), z.string()]).nullish(),
});

/** Fields of PEFT's `LoraConfig` that change nothing here, whatever they hold: those read, the dropout of training, and settings of initialisations that are done. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...['peft_type', 'r', 'lora_alpha', 'bias', 'use_rslora', 'init_lora_weights', 'task_type'],
  ...['target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern'],
  ...['base_model_name_or_path', 'revision', 'auto_mapping', 'peft_version', 'inference_mode', 'lora_dropout'],
  ...[
    'megatron_core',
    'runtime_config',
    'qalora_group_size',
    'loftq_config',
    'eva_config',
    'corda_config',
    'lora_ga_config',
    'ensure_weight_tying',
  ],
]);

/** Initialisations that leave the weights below as they are; PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA take from them what they put into the adapter. */
const INITIALISATIONS: readonly unknown[] = [undefined, null, true, false, 'gaussian', 'eva', 'orthogonal'];

const holdsAnything = (value: unknown): boolean =>
  typeof value === 'object' && value !== null ? Object.keys(value).length > 0 : Boolean(value);

/** What is written beside the adapter. */
export interface SaveAdapterOptions {
  /** What `base_model_name_or_path` says: the folder or name of the weights below. */
  readonly baseModel?: string;
  /** The moments of the adapter's matrices, for whoever trains on. */
  readonly optimizer?: AdamWState | null;
}

/**
 * Writes a policy's adapter. An earlier one in the folder is replaced as a whole: after a failure or a kill the folder holds the old or the new.
 *
 * @throws NonFiniteError, before anything is replaced, for a matrix or moment with a NaN or an infinity
 *
 * @example
 * ```ts
 * import { readdirSync } from 'node:fs';
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { loadPolicy, saveAdapter } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const policy = await loadPolicy(basePolicyFolder());
 * policy.addAdapter({ rank: 4, alpha: 8, seed: 1 });
 * const folder = await mkdtemp(join(tmpdir(), 'adapter-'));
 * await saveAdapter(policy, folder, { baseModel: 'base-policy' });
 * readdirSync(folder); // [ 'adapter_config.json', 'adapter_model.safetensors' ]
 * ```
 */
export async function saveAdapter(policy: Policy, folder: string, options: SaveAdapterOptions = {}): Promise<void> {
  checkPath('saveAdapter', folder);
  checkOptions('saveAdapter', options, ['baseModel', 'optimizer'] satisfies (keyof SaveAdapterOptions)[]);
  const { baseModel = '', optimizer = null } = options;
  const { adapter } = policy;
  if (!adapter) throw new Error('this policy has no adapter to save');
  if (await isThere(join(folder, 'config.json')))
    throw new Error(`${folder} holds a policy (config.json): save the adapter in a folder of its own`);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, variable] of adapter.variables) {
    const values = async () => {
      const all = await variable.data<'float32'>();
      assertFinite(name, all, NOT_SAVED);
      return all;
    };
    tensors.set(PREFIX + name, { shape: variable.shape, values });
  }
  const layers = [...new Set([...adapter.variables.keys()].map((name) => name.replace(/\.lora_[AB]\.weight$/, '')))];
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel,
    r: adapter.rank,
    lora_alpha: adapter.alpha,
    lora_dropout: 0,
    target_modules: targetsOf(layers, policy.config),
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    use_rslora: false,
    use_dora: false,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
    inference_mode: true,
  };
  await replaceFiles(folder, {
    marker: CONFIG,
    outdated: (name) => ADAPTER_FILES.includes(name) || name === OPTIMIZER_FILE,
    async write(into) {
      await writeSafetensors(join(into, WEIGHTS), tensors);
      await writeOptimizer(into, optimizer, adapter.variables);
      await writeFile(join(into, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    },
  });
}

/** Whether a folder holds an adapter, rather than a whole policy. */
export async function holdsAdapter(folder: string): Promise<boolean> {
  checkPath('load', folder);
  await finishReplacing(folder);
  if (!(await isThere(join(folder, CONFIG)))) return false;
  if (await isThere(join(folder, 'config.json')))
    throw new Error(`${folder} holds an adapter and a policy (${CONFIG} and config.json): keep them in folders of their own`);
  return true;
}

/** What is read beside the adapter. */
export interface LoadAdapterOptions {
  /** Whether the optimiser's moments beside the adapter are read too, for whoever trains on. Default false. */
  readonly optimizer?: boolean;
}

/**
 * Puts a folder's adapter on a policy that has none: what PEFT or `saveAdapter` wrote.
 *
 * @returns with `optimizer` the moments beside it, which `AdamW.restore` takes, null where there are none: training goes on as if never interrupted; else null
 * @throws Error listing what the adapter asks for that is not computed here, and every tensor that does not fit the policy, which then has no adapter as before;
 * NonFiniteError
 *
 * @example
 * ```ts
 * import { mkdtempSync } from 'node:fs';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { loadAdapter, loadPolicy, saveAdapter } from 'search-e1/policy';
 * import { AdamW } from 'search-e1/tensors';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const policy = await loadPolicy(basePolicyFolder());
 * policy.addAdapter({ rank: 4, alpha: 8, seed: 1 });
 * const optimizer = new AdamW(Object.fromEntries(policy.trainable));
 * const folder = mkdtempSync(join(tmpdir(), 'adapter-'));
 * await saveAdapter(policy, folder, { optimizer: await optimizer.state() });
 *
 * const later = await loadPolicy(basePolicyFolder());
 * const state = await loadAdapter(later, folder, { optimizer: true });
 * later.adapter?.rank; // 4
 * state; // null
 * ```
 */
export async function loadAdapter(policy: Policy, folder: string, options: LoadAdapterOptions = {}): Promise<AdamWState | null> {
  checkPath('loadAdapter', folder);
  checkOptions('loadAdapter', options, ['optimizer'] satisfies (keyof LoadAdapterOptions)[]);
  return attach(policy, folder, async ({ variables }) => (options.optimizer ? loadOptimizer(folder, variables) : null));
}

async function attach<T>(policy: Policy, folder: string, alsoRead: (adapter: LoraAdapter) => Promise<T>): Promise<T> {
  if (policy.adapter) throw new Error('this policy has an adapter already: merge or drop it first');
  await ensureBackend();
  const dispose = ({ variables }: LoraAdapter) => tf.dispose([...variables.values()]);
  const { adapter, more } = await openWhole(folder, [CONFIG], {
    async open() {
      const adapter = await readAdapter(policy, folder);
      try {
        return { adapter, more: await alsoRead(adapter) };
      } catch (error) {
        dispose(adapter);
        throw error;
      }
    },
    close: async ({ adapter }) => dispose(adapter),
  });
  policy.attachAdapter(adapter);
  return more;
}

async function readAdapter(policy: Policy, folder: string): Promise<LoraAdapter> {
  const path = join(folder, CONFIG);
  const parsed = schema.safeParse(await readJson(path));
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || '(root)'}: ${issue.message}`).join('\n');
    throw new Error(`${path} is not the configuration of a LoRA adapter:\n${problems}`);
  }
  const config = parsed.data;
  const refused = [
    ...Object.keys(config).filter((field) => !HARMLESS.has(field) && holdsAnything(config[field])),
    ...(config.task_type && config.task_type !== 'CAUSAL_LM' ? [`task_type ${config.task_type}`] : []),
    ...(config.bias && config.bias !== 'none' ? [`bias ${config.bias}`] : []),
    ...(INITIALISATIONS.includes(config.init_lora_weights) ? [] : [`init_lora_weights ${config.init_lora_weights}`]),
  ];
  const targets = targetedLayers(config, policy.config, refused);
  if (refused.length) throw new Error(`${path} asks for what is not computed here: ${refused.join(', ')}`);
  const file = await openSafetensors(join(folder, WEIGHTS));
  const variables = new Map<string, tf.Variable>();
  try {
    const shapes = adapterShapes(policy, targets, config.r);
    const problems: string[] = [];
    for (const [name, { shape }] of file.records) {
      const expected = name.startsWith(PREFIX) ? shapes.get(name.slice(PREFIX.length)) : undefined;
      if (!expected) problems.push(`${name} belongs to no layer that ${CONFIG} names`);
      else if (`${expected}` !== `${shape}`) problems.push(`${name} has shape [${shape}], rank ${config.r} asks for [${expected}]`);
    }
    for (const [name, shape] of shapes)
      if (!file.records.has(PREFIX + name)) problems.push(`${PREFIX + name} is missing (shape [${shape}])`);
    if (problems.length) throw new Error(`${file.path} does not fit:\n${listed(problems)}`);
    for (const [name, shape] of shapes) {
      variables.set(name, createVariable(name, await finite(file, PREFIX + name), shape));
    }
    // PEFT scales by alpha / sqrt(r) under rsLoRA.
    return { rank: config.r, alpha: config.use_rslora ? config.lora_alpha * Math.sqrt(config.r) : config.lora_alpha, variables };
  } catch (error) {
    for (const variable of variables.values()) variable.dispose();
    throw error;
  } finally {
    await file.close();
  }
}

async function finite(file: SafetensorsFile, name: string): Promise<Float32Array> {
  const values = await file.read(name);
  assertFinite(`${file.path}: ${name}`, values);
  return values;
}

/** Shape of both matrices of every targeted layer. */
function adapterShapes(policy: Policy, targets: readonly string[], rank: number): Map<string, readonly number[]> {
  const weights = weightShapes(policy.config);
  return new Map(
    targets.flatMap((layer) => {
      const name = `${layer}.weight`;
      const [out, inputs] = weights.get(name) as readonly number[];
      return [[adapterName(name, 'A'), [rank, inputs]] as const, [adapterName(name, 'B'), [out, rank]] as const];
    }),
  );
}
