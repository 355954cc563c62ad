/**
 * The keys and values of all tokens read so far, layer by layer: what a decoder keeps so that each new token is computed once.
 *
 * A slot holds one sequence. Slots have lengths of their own and are fed any number of tokens each in one step, so that a sequence reads its prompt or a
 * passage while the others write on. All slots have the same room, which grows up to the capacity: what is held is bounded by
 * slots x capacity. With kernels new tokens are written into it; without, each step makes fresh tensors.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { AttentionSegment } from './attention.js';
import { hasKernel, runKernel } from './dispatch.js';
import { embedding } from './embedding.js';

/** Tokens that a slot is given in one step. */
export interface Feed {
  /** Which, from 0. */
  readonly slot: number;
  /** How many, at least 1. */
  readonly tokens: number;
}

/** One step's place in the cache: the tokens of all feeds lie end to end. */
export interface CacheStep {
  /** Of each token in its own sequence. */
  readonly positions: Int32Array; // [N]
  /** Of each token's key and value among the rows of all slots. */
  readonly places: Int32Array; // [N]
  /** What each feed's tokens read, for `attention`. */
  readonly segments: readonly AttentionSegment[];
  /** All that the cache holds, for a kernel that writes keys and values to their places itself; the layers must have been appended to before. */
  readonly layers: () => readonly CachedLayer[];
  /**
   * Adds the keys and values of the step's tokens; returns those of all slots, which the cache owns until its next change.
   *
   * @param k [1, N, Hkv, headDim]
   * @param v [1, N, Hkv, headDim]
   */
  append(layer: number, k: tf.Tensor4D, v: tf.Tensor4D): CachedLayer;
}

/** One layer's keys and values, slot after slot. */
export interface CachedLayer {
  /** Keys [1, slots * room, Hkv, headDim]. */
  readonly k: tf.Tensor4D; // [1, slots * room, Hkv, headDim]
  /** Values [1, slots * room, Hkv, headDim]. */
  readonly v: tf.Tensor4D; // [1, slots * room, Hkv, headDim]
}

/** The room of every slot is a multiple of these positions, and grows by half at least: what is copied in all is a few times the last. */
const BLOCK = 64;

/**
 * Owns its tensors, also across `tf.tidy`: they live until a step or copy replaces them, or `dispose`.
 *
 * @example
 * ```ts
 * import { KeyValueCache, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const cache = new KeyValueCache(1, 2, 64); // one layer, two slots of up to 64 tokens
 * const step = cache.step([{ slot: 0, tokens: 3 }]);
 * step.positions; // Int32Array(3) [ 0, 1, 2 ]
 * step.append(0, tf.zeros([1, 3, 2, 8]), tf.zeros([1, 3, 2, 8]));
 * cache.length(0); // 3
 * cache.dispose();
 * ```
 */
export class KeyValueCache {
  readonly #layers: (CachedLayer | undefined)[];
  readonly #lengths: Int32Array;
  #room = 0;

  /**
   * @param layers number of decoder layers
   * @param slots sequences held at once
   * @param capacity largest number of tokens a slot may hold
   */
  constructor(
    layers: number,
    readonly slots: number,
    readonly capacity: number,
  ) {
    this.#layers = new Array<CachedLayer | undefined>(layers).fill(undefined);
    this.#lengths = new Int32Array(slots);
  }

  /** Tokens a slot holds. */
  length(slot: number): number {
    return this.#lengths[slot];
  }

  /** Positions that every slot has memory for. */
  get room(): number {
    return this.#room;
  }

