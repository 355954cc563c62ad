/**
 * C = A B (+ bias) (+ C) for any strides: 4 x 8 tiles of C held in registers, over panels of B packed so that each step reads 8 neighbours.
 *
 * Strides count floats: A(i, k) = a[i aRow + k aCol], B(k, j) = b[k bRow + j bCol], C(i, j) = c[i cRow + j]. A transposed operand is one whose two
 * strides are swapped.
 */
import { multiplyAdd } from './lanes';
import { scratch } from './scratch';

// @ts-ignore: decorator
@inline
const DEPTH: i32 = 256; // of a packed panel, in rows of B
// @ts-ignore: decorator
@inline
const WIDTH: i32 = 256; // of a packed panel, in columns of B
// @ts-ignore: decorator
@inline
const ROWS: i32 = 32; // of A that stay in the first cache while the panel passes

/** Floats of scratch memory that `matMul` needs: a panel, and one tile for the edges. */
// @ts-ignore: decorator
@inline
export const MAT_MUL_SCRATCH: i32 = 256 * 256 + 32;

/** The same for callers outside: exported from the module, an inlined constant makes the compiler fail. */
export function matMulScratch(): i32 {
  return MAT_MUL_SCRATCH;
}

export function matMul(
  a: usize, b: usize, c: usize, bias: usize,
  m: i32, n: i32, k: i32,
  aRow: i32, aCol: i32, bRow: i32, bCol: i32, cRow: i32,
  accumulate: bool,
): void {
  const panels = scratch();
  const tile = panels + ((DEPTH * WIDTH) << 2);
  const aRowBytes = <usize>aRow << 2;
  const aColBytes = <usize>aCol << 2;
  const cRowBytes = <usize>cRow << 2;
  for (let j0 = 0; j0 < n; j0 += WIDTH) {
    const columns = min(WIDTH, n - j0);
    for (let k0 = 0; k0 < k; k0 += DEPTH) {
      const depth = min(DEPTH, k - k0);
      pack(b + (<usize>(k0 * bRow + j0 * bCol) << 2), panels, depth, columns, <usize>bRow << 2, <usize>bCol << 2);
      const add = accumulate || k0 > 0;
      for (let i0 = 0; i0 < m; i0 += ROWS) {
        const rows = min(ROWS, m - i0);
        const aBlock = a + <usize>i0 * aRowBytes + <usize>k0 * aColBytes;
        for (let j = 0; j < columns; j += 8) {
          const panel = panels + (<usize>(j * depth) << 2);
          const cBlock = c + <usize>i0 * cRowBytes + (<usize>(j0 + j) << 2);
          const biasBlock = bias && k0 == 0 ? bias + (<usize>(j0 + j) << 2) : 0;
          const width = columns - j;
          let i = 0;
          for (; i + 4 <= rows; i += 4) {
            const from = aBlock + <usize>i * aRowBytes;
            const to = cBlock + <usize>i * cRowBytes;
            if (width >= 8) {
              tile4x8(from, aRowBytes, aColBytes, panel, depth, to, cRowBytes, add, biasBlock);
            } else {
              tile4x8(from, aRowBytes, aColBytes, panel, depth, tile, 32, false, 0);
              copyTile(tile, to, cRowBytes, 4, width, add, biasBlock);
            }
          }
          for (; i < rows; i++) {
            const from = aBlock + <usize>i * aRowBytes;
            const to = cBlock + <usize>i * cRowBytes;
            if (width >= 8) {
              tile1x8(from, aColBytes, panel, depth, to, add, biasBlock);
            } else {
              tile1x8(from, aColBytes, panel, depth, tile, false, 0);
              copyTile(tile, to, cRowBytes, 1, width, add, biasBlock);
            }
          }
        }
      }
    }
  }
}

/**
 * The product of each batch entry, cut into blocks of `rows` x `columns`, which are the units: block after block along a row of C, rows downwards, batch
 * entries last. `rows` and `columns` are multiples of a tile's, so that no element depends on where C is cut. Batch strides count floats.
 */
export function matMulBlocks(
  a: usize, b: usize, c: usize, bias: usize,
  m: i32, n: i32, k: i32,
  aRow: i32, aCol: i32, bRow: i32, bCol: i32,
  aBatch: i32, bBatch: i32, rows: i32, columns: i32, start: i32, end: i32,
): void {
  const across = (n + columns - 1) / columns;
  const down = (m + rows - 1) / rows;
  for (let unit = start; unit < end; unit++) {
    const j0 = (unit % across) * columns;
    const i0 = ((unit / across) % down) * rows;
    const entry = <usize>(unit / (across * down)) << 2;
    matMul(
      a + entry * aBatch + (<usize>(i0 * aRow) << 2), b + entry * bBatch + (<usize>(j0 * bCol) << 2), c + entry * (m * n) + (<usize>(i0 * n + j0) << 2),
      bias ? bias + (<usize>j0 << 2) : 0, min(rows, m - i0), min(columns, n - j0), k, aRow, aCol, bRow, bCol, n, false,
    );
  }
}

