/**
 * Rotary position embedding (Su et al., 2021) in the "rotate half" layout of Hugging Face: dimension i turns together with i + headDim / 2,
 * by the angle `position * theta^(-2i / headDim)`. The gradient is the rotation by the opposite angle.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

/** Cosines and sines of every position, each angle twice: once for each half of the head. */
export interface RotaryTables {
  /** Cosines [T, headDim], or [B * T, headDim]. */
  readonly cos: tf.Tensor2D; // [rows, headDim]
  /** Sines of the same shape. */
  readonly sin: tf.Tensor2D; // [rows, headDim]
}

/** How fast each pair of dimensions turns, where it is not `theta^(-2i / headDim)`. */
export interface RotaryFrequencies {
  /** Radians a position; [headDim / 2]. */
  readonly frequencies: ArrayLike<number>;
  /** Multiplies cosines and sines, and so the length of queries and keys. */
  readonly scale: number;
}

/**
 * Tables for given positions: either one for each of the B * T tokens in row order, or one for each of T positions that all rows share.
 * The caller owns the two tensors. Angles are computed in double precision.
 *
 * @param positions [B * T] or [T]
 * @param headDim even
 * @param theta base of the wavelengths (Qwen2.5: 1e6), or the frequencies themselves
 *
 * @example
 * ```ts
 * import { rotaryTables, startBackend } from 'search-e1/tensors';
 *
 * await startBackend();
 * const { cos } = rotaryTables([0, 1], 4, 10_000);
 * cos.shape; // [ 2, 4 ]
 * cos.dataSync()[0]; // 1
 * ```
 */
export function rotaryTables(positions: ArrayLike<number>, headDim: number, theta: number | RotaryFrequencies): RotaryTables {
  if (headDim % 2 !== 0) throw new RangeError(`rotaryTables: headDim should be even, got ${headDim}`);
  const half = headDim / 2;
  const scale = typeof theta === 'number' ? 1 : theta.scale;
  const frequencies = typeof theta === 'number' ? Float64Array.from({ length: half }, (_, i) => theta ** (-i / half)) : theta.frequencies;
  const cos = new Float32Array(positions.length * headDim);
  const sin = new Float32Array(positions.length * headDim);
  const starts = new Map<number, number>(); // where a position's row begins: sequences that lie end to end have the same positions
  for (let row = 0; row < positions.length; row++) {
    const [position, start] = [positions[row], row * headDim];
    const known = starts.get(position);
    if (known !== undefined) {
      for (const table of [cos, sin]) table.copyWithin(start, known, known + headDim);
      continue;
    }
    starts.set(position, start);
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i];
      cos[start + i] = cos[start + half + i] = scale * Math.cos(angle);
      sin[start + i] = sin[start + half + i] = scale * Math.sin(angle);
    }
  }
  const shape: [number, number] = [positions.length, headDim];
  return { cos: tf.tensor2d(cos, shape), sin: tf.tensor2d(sin, shape) };
}

/**
 * Turns queries or keys by their positions. No gradient flows to the tables.
 *
 * @param x [B, T, H, headDim]
 * @param tables of B * T or of T rows
 * @returns [B, T, H, headDim]
 *
 * @example
 * ```ts
 * import { rotary, rotaryTables, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const x = tf.ones([1, 3, 2, 8]) as tf.Tensor4D; // [B, T, heads, headDim]
 * const turned = rotary(x, rotaryTables([0, 1, 2], 8, 10_000));
 * turned.shape; // [ 1, 3, 2, 8 ]
 * turned.dataSync()[0]; // 1
 * ```
 */
export function rotary(x: tf.Tensor4D, tables: RotaryTables): tf.Tensor4D {
  const [batch, length, , headDim] = x.shape;
  const rows = tables.cos.shape[0];
  if ((rows !== length && rows !== batch * length) || tables.cos.shape[1] !== headDim) {
    throw new RangeError(
      `rotary: tables [${tables.cos.shape}] do not fit x [${x.shape}]: expected ${length} or ${batch * length} rows of ${headDim}`,
    );
  }
  const turn = tf.customGrad((input, save) => {
    (save as tf.GradSaveFunc)([tables.cos, tables.sin]);
    return {
      value: rotate(input as tf.Tensor4D, tables.cos, tables.sin, 1),
      gradFunc: (dy: tf.Tensor, [cos, sin]: tf.Tensor[]) => rotate(dy as tf.Tensor4D, cos, sin, -1),
    };
  });
  return turn(x) as tf.Tensor4D;
}

/** `x cos + direction (-x2, x1) sin`, where x1 and x2 are the halves of the head. */
function rotate(x: tf.Tensor4D, cosTable: tf.Tensor, sinTable: tf.Tensor, direction: 1 | -1): tf.Tensor4D {
  if (hasKernel('SearchE1Rotary')) return runKernel('SearchE1Rotary', { x, cos: cosTable, sin: sinTable }, { direction })[0] as tf.Tensor4D;
  const [batch, length, , headDim] = x.shape;
  const shape: [number, number, number, number] = [cosTable.shape[0] === length ? 1 : batch, length, 1, headDim];
  const cos: tf.Tensor4D = tf.reshape(cosTable, shape);
  const sin: tf.Tensor4D = tf.mul(tf.reshape(sinTable, shape), direction);
  const [first, second] = tf.split(x, 2, 3); // [B, T, H, headDim / 2]
  return tf.add(tf.mul(x, cos), tf.mul(tf.concat([tf.neg(second), first], 3), sin));
}
