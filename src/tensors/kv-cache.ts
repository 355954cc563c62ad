/**
 * The keys and values of all tokens read so far, layer by layer: what a decoder keeps so that each new token is computed once.
 */
import * as tf from '@tensorflow/tfjs-core';

interface Layer {
  readonly k: tf.Tensor4D; // [B, T, Hkv, headDim]
  readonly v: tf.Tensor4D; // [B, T, Hkv, headDim]
}

/** Owns its tensors: they live until the next `append` of their layer, `keepRows` or `dispose`, also across `tf.tidy`. */
export class KeyValueCache {
  readonly #layers: (Layer | undefined)[];

  /**
   * @param layers number of decoder layers
   * @param capacity largest number of tokens a row may hold
   */
  constructor(
    layers: number,
    readonly capacity: number,
  ) {
    this.#layers = new Array<Layer | undefined>(layers).fill(undefined);
  }

  /** Tokens a row holds (in the last layer: while a step is under way, earlier layers are ahead). */
  get length(): number {
    return this.#layers[this.#layers.length - 1]?.k.shape[1] ?? 0;
  }

  /**
   * Adds the keys and values of t new tokens and returns those of all tokens; the caller does not dispose them.
   *
   * @param k [B, t, Hkv, headDim]
   * @param v [B, t, Hkv, headDim]
   * @returns k and v [B, T, Hkv, headDim]
   */
  append(layer: number, k: tf.Tensor4D, v: tf.Tensor4D): Layer {
    const old = this.#layers[layer];
    const total = (old?.k.shape[1] ?? 0) + k.shape[1];
    if (total > this.capacity)
      throw new RangeError(`KeyValueCache: ${total} tokens exceed the capacity of ${this.capacity}; make a larger cache`);
    return this.#replace(layer, (which) => (old ? tf.concat([old[which], which === 'k' ? k : v], 1) : tf.clone(which === 'k' ? k : v)));
  }

  /** Keeps the rows named, in this order: leaves out finished ones, repeats one that several sequences continue. */
  keepRows(rows: readonly number[]): void {
    const ids = tf.tensor1d(rows as number[], 'int32');
    this.#layers.forEach((old, layer) => {
      if (old) this.#replace(layer, (which) => tf.gather(old[which], ids, 0));
    });
    ids.dispose();
  }

  dispose(): void {
    this.#layers.forEach((old, layer) => {
      old?.k.dispose();
      old?.v.dispose();
      this.#layers[layer] = undefined;
    });
  }

  #replace(layer: number, compute: (which: 'k' | 'v') => tf.Tensor4D): Layer {
    const old = this.#layers[layer];
    const next = { k: tf.keep(tf.tidy(() => compute('k'))), v: tf.keep(tf.tidy(() => compute('v'))) };
    old?.k.dispose();
    old?.v.dispose();
    this.#layers[layer] = next;
    return next;
  }
}
