/**
 * A policy: the weights of a Qwen2 decoder on the active TensorFlow.js backend, and at most one LoRA adapter on top.
 *
 * Only the life cycle is here. What the weights compute is `decoder.ts`; how they come from and go to disk is `checkpoint.ts`.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from '../random.js';
import { requireBackend } from '../tensors/backend.js';
import { halfFormat, matrixShape, widenHalves } from '../tensors/half.js';
import { asVariable } from '../tensors/variable.js';
import { countParameters, type PolicyConfig, weightShapes } from './config.js';
import { createAdapter, type LoraAdapter, type LoraOptions, mergedWeight } from './lora.js';

/** Tensors by Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight`. */
export type WeightMap = ReadonlyMap<string, tf.Tensor>;

/**
 * What the files said that a policy was loaded from; said again when it is saved.
 *
 * The files that a policy was read from, as they stand: what is not read here is written again when it is saved.
 */
export interface PolicyOrigin {
  /** `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `generation_config.json`; null where there was none. */
  readonly generation: Readonly<Record<string, unknown>> | null;
}

/**
 * A Qwen2 decoder on the backend: weights that are trained in place, and at most one LoRA adapter.
 *
 * @example
 * ```ts
 * import { Policy, qwen25Configs } from 'search-e1/policy';
 * import { random } from 'search-e1';
 * import { startBackend } from 'search-e1/tensors';
 *
 * await startBackend();
 * const tiny = { ...qwen25Configs['0.5b'], vocabSize: 64, hiddenSize: 16, intermediateSize: 32, layers: 1, heads: 2, kvHeads: 1, headDim: 8 };
 * const policy = Policy.initialize(tiny, random(1, 'weights'));
 * policy.addAdapter({ rank: 2, alpha: 4, seed: 1 });
 * policy.trainable.size; // 14
 * policy.mergeAdapter();
 * ```
 */
export class Policy {
  /** The decoder's shape. */
  readonly config: PolicyConfig;
  readonly #weights: ReadonlyMap<string, tf.Variable>;
  #disposed = false;
  /** The adapter that is on, null where there is none. `addAdapter` puts one on. */
  adapter: LoraAdapter | null = null;

  private constructor(
    config: PolicyConfig,
    weights: ReadonlyMap<string, tf.Variable>,
    /** Whether the weights themselves are not trained, as those in 16 bits; an adapter can be trained on them, and merged. */
    readonly frozen: boolean,
    /** Null where it was made here. */
    readonly origin: PolicyOrigin | null,
  ) {
    this.config = config;
    this.#weights = weights;
  }

