/** Operations along rows: sums, maxima, softmax; and moving them: transposition, copies with strides. Sums run in double precision. */
import { addWide, anyExponential, copyFloats, lanesMax, wideSum } from './lanes';

/** out[row] = factor * sum of x [rows, width]. */
export function rowSums(x: usize, out: usize, factor: f32, width: i32, start: i32, end: i32): void {
  const whole = <usize>(width & ~3) << 2;
  const bytes = <usize>width << 2;
  for (let i = start; i < end; i++) {
    const row = x + <usize>i * bytes;
    let sum = f64x2.splat(0);
    for (let at: usize = 0; at < whole; at += 16) sum = addWide(sum, v128.load(row + at));
    let total = wideSum(sum);
    for (let at = whole; at < bytes; at += 4) total += load<f32>(row + at);
    store<f32>(out + (<usize>i << 2), <f32>(total * factor));
  }
}

/** The largest of each row of x [rows, width]; NaN where the row has one. */
export function rowMaxima(x: usize, out: usize, width: i32, start: i32, end: i32): void {
  for (let i = start; i < end; i++) store<f32>(out + (<usize>i << 2), largest(x + (<usize>(i * width) << 2), width));
}

/** softmax of each row of x [rows, width]. */
export function softmaxRows(x: usize, y: usize, width: i32, start: i32, end: i32): void {
  const whole = <usize>(width & ~3) << 2;
  const bytes = <usize>width << 2;
  for (let i = start; i < end; i++) {
    const row = x + <usize>i * bytes;
    const to = y + <usize>i * bytes;
    const shift = f32x4.splat(largest(row, width));
    let sum = f64x2.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const e = anyExponential(f32x4.sub(v128.load(row + at), shift));
      v128.store(to + at, e);
      sum = addWide(sum, e);
    }
    let total = wideSum(sum);
    for (let at = whole; at < bytes; at += 4) {
      const e = f32x4.extract_lane(anyExponential(f32x4.sub(v128.load32_splat(row + at), shift)), 0);
      store<f32>(to + at, e);
      total += e;
    }
    const share = f32x4.splat(<f32>(1.0 / total));
    for (let at: usize = 0; at < whole; at += 16) v128.store(to + at, f32x4.mul(v128.load(to + at), share));
    for (let at = whole; at < bytes; at += 4) store<f32>(to + at, load<f32>(to + at) * f32x4.extract_lane(share, 0));
  }
}

function largest(row: usize, width: i32): f32 {
  let best = f32x4.splat(-Infinity);
  let j = 0;
  for (; j + 4 <= width; j += 4) best = f32x4.max(best, v128.load(row + (<usize>j << 2)));
  let value = lanesMax(best);
  for (; j < width; j++) value = max(value, load<f32>(row + (<usize>j << 2)));
  return value;
}

/**
 * Copies blocks of `width` elements: block (o, i, j) of [outer, rows, columns], of which (o, i) is the unit, lies at o xOuter + i xRow + j xColumn in x, and likewise
 * in y.
 */
export function copyBlocks(
  x: usize, y: usize, rows: i32, columns: i32, width: i32,
  xOuter: i32, xRow: i32, xColumn: i32, yOuter: i32, yRow: i32, yColumn: i32, start: i32, end: i32,
): void {
  for (let unit = start; unit < end; unit++) {
    const o = unit / rows;
    const i = unit % rows;
    let from = x + (<usize>(o * xOuter + i * xRow) << 2);
    let to = y + (<usize>(o * yOuter + i * yRow) << 2);
    for (let j = 0; j < columns; j++) {
      if (width == 1) store<u32>(to, load<u32>(from));
      else copyFloats(to, from, <usize>width << 2);
      from += <usize>xColumn << 2;
      to += <usize>yColumn << 2;
    }
  }
}
