/**
 * The small operations of a decoder layer, forward and backward: RMSNorm, rotary embedding, SwiGLU, embedding, the sum over rows.
 */
import { addWide, copyFloats, exponential, multiplyAdd, wideSum } from './lanes';

// @ts-ignore: decorator
@inline
const BLOCK: i32 = 64; // rows that are summed in order; sums of blocks are then summed, on any number of threads alike
// @ts-ignore: decorator
@inline
const GROUP: i32 = 16; // columns of a cache line

/** inverse [rows]: 1 / root mean square, which the backward pass needs. */
export function rmsNormForward(x: usize, weight: usize, y: usize, inverse: usize, epsilon: f32, width: i32, start: i32, end: i32): void {
  const bytes = <usize>width << 2;
  const whole = <usize>(width & ~3) << 2;
  for (let i = start; i < end; i++) {
    const row = x + <usize>i * bytes;
    const to = y + <usize>i * bytes;
    let sum = f64x2.splat(0);
    for (let at: usize = 0; at < whole; at += 16) sum = addWide(sum, f32x4.mul(v128.load(row + at), v128.load(row + at)));
    let total = wideSum(sum);
    for (let at = whole; at < bytes; at += 4) total += <f64>load<f32>(row + at) * <f64>load<f32>(row + at);
    const r = <f32>(1.0 / sqrt(total / <f64>width + epsilon));
    store<f32>(inverse + (<usize>i << 2), r);
    const factor = f32x4.splat(r);
    for (let at: usize = 0; at < whole; at += 16) v128.store(to + at, f32x4.mul(f32x4.mul(v128.load(row + at), factor), v128.load(weight + at)));
    for (let at = whole; at < bytes; at += 4) store<f32>(to + at, load<f32>(row + at) * r * load<f32>(weight + at));
  }
}

/** dx = r w dy - x r^3 / d * sum(x w dy); dWeights [rows / 64, width]: the sum over each block of 64 rows, which are the units, of x r dy. */
export function rmsNormBackward(
  x: usize, weight: usize, inverse: usize, dy: usize, dx: usize, dWeights: usize, rows: i32, width: i32, start: i32, end: i32,
): void {
  for (let block = start; block < end; block++) {
    const dWeight = dWeights + (<usize>(block * width) << 2);
    memory.fill(dWeight, 0, <usize>width << 2);
    rmsNormBackwardRows(x, weight, inverse, dy, dx, dWeight, width, block * BLOCK, min(rows, (block + 1) * BLOCK));
  }
}

function rmsNormBackwardRows(
  x: usize, weight: usize, inverse: usize, dy: usize, dx: usize, dWeight: usize, width: i32, start: i32, end: i32,
): void {
  const bytes = <usize>width << 2;
  const whole = <usize>(width & ~3) << 2;
  for (let i = start; i < end; i++) {
    const row = x + <usize>i * bytes;
    const from = dy + <usize>i * bytes;
    const to = dx + <usize>i * bytes;
    const r = load<f32>(inverse + (<usize>i << 2));
    let sum = f64x2.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      sum = addWide(sum, f32x4.mul(f32x4.mul(v128.load(row + at), v128.load(weight + at)), v128.load(from + at)));
    }
    let total = wideSum(sum);
    for (let at = whole; at < bytes; at += 4) total += <f64>load<f32>(row + at) * load<f32>(weight + at) * load<f32>(from + at);
    const c = <f32>(-total * r * r * r / <f64>width);
    const factor = f32x4.splat(r);
    const correction = f32x4.splat(c);
    for (let at: usize = 0; at < whole; at += 16) {
      const value = v128.load(row + at);
      const scaled = f32x4.mul(v128.load(from + at), factor);
      v128.store(to + at, multiplyAdd(value, correction, f32x4.mul(scaled, v128.load(weight + at))));
      v128.store(dWeight + at, multiplyAdd(value, scaled, v128.load(dWeight + at)));
    }
    for (let at = whole; at < bytes; at += 4) {
      const value = load<f32>(row + at);
      const scaled = load<f32>(from + at) * r;
      store<f32>(to + at, value * c + scaled * load<f32>(weight + at));
      store<f32>(dWeight + at, load<f32>(dWeight + at) + value * scaled);
    }
  }
}

