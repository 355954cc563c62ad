/**
 * Products with a matrix of 16-bit numbers, W [n rows, k columns]: panels are widened while they are packed, so what is computed, and in which
 * order, is the product with the float32 matrix, bit for bit.
 */
import { DEPTH, multiplyPacked, storeTurned, WIDTH, WORK } from './mat-mul';
import { scratch } from './scratch';

/** Units of `columns` columns of C = A B: B = W^T where `byRows` (C is m x n), else B = W (C is m x k). `bf16` tells the format. */
export function halfMatMulBlocks(
  a: usize, w: usize, c: usize, m: i32, n: i32, k: i32, bf16: i32, byRows: i32, columns: i32, start: i32, end: i32,
): void {
  const across = byRows ? n : k;
  const depth = byRows ? k : n;
  const panels = scratch() + (WORK << 2);
  const rowBytes = <usize>k << 1;
  for (let first = start * columns; first < min(end * columns, across); first += WIDTH) {
    const width = min(WIDTH, min(end * columns, across) - first);
    const at = c + (<usize>first << 2);
    for (let k0 = 0; k0 < depth; k0 += DEPTH) {
      const deep = min(DEPTH, depth - k0);
      if (byRows) packRows(w + <usize>first * rowBytes + (<usize>k0 << 1), panels, deep, width, rowBytes, bf16);
      else packColumns(w + <usize>k0 * rowBytes + (<usize>first << 1), panels, deep, width, rowBytes, bf16);
      multiplyPacked(a + (<usize>k0 << 2), panels, at, 0, k0 > 0 ? at : 0, 1.0, m, width, deep, depth, 1, deep, across);
    }
  }
}

/** Rows of W become columns of the panel: strips of 8, as `pack` in mat-mul.ts lays them out. */
function packRows(w: usize, panel: usize, depth: i32, columns: i32, rowBytes: usize, bf16: i32): void {
  for (let j = 0; j < columns; j += 8, w += rowBytes << 3) {
    let to = panel + (<usize>(j * depth) << 2);
    const width = min(8, columns - j);
    let k = 0;
    if (width == 8) {
      for (; k + 4 <= depth; k += 4, to += 128) {
        const from = w + (<usize>k << 1);
        turn4x4(from, rowBytes, to, bf16);
        turn4x4(from + (rowBytes << 2), rowBytes, to + 16, bf16);
      }
    }
    for (; k < depth; k++, to += 32) {
      for (let h = 0; h < 8; h++) {
        store<f32>(to + (<usize>h << 2), h < width ? widenOne(load<u16>(w + <usize>h * rowBytes + (<usize>k << 1)), bf16) : 0);
      }
    }
  }
}

/** Columns of W stay columns of the panel. */
function packColumns(w: usize, panel: usize, depth: i32, columns: i32, rowBytes: usize, bf16: i32): void {
  for (let j = 0; j < columns; j += 8) {
    let from = w + (<usize>j << 1);
    let to = panel + (<usize>(j * depth) << 2);
    const width = min(8, columns - j);
    for (let k = 0; k < depth; k++, from += rowBytes, to += 32) {
      if (width == 8) {
        v128.store(to, widen(v128.load64_zero(from), bf16));
        v128.store(to, widen(v128.load64_zero(from, 8), bf16), 16);
      } else {
        for (let h = 0; h < 8; h++) store<f32>(to + (<usize>h << 2), h < width ? widenOne(load<u16>(from + (<usize>h << 1)), bf16) : 0);
      }
    }
  }
}

/** Four neighbours of each of four rows become four rows of the panel, 32 bytes apart. */
// @ts-ignore: decorator
@inline
function turn4x4(from: usize, rowBytes: usize, to: usize, bf16: i32): void {
  storeTurned(
    widen(v128.load64_zero(from), bf16),
    widen(v128.load64_zero(from + rowBytes), bf16),
    widen(v128.load64_zero(from + 2 * rowBytes), bf16),
    widen(v128.load64_zero(from + 3 * rowBytes), bf16),
    to,
  );
}

/**
 * The low four 16-bit numbers as float32. bfloat16 is the upper half of one. binary16 is moved to its place, where its exponent is 112 too small: the
 * product with 2^112 puts that right, subnormal numbers included; infinities and NaN get the highest exponent.
 */
// @ts-ignore: decorator
@inline
function widen(halves: v128, bf16: i32): v128 {
  const bits = i32x4.extend_low_i16x8_u(halves);
  if (bf16) return i32x4.shl(bits, 16);
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  const finite = f32x4.mul(magnitude, f32x4.splat(5.192296858534828e33)); // 2^112
  const special = i32x4.gt_s(magnitude, i32x4.splat(0x0f7fffff)); // exponent 31
  return v128.or(sign, v128.bitselect(v128.or(magnitude, i32x4.splat(0x7f800000)), finite, special));
}

// @ts-ignore: decorator
@inline
function widenOne(half: u16, bf16: i32): f32 {
  return f32x4.extract_lane(widen(i16x8.splat(<i16>half), bf16), 0);
}
