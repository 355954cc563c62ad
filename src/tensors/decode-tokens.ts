/**
 * One token of each of many sequences through a whole decoder, from ids to logits, as one operation: in sampling nearly every step is one.
 *
 * Its formula is the decoder's own, operation by operation (`policy/decoder.ts`), and its result the same to the last bit. The kernel needs no tensor between
 * two operations and packs the weights once for many steps, which costs a second copy of them: large models, whose products take the time anyway, go without.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';
import { halfFormat } from './half.js';
import type { CacheStep } from './kv-cache.js';
import type { Adapter } from './linear.js';
import type { RotaryTables } from './rotary.js';

export interface LinearWeights {
  readonly weight: tf.Tensor2D; // [out, in]
  readonly bias?: tf.Tensor1D; // [out]
  readonly adapter?: Adapter;
}

/** One block: `inputNorm`, attention, `postNorm`, SwiGLU. */
export interface BlockWeights {
  readonly inputNorm: tf.Tensor1D; // [d]
  readonly postNorm: tf.Tensor1D; // [d]
  readonly q: LinearWeights; // [H * headDim, d]
  readonly k: LinearWeights; // [Hkv * headDim, d]
  readonly v: LinearWeights; // [Hkv * headDim, d]
  readonly o: LinearWeights; // [d, H * headDim]
  readonly gate: LinearWeights; // [inner, d]
  readonly up: LinearWeights; // [inner, d]
  readonly down: LinearWeights; // [d, inner]
}

export interface StackWeights {
  readonly table: tf.Tensor2D; // [V, d]
  readonly blocks: readonly BlockWeights[];
  readonly norm: tf.Tensor1D; // [d]
  readonly head: tf.Tensor2D; // [V, d]
  readonly heads: number;
  readonly kvHeads: number;
  /** Of the norms. */
  readonly epsilon: number;
}

/** What the kernels are told of the stack. */
export interface DecoderSizes {
  readonly layers: number;
  readonly width: number;
  readonly inner: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  /** Of the adapter, or 0. */
  readonly rank: number;
  /** The adapter's alpha / rank. */
  readonly scale: number;
  /** Of the norms. */
  readonly epsilon: number;
}

/** In the order of a block. */
export const LINEARS = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const;

/** Bytes of weights that may be kept twice. */
const LARGEST_COPY = 2 ** 27;

/** Weights made ready for one token at a time: a copy, but for the table, of what they are at the moment. */
export class TokenDecoder {
  readonly #table: tf.Tensor2D;
  readonly #tables: RotaryTables;
  /** What the kernel made of the weights. */
  readonly #packed: tf.Tensor[];
  readonly #sizes: DecoderSizes;

  /**
   * Null where the backend has no kernel for it, where weights are kept in 16 bits, and where the copy would be larger than 128 MB.
   *
   * @param tables of all positions to come, from 0 on
   */
  static open(weights: StackWeights, tables: () => RotaryTables): TokenDecoder | null {
    const { head, blocks } = weights;
    const matrices = [head, ...blocks.flatMap((block) => LINEARS.map((name) => block[name].weight))];
    const fits = matrices.reduce((bytes, { size }) => bytes + 4 * size, 0) <= LARGEST_COPY;
    if (!fits || matrices.some(halfFormat) || !hasKernel('SearchE1DecodeTokens')) return null;
    return new TokenDecoder(weights, tables);
  }

  private constructor({ table, blocks, norm, head, heads, kvHeads, epsilon }: StackWeights, tables: () => RotaryTables) {
    const { gate, k } = blocks[0];
    const adapter = blocks.flatMap((block) => LINEARS.map((name) => block[name].adapter)).find(Boolean);
    this.#sizes = {
      ...{ layers: blocks.length, width: gate.weight.shape[1], inner: gate.weight.shape[0], vocabulary: head.shape[0] },
      ...{ heads, kvHeads, headDim: k.weight.shape[0] / kvHeads, rank: adapter?.a.shape[0] ?? 0, scale: adapter?.scale ?? 0, epsilon },
    };
    const layers = blocks.flatMap((block, i) => [
      [`${i}.inputNorm`, block.inputNorm],
      [`${i}.postNorm`, block.postNorm],
      ...LINEARS.flatMap((name) => {
        const { weight, bias, adapter } = block[name];
        return Object.entries({ weight, bias, a: adapter?.a, b: adapter?.b }).map(([part, tensor]) => [`${i}.${name}.${part}`, tensor]);
      }),
    ]);
    this.#table = table;
    this.#tables = tables();
    this.#packed = runKernel('SearchE1PackDecoder', { norm, head, ...Object.fromEntries(layers) }, this.#sizes);
    for (const tensor of this.#owned()) tf.keep(tensor);
  }

  #owned(): tf.Tensor[] {
    return [...this.#packed, this.#tables.cos, this.#tables.sin];
  }

  /**
   * Reads one token a sequence, each at its place of the step, and adds its key and value to the cache.
   *
   * @param tokens [n], in the order of the step's feeds
   * @param step of n feeds of one token, in slots whose cache has its layers already
   * @returns logits [n, V]
   */
  decode(tokens: Int32Array, { positions, places, layers }: CacheStep): tf.Tensor2D {
    if (tokens.length !== positions.length) throw new RangeError(`TokenDecoder: ${tokens.length} tokens for a step of ${positions.length}`);
    return tf.tidy(() => {
      const inputs: Record<string, tf.Tensor> = { plan: this.#packed[0], table: this.#table, ...this.#tables };
      layers().forEach(({ k, v }, i) => {
        inputs[`${i}.cachedK`] = k;
        inputs[`${i}.cachedV`] = v;
      });
      for (const [name, values] of Object.entries({ tokens, positions, places })) inputs[name] = tf.tensor1d(values, 'int32');
      return runKernel('SearchE1DecodeTokens', inputs, this.#sizes)[0] as tf.Tensor2D;
    });
  }

  dispose(): void {
    tf.dispose(this.#owned());
  }
}
