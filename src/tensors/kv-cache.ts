/**
 * The keys and values of all tokens read so far, layer by layer: what a decoder keeps so that each new token is computed once.
 *
 * With kernels a layer has room to grow and new tokens are written into it; without, each step joins old and new into fresh tensors.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';
import { embedding } from './embedding.js';

/** One layer's keys and values, for `attention` with its `length`. */
export interface CachedLayer {
  readonly k: tf.Tensor4D; // [B, length or more, Hkv, headDim]
  readonly v: tf.Tensor4D; // [B, length or more, Hkv, headDim]
  /** How many tokens are in them; what lies behind is room and means nothing. */
  readonly length: number;
}

/** Owns its tensors: they live until the next `append` of their layer, `keepRows` or `dispose`, also across `tf.tidy`. */
export class KeyValueCache {
  readonly #layers: (CachedLayer | undefined)[];

  /**
   * @param layers number of decoder layers
   * @param capacity largest number of tokens a row may hold
   */
  constructor(
    layers: number,
    readonly capacity: number,
  ) {
    this.#layers = new Array<CachedLayer | undefined>(layers).fill(undefined);
  }

  /** Tokens a row holds (in the last layer: while a step is under way, earlier layers are ahead). */
  get length(): number {
    return this.#layers[this.#layers.length - 1]?.length ?? 0;
  }

  /**
   * Adds the keys and values of t new tokens and returns those of all tokens; the caller does not dispose them.
   *
   * @param k [B, t, Hkv, headDim]
   * @param v [B, t, Hkv, headDim]
   * @throws RangeError beyond the capacity
   */
  append(layer: number, k: tf.Tensor4D, v: tf.Tensor4D): CachedLayer {
    const old = this.#layers[layer];
    const length = (old?.length ?? 0) + k.shape[1];
    if (length > this.capacity)
      throw new RangeError(`KeyValueCache: ${length} tokens exceed the capacity of ${this.capacity}; make a larger cache`);
    const extend = (which: 'k' | 'v', x: tf.Tensor4D) => {
      if (hasKernel('SearchE1CopyPositions')) return writeInto(old?.[which], old?.length ?? 0, x, this.capacity);
      return old ? tf.concat([tf.slice(old[which], 0, [-1, old.length, -1, -1]), x], 1) : tf.clone(x);
    };
    return this.#replace(layer, length, { k: tf.tidy(() => extend('k', k)), v: tf.tidy(() => extend('v', v)) });
  }

  /** Keeps the rows named, in this order: leaves out finished ones, repeats one that several sequences continue. */
  keepRows(rows: readonly number[]): void {
    tf.tidy(() => {
      const ids = tf.tensor1d(rows as number[], 'int32');
      const kept = (x: tf.Tensor4D): tf.Tensor4D => {
        const [batch, ...rest] = x.shape;
        return tf.reshape(embedding(tf.reshape(x, [batch, -1]), ids), [rows.length, ...rest] as [number, number, number, number]);
      };
      this.#layers.forEach((old, layer) => {
        if (old) this.#replace(layer, old.length, { k: kept(old.k), v: kept(old.v) });
      });
    });
  }

  dispose(): void {
    this.#layers.forEach((layer, at) => {
      tf.dispose(layer ? [layer.k, layer.v] : []);
      this.#layers[at] = undefined;
    });
  }

  #replace(layer: number, length: number, next: Pick<CachedLayer, 'k' | 'v'>): CachedLayer {
    const old = this.#layers[layer];
    for (const which of ['k', 'v'] as const) {
      tf.keep(next[which]);
      if (old && old[which] !== next[which]) old[which].dispose();
    }
    const cached = { ...next, length };
    this.#layers[layer] = cached;
    return cached;
  }
}

/** The tensor that holds the first `length` positions of `old` and then x: `old` itself where it has room, else one with twice the room. */
function writeInto(old: tf.Tensor4D | undefined, length: number, x: tf.Tensor4D, capacity: number): tf.Tensor4D {
  const [batch, added, ...width] = x.shape;
  const needed = length + added;
  const room = old?.shape[1] ?? 0;
  let into = old;
  if (!into || needed > room) {
    into = tf.zeros([batch, Math.min(capacity, Math.max(needed + 32, 2 * room)), ...width] as [number, number, number, number]);
    if (old) runKernel('SearchE1CopyPositions', { x: old, y: into }, { at: 0, count: length });
  }
  runKernel('SearchE1CopyPositions', { x, y: into }, { at: length, count: added });
  return into;
}
