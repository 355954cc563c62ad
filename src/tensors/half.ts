/**
 * Weights that stay as a checkpoint stores them, in 16 bits, while everything is computed in float32.
 *
 * Two numbers share one int32 element, so a matrix [rows, columns] is a tensor [rows, columns / 2] of any backend. Its format is known by its data,
 * which clones share. `linear` and `embedding` take such a weight: it is widened exactly, some rows at a time, used and forgotten, so that the
 * whole matrix never exists in float32. Such weights are frozen: gradients flow through them, not to them. What is added to one, as when an adapter is merged, is
 * added in float32 and rounded to the nearest 16 bits, ties to even.
 *
 * F16 is IEEE 754 binary16, BF16 the upper half of a float32.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';
import { unwritten, visibleBytes } from './filled.js';

export type HalfFormat = 'F16' | 'BF16';

/** Numbers that are widened together: 16 MB of float32. */
const BAND = 1 << 22;

const formats = new WeakMap<object, HalfFormat>();

/**
 * Declares a tensor to hold packed halves.
 *
 * @param packed int32 [rows, columns / 2], the lower half of each element first
 */
export function markHalf<T extends tf.Tensor>(packed: T, format: HalfFormat): T {
  if (packed.dtype !== 'int32' || packed.rank !== 2)
    throw new TypeError(`markHalf: expected an int32 matrix, got ${packed.dtype} [${packed.shape}]`);
  formats.set(packed.dataId, format);
  return packed;
}

/** The format of packed halves; undefined for any other tensor. */
export const halfFormat = (tensor: tf.Tensor): HalfFormat | undefined => formats.get(tensor.dataId);

/** [rows, columns] of the matrix that a weight stands for, packed or not. */
export function matrixShape(weight: tf.Tensor): readonly [number, number] {
  const [rows, columns] = weight.shape;
  return halfFormat(weight) ? [rows, 2 * columns] : [rows, columns];
}

/** `x W^T` for packed W [out, in]; the gradient for x widens W again instead of keeping it. x is [N, in], the result [N, out]. */
export function halfMatMul(x: tf.Tensor2D, packed: tf.Tensor): tf.Tensor2D {
  const product = tf.customGrad((x) => ({
    value: byRows(x as tf.Tensor2D, packed),
    gradFunc: (dy: tf.Tensor) => halfMatMulTransposed(dy as tf.Tensor2D, packed),
  }));
  return product(x) as tf.Tensor2D;
}

function byRows(x: tf.Tensor2D, packed: tf.Tensor): tf.Tensor2D {
  if (hasKernel('SearchE1HalfMatMul')) return byKernel(x, packed, true);
  return tf.tidy(() => {
    const parts = bands(packed).map(([from, to]) => tf.tidy(() => tf.matMul(x, widenRows(packed, from, to), false, true)));
    return parts.length === 1 ? (parts[0] as tf.Tensor2D) : (tf.concat(parts, 1) as tf.Tensor2D);
  });
}

/** `y W` for packed W [out, in]: y is [N, out], the result [N, in]. Not differentiable. */
export function halfMatMulTransposed(y: tf.Tensor2D, packed: tf.Tensor): tf.Tensor2D {
  if (hasKernel('SearchE1HalfMatMul')) return byKernel(y, packed, false);
  let sum: tf.Tensor2D | undefined;
  for (const [from, to] of bands(packed)) {
    const before = sum;
    sum = tf.tidy(() => {
      const part = tf.matMul(tf.slice(y, [0, from], [-1, to - from]), widenRows(packed, from, to)) as tf.Tensor2D; // [N, in]
      return before ? (tf.add(before, part) as tf.Tensor2D) : part;
    });
    before?.dispose();
  }
  return sum as tf.Tensor2D;
}

const byKernel = (x: tf.Tensor2D, packed: tf.Tensor, byRows: boolean): tf.Tensor2D =>
  runKernel('SearchE1HalfMatMul', { x, halves: packed }, { format: halfFormat(packed), byRows })[0] as tf.Tensor2D;

/** Rows `ids` [N] of a packed table [V, d], widened to float32 [N, d]. */
export function halfRows(packed: tf.Tensor, ids: tf.Tensor1D): tf.Tensor2D {
  if (hasKernel('SearchE1HalfRows'))
    return runKernel('SearchE1HalfRows', { halves: packed, ids }, { format: halfFormat(packed) })[0] as tf.Tensor2D;
  return tf.tidy(() => {
    const rows = tf.gather(packed as tf.Tensor2D, ids); // [N, d / 2]
    return widened(rows, 0, rows.shape[0], halfFormat(packed) as HalfFormat);
  });
}