/** Row i turns by row i % tableRows of the tables, its heads alike; direction -1 turns back, which is the gradient. */
export function rotary(x: usize, cos: usize, sin: usize, y: usize, direction: f32, heads: i32, headDim: i32, tableRows: i32, start: i32, end: i32): void {
  const half = <usize>(headDim >> 1) << 2;
  const whole = half & ~15;
  const sign = f32x4.splat(direction);
  for (let i = start; i < end; i++) {
    const table = <usize>((i % tableRows) * headDim) << 2;
    for (let h = 0; h < heads; h++) {
      const offset = <usize>((i * heads + h) * headDim) << 2;
      for (let at: usize = 0; at < whole; at += 16) {
        const first = v128.load(x + offset + at);
        const second = v128.load(x + offset + half + at);
        const c = v128.load(cos + table + at);
        const s = f32x4.mul(v128.load(sin + table + at), sign);
        v128.store(y + offset + at, f32x4.sub(f32x4.mul(first, c), f32x4.mul(second, s)));
        v128.store(y + offset + half + at, f32x4.add(f32x4.mul(second, c), f32x4.mul(first, s)));
      }
      for (let at = whole; at < half; at += 4) {
        const first = load<f32>(x + offset + at);
        const second = load<f32>(x + offset + half + at);
        const c = load<f32>(cos + table + at);
        const s = load<f32>(sin + table + at) * direction;
        store<f32>(y + offset + at, first * c - second * s);
        store<f32>(y + offset + half + at, second * c + first * s);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function sigmoid(x: v128): v128 {
  return f32x4.div(f32x4.splat(1.0), f32x4.add(f32x4.splat(1.0), exponential(f32x4.neg(x))));
}

/** silu(gate) up, over elements. */
export function swigluForward(gate: usize, up: usize, y: usize, start: i32, end: i32): void {
  const whole = start + ((end - start) & ~3);
  for (let i = start; i < whole; i += 4) {
    const at = <usize>i << 2;
    const g = v128.load(gate + at);
    v128.store(y + at, f32x4.mul(f32x4.mul(g, sigmoid(g)), v128.load(up + at)));
  }
  for (let i = whole; i < end; i++) {
    const at = <usize>i << 2;
    const g = v128.load32_splat(gate + at);
    v128.store32_lane(y + at, f32x4.mul(f32x4.mul(g, sigmoid(g)), v128.load32_splat(up + at)), 0);
  }
}

/** With s = sigmoid(gate): d up = dy gate s; d gate = dy up s (1 + gate (1 - s)). */
export function swigluBackward(gate: usize, up: usize, dy: usize, dGate: usize, dUp: usize, start: i32, end: i32): void {
  const one = f32x4.splat(1.0);
  const whole = start + ((end - start) & ~3);
  for (let i = start; i < whole; i += 4) {
    const at = <usize>i << 2;
    const g = v128.load(gate + at);
    const s = sigmoid(g);
    const d = f32x4.mul(v128.load(dy + at), s);
    v128.store(dUp + at, f32x4.mul(d, g));
    v128.store(dGate + at, f32x4.mul(f32x4.mul(d, v128.load(up + at)), multiplyAdd(g, f32x4.sub(one, s), one)));
  }
  for (let i = whole; i < end; i++) {
    const at = <usize>i << 2;
    const g = v128.load32_splat(gate + at);
    const s = sigmoid(g);
    const d = f32x4.mul(v128.load32_splat(dy + at), s);
    v128.store32_lane(dUp + at, f32x4.mul(d, g), 0);
    v128.store32_lane(dGate + at, f32x4.mul(f32x4.mul(d, v128.load32_splat(up + at)), multiplyAdd(g, f32x4.sub(one, s), one)), 0);
  }
}

export function embeddingForward(table: usize, ids: usize, y: usize, width: i32, start: i32, end: i32): void {
  const bytes = <usize>width << 2;
  for (let i = start; i < end; i++) copyFloats(y + <usize>i * bytes, table + <usize>load<i32>(ids + (<usize>i << 2)) * bytes, bytes);
}

/** Copies row i of x to row to[i] of y; rows of `width`. */
export function copyRows(x: usize, y: usize, to: usize, width: i32, start: i32, end: i32): void {
  const bytes = <usize>width << 2;
  for (let i = start; i < end; i++) memory.copy(y + <usize>load<i32>(to + (<usize>i << 2)) * bytes, x + <usize>i * bytes, bytes);
}

/**
 * Adds row i of dy [n, width] to row ids[i] of dTable, which is set to 0 before. Units are groups of 16 columns, so that a row of the table is written by one
 * thread a group, in order of i.
 */
export function embeddingBackward(ids: usize, dy: usize, dTable: usize, n: i32, width: i32, start: i32, end: i32): void {
  const first = start * GROUP;
  const columns = min(width, end * GROUP) - first;
  const to = dTable + (<usize>first << 2);
  const from = dy + (<usize>first << 2);
  for (let i = 0; i < n; i++) {
    addRow(to + (<usize>(load<i32>(ids + (<usize>i << 2)) * width) << 2), from + (<usize>(i * width) << 2), columns);
  }
}

/** Sums of 64 rows of x [rows, width] each, which are the units, into sums [rows / 64, width]; again and again until one row is left. */
export function sumRows(x: usize, sums: usize, rows: i32, width: i32, start: i32, end: i32): void {
  for (let block = start; block < end; block++) {
    const to = sums + (<usize>(block * width) << 2);
    memory.fill(to, 0, <usize>width << 2);
    for (let i = block * BLOCK; i < min(rows, (block + 1) * BLOCK); i++) addRow(to, x + (<usize>(i * width) << 2), width);
  }
}

// @ts-ignore: decorator
@inline
function addRow(to: usize, from: usize, width: i32): void {
  const bytes = <usize>width << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) v128.store(to + at, f32x4.add(v128.load(to + at), v128.load(from + at)));
  for (; at < bytes; at += 4) store<f32>(to + at, load<f32>(to + at) + load<f32>(from + at));
}
