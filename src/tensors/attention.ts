/**
 * Causal grouped-query attention: `softmax(q k^T / sqrt(headDim) + mask) v`. Query head h reads key/value head `floor(h * Hkv / H)`.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

export interface AttentionOptions {
  /** 1 where a key may be read, 0 where it is padding; [B, Tk]. Default: all may. */
  readonly keyMask?: tf.Tensor2D;
  /** Tk: how many keys are filled, where k and v have room for more (`KeyValueCache`). Default: all of them. Not differentiable if given. */
  readonly length?: number;
}

/**
 * Query i stands at position Tk - Tq + i and reads the keys up to there, so a cached prefix is simply more keys than queries.
 * The output of a query that may read nothing (padding) means nothing, but is finite.
 *
 * @param q [B, Tq, H, headDim]
 * @param k [B, Tk or more, Hkv, headDim]; Hkv divides H
 * @param v of k's shape
 * @returns [B, Tq, H, headDim]
 */
export function attention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, { keyMask, length }: AttentionOptions = {}): tf.Tensor4D {
  const [batch, queries, heads, headDim] = q.shape;
  const [, room, keyHeads] = k.shape;
  const keys = length ?? room;
  if (
    heads % keyHeads !== 0 ||
    keys < queries ||
    keys > room ||
    k.shape[0] !== batch ||
    k.shape[3] !== headDim ||
    `${k.shape}` !== `${v.shape}`
  ) {
    throw new RangeError(`attention: q [${q.shape}], k [${k.shape}] and v [${v.shape}] do not fit together, with ${keys} keys filled`);
  }
  if (keyMask && `${keyMask.shape}` !== `${[batch, keys]}`) {
    throw new RangeError(`attention: keyMask [${keyMask.shape}] should be [${batch}, ${keys}]`);
  }
  if (hasKernel('SearchE1Attention')) {
    const mask = keyMask && tf.cast(keyMask, 'float32');
    if (length === undefined) return byKernel(q, k, v, mask);
    return runKernel('SearchE1Attention', { q, k, v, keyMask: mask }, { length })[0] as tf.Tensor4D;
  }
  const filled = (x: tf.Tensor4D) => (keys === room ? x : tf.slice(x, 0, [batch, keys, keyHeads, headDim]));
  return formula(q, filled(k), filled(v), keyMask);
}

function formula(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, keyMask: tf.Tensor2D | undefined): tf.Tensor4D {
  const [batch, queries, heads, headDim] = q.shape;
  const [, keys, keyHeads] = k.shape;
  const rows = (heads / keyHeads) * queries; // the queries of one key/value head, one below the other
  const byHead = (x: tf.Tensor4D, length: number) => tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch * keyHeads, length, headDim]);

  const scores = tf.matMul(tf.mul(byHead(q, rows), 1 / Math.sqrt(headDim)), byHead(k, keys), false, true); // [B * Hkv, rows, Tk]
  const masked = tf.add(tf.reshape(scores, [batch, heads, queries, keys]), hidden(queries, keys, keyMask)); // [B, H, Tq, Tk]
  const weights = tf.reshape(tf.softmax(masked), [batch * keyHeads, rows, keys]);
  const read = tf.reshape(tf.matMul(weights, byHead(v, keys)), [batch, heads, queries, headDim]) as tf.Tensor4D; // [B, H, Tq, headDim]
  return tf.transpose(read, [0, 2, 1, 3]); // [B, Tq, H, headDim]
}

/** Far below any score, yet finite: a row that is hidden altogether gives no NaN. */
const HIDDEN = -1e30;

/** What is added to the scores: 0, or HIDDEN for keys that are padding or come later; [1 or B, 1, Tq, Tk]. */
function hidden(queries: number, keys: number, keyMask: tf.Tensor2D | undefined): tf.Tensor4D {
  const later = new Float32Array(queries * keys);
  for (let i = 0; i < queries; i++) later.fill(HIDDEN, i * keys + keys - queries + i + 1, (i + 1) * keys);
  const causal = tf.tensor4d(later, [1, 1, queries, keys]);
  if (!keyMask) return causal;
  const padding = tf.mul(tf.sub(1, tf.cast(keyMask, 'float32')), HIDDEN); // [B, Tk]
  return tf.add(causal, tf.reshape(padding, [keyMask.shape[0], 1, 1, keys]));
}

/** Keeps the log-sum-exp of each row instead of the weights, and computes these again for the gradient. */
function byKernel(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, keyMask: tf.Tensor2D | undefined): tf.Tensor4D {
  const attend = tf.customGrad((...args) => {
    const [q, k, v, save] = args as [tf.Tensor, tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    const [out, lse] = runKernel('SearchE1Attention', { q, k, v, keyMask }, { length: k.shape[1] });
    save([q, k, v, out, lse, ...(keyMask ? [keyMask] : [])]);
    return {
      value: out,
      gradFunc: (dOut: tf.Tensor, [q, k, v, out, lse, keyMask]: tf.Tensor[]) =>
        runKernel('SearchE1AttentionGrad', { q, k, v, keyMask, out, lse, dOut }),
    };
  });
  return attend(q, k, v) as tf.Tensor4D;
}