/** Columns of B in strips of 8: strip after strip, in each the rows one after the other, the last strip filled up with zeros. */
function pack(b: usize, panel: usize, depth: i32, columns: i32, bRow: usize, bCol: usize): void {
  for (let j = 0; j < columns; j += 8) {
    let from = b + <usize>j * bCol;
    let to = panel + (<usize>(j * depth) << 2);
    const width = min(8, columns - j);
    let k = 0;
    if (width == 8 && bCol == 4) {
      for (; k < depth; k++, from += bRow, to += 32) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
      }
    } else if (width == 8 && bRow == 4) {
      const last = from + 4 * bCol;
      for (; k + 4 <= depth; k += 4, to += 128) {
        transpose4x4(from + (<usize>k << 2), bCol, to);
        transpose4x4(last + (<usize>k << 2), bCol, to + 16);
      }
      from += <usize>k << 2;
      for (; k < depth; k++, from += bRow, to += 32) packRow(from, bCol, to, width);
    } else {
      for (; k < depth; k++, from += bRow, to += 32) packRow(from, bCol, to, width);
    }
  }
}

// @ts-ignore: decorator
@inline
function packRow(from: usize, bCol: usize, to: usize, width: i32): void {
  for (let w = 0; w < 8; w++) store<f32>(to + (<usize>w << 2), w < width ? load<f32>(from + <usize>w * bCol) : 0);
}

/** Four columns of four neighbours each become four rows, 32 bytes apart. */
// @ts-ignore: decorator
@inline
function transpose4x4(from: usize, bCol: usize, to: usize): void {
  const r0 = v128.load(from);
  const r1 = v128.load(from + bCol);
  const r2 = v128.load(from + 2 * bCol);
  const r3 = v128.load(from + 3 * bCol);
  const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
  v128.store(to, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7), 32);
  v128.store(to, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5), 64);
  v128.store(to, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7), 96);
}

function tile4x8(a: usize, aRow: usize, aCol: usize, panel: usize, depth: i32, c: usize, cRow: usize, add: bool, bias: usize): void {
  let a0 = a;
  let a1 = a + aRow;
  let a2 = a1 + aRow;
  let a3 = a2 + aRow;
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  const end = panel + (<usize>depth << 5);
  for (; panel < end; panel += 32) {
    const b0 = v128.load(panel);
    const b1 = v128.load(panel, 16);
    let x = v128.load32_splat(a0);
    c00 = multiplyAdd(x, b0, c00);
    c01 = multiplyAdd(x, b1, c01);
    x = v128.load32_splat(a1);
    c10 = multiplyAdd(x, b0, c10);
    c11 = multiplyAdd(x, b1, c11);
    x = v128.load32_splat(a2);
    c20 = multiplyAdd(x, b0, c20);
    c21 = multiplyAdd(x, b1, c21);
    x = v128.load32_splat(a3);
    c30 = multiplyAdd(x, b0, c30);
    c31 = multiplyAdd(x, b1, c31);
    a0 += aCol;
    a1 += aCol;
    a2 += aCol;
    a3 += aCol;
  }
  put(c, c00, c01, add, bias);
  put(c + cRow, c10, c11, add, bias);
  put(c + 2 * cRow, c20, c21, add, bias);
  put(c + 3 * cRow, c30, c31, add, bias);
}

function tile1x8(a: usize, aCol: usize, panel: usize, depth: i32, c: usize, add: bool, bias: usize): void {
  let even0 = f32x4.splat(0), even1 = f32x4.splat(0), odd0 = f32x4.splat(0), odd1 = f32x4.splat(0);
  const end = panel + (<usize>(depth & ~1) << 5);
  for (; panel < end; panel += 64) {
    let x = v128.load32_splat(a);
    even0 = multiplyAdd(x, v128.load(panel), even0);
    even1 = multiplyAdd(x, v128.load(panel, 16), even1);
    x = v128.load32_splat(a + aCol);
    odd0 = multiplyAdd(x, v128.load(panel, 32), odd0);
    odd1 = multiplyAdd(x, v128.load(panel, 48), odd1);
    a += 2 * aCol;
  }
  if (depth & 1) {
    const x = v128.load32_splat(a);
    even0 = multiplyAdd(x, v128.load(panel), even0);
    even1 = multiplyAdd(x, v128.load(panel, 16), even1);
  }
  put(c, f32x4.add(even0, odd0), f32x4.add(even1, odd1), add, bias);
}

// @ts-ignore: decorator
@inline
function put(c: usize, first: v128, second: v128, add: bool, bias: usize): void {
  if (bias) {
    first = f32x4.add(first, v128.load(bias));
    second = f32x4.add(second, v128.load(bias, 16));
  }
  if (add) {
    first = f32x4.add(first, v128.load(c));
    second = f32x4.add(second, v128.load(c, 16));
  }
  v128.store(c, first);
  v128.store(c, second, 16);
}

function copyTile(tile: usize, c: usize, cRow: usize, rows: i32, width: i32, add: bool, bias: usize): void {
  for (let i = 0; i < rows; i++, tile += 32, c += cRow) {
    for (let j: usize = 0; j < <usize>width << 2; j += 4) {
      let value = load<f32>(tile + j);
      if (bias) value += load<f32>(bias + j);
      if (add) value += load<f32>(c + j);
      store<f32>(c + j, value);
    }
  }
}