  /** Forgets what a slot holds beyond `length` tokens: its memory is for the next. */
  truncate(slot: number, length: number): void {
    this.#checkSlots([slot]);
    if (!(Number.isInteger(length) && length >= 0 && length <= this.#lengths[slot]))
      throw new RangeError(`KeyValueCache: slot ${slot} holds ${this.#lengths[slot]} tokens, cannot be cut to ${length}`);
    this.#lengths[slot] = length;
  }

  /** Makes the slots `to` hold the first `length` tokens of `from`: a prompt read once for all its siblings. */
  copy(from: number, to: readonly number[], length: number): void {
    this.#checkSlots([from, ...to]);
    if (!(Number.isInteger(length) && length >= 0 && length <= this.#lengths[from]))
      throw new RangeError(`KeyValueCache: slot ${from} holds ${this.#lengths[from]} tokens, ${length} cannot be copied`);
    const places = (slots: readonly number[]) =>
      Int32Array.from(slots.flatMap((slot) => Array.from({ length }, (_, t) => slot * this.#room + t)));
    const [source, target] = [places(to.map(() => from)), places(to)];
    this.#layers.forEach((layer, at) => {
      if (layer) this.#replace(at, (x) => copied(x, x, source, target));
    });
    for (const slot of to) this.#lengths[slot] = length;
  }

  /**
   * Makes room for tokens and says where they go; each layer is to be appended to once.
   *
   * @throws RangeError beyond the capacity
   */
  step(feeds: readonly Feed[]): CacheStep {
    this.#checkSlots(feeds.map(({ slot }) => slot));
    const odd = feeds.find(({ tokens }) => !Number.isInteger(tokens) || tokens < 0);
    if (odd) throw new RangeError(`KeyValueCache: slot ${odd.slot} is fed ${odd.tokens} tokens: expected an integer from 0 on`);
    const needed = feeds.reduce((most, { slot, tokens }) => Math.max(most, this.#lengths[slot] + tokens), 0);
    if (needed > this.capacity)
      throw new RangeError(`KeyValueCache: ${needed} tokens exceed the capacity of ${this.capacity}; make a larger cache`);
    if (needed > this.#room) this.#grow(Math.min(this.capacity, Math.ceil(Math.max(needed, 1.5 * this.#room) / BLOCK) * BLOCK));
    const room = this.#room;
    const total = feeds.reduce((sum, { tokens }) => sum + tokens, 0);
    const [positions, places] = [new Int32Array(total), new Int32Array(total)];
    let n = 0;
    const segments = feeds.map(({ slot, tokens }): AttentionSegment => {
      for (let i = 0; i < tokens; i++, n++) {
        positions[n] = this.#lengths[slot]++;
        places[n] = slot * room + positions[n];
      }
      return { queries: tokens, keys: this.#lengths[slot], from: slot * room };
    });
    return {
      positions,
      places,
      segments,
      layers: () =>
        this.#layers.map((layer, at) => {
          if (!layer) throw new Error(`KeyValueCache: layer ${at} has not been appended to yet`);
          return layer;
        }),
      append: (layer, k, v) => {
        if (k.shape[1] !== total) throw new RangeError(`KeyValueCache: the step has ${total} tokens, got keys [${k.shape}]`);
        if (!this.#layers[layer]) {
          const shape: [number, number, number, number] = [1, this.slots * room, k.shape[2], k.shape[3]];
          this.#layers[layer] = { k: tf.keep(tf.fill(shape, 0)), v: tf.keep(tf.fill(shape, 0)) };
        }
        return this.#replace(layer, (x, which) => copied(which === 'k' ? k : v, x, null, places));
      },
    };
  }

  #checkSlots(slots: readonly number[]): void {
    const wrong = slots.find((slot) => !(Number.isInteger(slot) && slot >= 0 && slot < this.slots));
    if (wrong !== undefined) throw new RangeError(`KeyValueCache: slot ${wrong} should be an integer from 0 to ${this.slots - 1}`);
  }

  /** Gives all keys and values back. */
  dispose(): void {
    this.#layers.forEach((layer, at) => {
      tf.dispose(layer ? [layer.k, layer.v] : []);
      this.#layers[at] = undefined;
    });
  }

  #grow(room: number): void {
    const old = this.#room;
    this.#room = room;
    this.#layers.forEach((layer, at) => {
      if (layer) this.#replace(at, (x) => lengthened(x, this.slots, old, room));
    });
  }

  #replace(layer: number, change: (x: tf.Tensor4D, which: 'k' | 'v') => tf.Tensor4D): CachedLayer {
    const old = this.#layers[layer] as CachedLayer;
    const next = { k: tf.tidy(() => change(old.k, 'k')), v: tf.tidy(() => change(old.v, 'v')) };
    for (const which of ['k', 'v'] as const) {
      tf.keep(next[which]);
      if (old[which] !== next[which]) old[which].dispose();
    }
    this.#layers[layer] = next;
    return next;
  }
}

/** Room for more tokens behind those of each slot. */
function lengthened(x: tf.Tensor4D, slots: number, old: number, room: number): tf.Tensor4D {
  const [, , heads, headDim] = x.shape;
  const bySlot: tf.Tensor4D = tf.reshape(x, [slots, old, heads, headDim]);
  const more = tf.fill([slots, room - old, heads, headDim], 0) as tf.Tensor4D;
  return tf.reshape(tf.concat([bySlot, more], 1), [1, slots * room, heads, headDim]);
}

/** `y` with its rows `to` taken from rows `from` of x (default: all, in order): `y` itself where a kernel can write into it. */
function copied(x: tf.Tensor4D, y: tf.Tensor4D, from: Int32Array | null, to: Int32Array): tf.Tensor4D {
  if (to.length === 0) return y;
  const [rows, width] = [y.shape[1], y.shape[2] * y.shape[3]];
  const flat = tf.reshape(x, [-1, width]) as tf.Tensor2D;
  const taken = from ? embedding(flat, tf.tensor1d(from, 'int32')) : flat; // [to, width]
  const into: tf.Tensor2D = tf.reshape(y, [rows, width]);
  if (hasKernel('SearchE1CopyRows')) {
    runKernel('SearchE1CopyRows', { x: taken, y: into, to: tf.tensor1d(to, 'int32') });
    return y;
  }
  const source = Int32Array.from({ length: rows }, (_, row) => row);
  to.forEach((row, i) => {
    source[row] = rows + i;
  });
  return tf.reshape(embedding(tf.concat([into, taken]), tf.tensor1d(source, 'int32')), y.shape);
}