/** Rows from (inclusive) to (exclusive) of a packed matrix as float32. */
export function widenRows(packed: tf.Tensor, from: number, to: number): tf.Tensor2D {
  return widened(packed, from, to, halfFormat(packed) as HalfFormat);
}

/** Ranges of rows that are widened together, in order. */
export function bands(packed: tf.Tensor): (readonly [number, number])[] {
  const [rows, columns] = matrixShape(packed);
  const height = Math.max(1, Math.floor(BAND / columns));
  return Array.from({ length: Math.ceil(rows / height) }, (_, i) => [i * height, Math.min(rows, (i + 1) * height)] as const);
}

function widened(packed: tf.Tensor, from: number, to: number, format: HalfFormat): tf.Tensor2D {
  const columns = 2 * (packed.shape[1] as number);
  const count = (to - from) * columns;
  const wide = unwritten([to - from, columns], 'float32'); // before the bits are looked at: memory may move
  const into = wide.viewOf(0, 4 * count);
  widenHalves(bitsOf(packed, from * columns, count), format, new Float32Array(into.buffer, into.byteOffset, count));
  return wide.finish() as tf.Tensor2D;
}

/** 16-bit numbers of a packed matrix: a view where the backend's memory can be seen, else a copy of these rows alone. */
function bitsOf(packed: tf.Tensor, from: number, count: number): Uint16Array {
  const bytes = visibleBytes(packed);
  if (bytes) return new Uint16Array(bytes.buffer, bytes.byteOffset + 2 * from, count);
  const columns = 2 * (packed.shape[1] as number);
  const rows = tf.tidy(() => tf.slice(packed, [from / columns, 0], [count / columns, -1]).dataSync());
  return new Uint16Array(rows.buffer, rows.byteOffset, count);
}

/**
 * A packed matrix with a change added; synchronous, so only where tensors can be read so (not on a card).
 *
 * @param changeOf float32 rows from (inclusive) to (exclusive) of what is added, [to - from, columns]
 */
export function addToHalves(packed: tf.Tensor, changeOf: (from: number, to: number) => tf.Tensor2D): tf.Tensor {
  const format = halfFormat(packed) as HalfFormat;
  const columns = 2 * (packed.shape[1] as number);
  const place = unwritten(packed.shape, 'int32');
  for (const [from, to] of bands(packed)) {
    const sum = tf.tidy(() => tf.add(widenRows(packed, from, to), changeOf(from, to)));
    const values = sum.dataSync<'float32'>();
    const into = place.viewOf(2 * from * columns, 2 * values.length);
    narrowToHalves(values, format, new Uint16Array(into.buffer, into.byteOffset, values.length));
    sum.dispose();
  }
  return markHalf(place.finish(), format);
}

/** Rounds float32 to the nearest 16-bit numbers, ties to even, into `into`, which has as many elements. Beyond the largest is infinity. */
export function narrowToHalves(values: Float32Array, format: HalfFormat, into: Uint16Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const narrow = format === 'BF16' ? toBfloat16 : toBinary16;
  for (let i = 0; i < bits.length; i++) into[i] = narrow(bits[i]);
}

function toBfloat16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // a NaN stays one
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function toBinary16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 65536 and more
  // Below the smallest normal number, 2^-14, the steps are 2^-24.
  if (magnitude < 0x38800000) return sign | roundHalfEven(new Float32Array(Uint32Array.of(magnitude).buffer)[0] * 2 ** 24);
  const rebased = magnitude - (112 << 23);
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** Widens 16-bit numbers exactly into `into`, which has as many elements. */
export function widenHalves(bits: Uint16Array, format: HalfFormat, into: Float32Array): void {
  const wide = new Uint32Array(into.buffer, into.byteOffset, into.length);
  if (format === 'BF16') for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
  else {
    const table = (binary16 ??= Uint32Array.from({ length: 0x10000 }, (_, half) => halfToFloatBits(half)));
    for (let i = 0; i < bits.length; i++) wide[i] = table[bits[i]];
  }
}

/** float32 bits of every binary16 number. */
let binary16: Uint32Array | undefined;

function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  let fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  let shift = 0; // subnormal: normalise it
  while (!(fraction & 0x400)) {
    fraction <<= 1;
    shift++;
  }
  return sign | ((113 - shift) << 23) | ((fraction & 0x3ff) << 13);
}