  /** By Hugging Face name; variables, so that an optimiser can move them. @throws Error once the policy is disposed */
  get weights(): ReadonlyMap<string, tf.Variable> {
    if (this.#disposed) throw new Error('the policy is disposed, and its engine with it: open it again (openEngine, loadPolicy)');
    return this.#weights;
  }

  /** Takes tensors by Hugging Face name, which the policy owns from here on: float32, or matrices in packed halves (`tensors/half.ts`). */
  static fromTensors(
    config: PolicyConfig,
    tensors: ReadonlyMap<string, tf.Tensor>,
    { frozen = false, origin = null }: { readonly frozen?: boolean; readonly origin?: PolicyOrigin | null } = {},
  ): Policy {
    const weights = new Map<string, tf.Variable>();
    for (const [name, shape] of weightShapes(config)) {
      const tensor = tensors.get(name);
      const found = tensor && (halfFormat(tensor) ? matrixShape(tensor) : tensor.shape);
      if (!tensor || `${found}` !== `${shape}`)
        throw new Error(`weight ${name}: expected shape [${shape}], got ${found ? `[${found}]` : 'none'}`);
      weights.set(name, asVariable(name, tensor));
    }
    return new Policy(config, weights, frozen || [...weights.values()].some((weight) => halfFormat(weight)), origin);
  }

  /** Takes values by Hugging Face name; their number and shapes must be those of `weightShapes(config)`. A backend must be active (`startBackend`). */
  static fromValues(config: PolicyConfig, values: ReadonlyMap<string, Float32Array>): Policy {
    requireBackend('Policy.fromValues');
    const tensors = new Map<string, tf.Tensor>();
    for (const [name, shape] of weightShapes(config)) {
      const value = values.get(name);
      const size = shape.reduce((a, b) => a * b, 1);
      if (value?.length !== size)
        throw new Error(`weight ${name}: expected ${size} values for shape [${shape}], got ${value?.length ?? 'none'}`);
      tensors.set(name, tf.tensor(value, [...shape], 'float32'));
    }
    return Policy.fromTensors(config, tensors);
  }

  /** Random weights: normal with deviation `scale` (output projections scaled down by depth as in GPT-2), norms 1, biases 0. */
  static initialize(config: PolicyConfig, random: Random, { scale = 0.02 }: { readonly scale?: number } = {}): Policy {
    requireBackend('Policy.initialize');
    const values = new Map<string, Float32Array>();
    for (const [name, shape] of weightShapes(config)) {
      const size = shape.reduce((a, b) => a * b, 1);
      const stream = random.fork(name);
      const deviation = /(o_proj|down_proj)\.weight$/.test(name) ? scale / Math.sqrt(2 * config.layers) : scale;
      if (name.endsWith('norm.weight')) values.set(name, new Float32Array(size).fill(1));
      else if (name.endsWith('bias')) values.set(name, new Float32Array(size));
      else
        values.set(
          name,
          Float32Array.from({ length: size }, () => deviation * stream.normal()),
        );
    }
    return Policy.fromValues(config, values);
  }

  /** What an optimiser moves: the adapter where there is one, else every weight, and nothing where they are frozen. */
  get trainable(): ReadonlyMap<string, tf.Variable> {
    if (this.adapter) return this.adapter.variables;
    return this.frozen ? new Map() : this.weights;
  }

  /** Ids that end a text: those of `generation_config.json`, which goes first in Transformers too, else of `config.json`. */
  get endIds(): readonly number[] {
    const said = this.origin?.generation?.eos_token_id;
    return said === undefined || said === null ? this.config.endIds : ([said].flat() as number[]);
  }

  /** Numbers in all weights, without the adapter's. */
  get parameters(): number {
    return countParameters(this.config);
  }

  /** Puts a fresh adapter on, which is trained from here on. @throws Error where one is on */
  addAdapter(options: LoraOptions): void {
    if (this.adapter) throw new Error('this policy has an adapter already: merge or drop it first');
    this.adapter = createAdapter(this.config, options);
  }

  /** Puts an adapter on that lies on the backend already; the policy owns it from here on. */
  attachAdapter(adapter: LoraAdapter): void {
    if (this.adapter) throw new Error('this policy has an adapter already: merge or drop it first');
    this.adapter = adapter;
  }

  /** W <- W + (alpha / rank) B A for every adapted weight; the adapter is gone afterwards. */
  mergeAdapter(): void {
    this.#addToWeights(1);
    this.dropAdapter();
  }

  /** The same, but the adapter comes back to the caller, for `unmergeAdapter`. */
  mergeAndKeepAdapter(): LoraAdapter {
    const adapter = this.#addToWeights(1);
    this.adapter = null;
    return adapter;
  }

  /** Takes a merged adapter out of the weights and puts it on again: the weights are as before the merge, within rounding: to 16 bits, where they have these. */
  unmergeAdapter(adapter: LoraAdapter): void {
    this.attachAdapter(adapter);
    this.#addToWeights(-1);
  }

  #addToWeights(sign: 1 | -1): LoraAdapter {
    const adapter = this.adapter;
    if (!adapter) throw new Error('this policy has no adapter to merge');
    for (const [name, weight] of this.weights) {
      const merged = mergedWeight(adapter, name, weight, sign);
      if (!merged) continue;
      weight.assign(merged);
      merged.dispose();
    }
    return adapter;
  }

  /** Takes the adapter off, if one is on, and gives it back. */
  dropAdapter(): void {
    for (const variable of this.adapter?.variables.values() ?? []) variable.dispose();
    this.adapter = null;
  }

  /** A frozen copy of the weights (without adapter). The caller disposes the tensors. */
  copyWeights(): Map<string, tf.Tensor> {
    return new Map([...this.weights].map(([name, weight]) => [name, tf.clone(weight)]));
  }

  /** Values by name in float32, read back from the backend. */
  async values(): Promise<Map<string, Float32Array>> {
    const values = new Map<string, Float32Array>();
    for (const name of this.weights.keys()) values.set(name, await this.value(name));
    return values;
  }

  /** A copy of one weight's values in float32, read back from the backend. */
  async value(name: string): Promise<Float32Array> {
    const weight = this.weights.get(name);
    if (!weight) throw new Error(`the policy has no weight ${name}`);
    const format = halfFormat(weight);
    const stored = await weight.data();
    if (!format) return Float32Array.from(stored as Float32Array);
    const wide = new Float32Array(2 * stored.length);
    widenHalves(new Uint16Array(stored.buffer, stored.byteOffset, wide.length), format, wide);
    return wide;
  }

  /** Gives weights and adapter back; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.dropAdapter();
    for (const variable of this.#weights.values()) variable.dispose();
    this.#disposed = true;
  }
}
