/**
 * C = factor A B (+ bias) (+ plus) for any strides: 6 x 8 tiles of C held in registers, over panels of B packed so that each step reads 8 neighbours.
 *
 * Strides count floats: A(i, k) = a[i aRow + k aCol], B(k, j) = b[k bRow + j bCol], C(i, j) = c[i cRow + j], and plus lies like C; it may be C itself. A
 * transposed operand is one whose two strides are swapped. Every element is summed in order of k, in blocks of DEPTH, wherever C is cut.
 */
import { multiplyAdd } from './lanes';
import { scratch } from './scratch';

// @ts-ignore: decorator
@inline
export const DEPTH: i32 = 256; // of a packed panel, in rows of B
// @ts-ignore: decorator
@inline
export const WIDTH: i32 = 256; // of a packed panel, in columns of B
// @ts-ignore: decorator
@inline
const ROWS: i32 = 24; // of A that stay in the first cache while the panel passes
// @ts-ignore: decorator
@inline
const PACKED_ROWS: i32 = 192; // of a transposed A that are packed together: as many neighbours are read at a time
// @ts-ignore: decorator
@inline
const TILE: i32 = 6; // rows of a tile

/** Floats of scratch memory that `multiplyPacked` works in: a block of A, and one tile for the edges (of 8 rows at most). */
// @ts-ignore: decorator
@inline
export const WORK: i32 = 192 * 256 + 64;

/** What `matMul` needs: the same, and a panel of B. */
// @ts-ignore: decorator
@inline
export const MAT_MUL_SCRATCH: i32 = WORK + 256 * 256;

/** The same for callers outside: exported from the module, an inlined constant makes the compiler fail. */
export function matMulScratch(): i32 {
  return MAT_MUL_SCRATCH;
}

export function matMul(
  a: usize, b: usize, c: usize, bias: usize, plus: usize, factor: f32,
  m: i32, n: i32, k: i32,
  aRow: i32, aCol: i32, bRow: i32, bCol: i32, cRow: i32,
): void {
  const panels = scratch() + (WORK << 2);
  for (let j0 = 0; j0 < n; j0 += WIDTH) {
    const columns = min(WIDTH, n - j0);
    const at = <usize>j0 << 2;
    for (let k0 = 0; k0 < k; k0 += DEPTH) {
      const depth = min(DEPTH, k - k0);
      pack(b + (<usize>(k0 * bRow + j0 * bCol) << 2), panels, depth, columns, <usize>bRow << 2, <usize>bCol << 2);
      const addend = k0 > 0 ? c + at : plus ? plus + at : 0;
      const from = a + (<usize>(k0 * aCol) << 2);
      multiplyPacked(from, panels, c + at, k0 == 0 && bias ? bias + at : 0, addend, factor, m, columns, depth, aRow, aCol, depth, cRow);
    }
  }
}

/** The product with `columns` columns of B that `pack` has packed `packedDepth` deep, of which the first `depth` rows count. */
export function multiplyPacked(
  a: usize, panels: usize, c: usize, bias: usize, plus: usize, factor: f32,
  m: i32, columns: i32, depth: i32, aRow: i32, aCol: i32, packedDepth: i32, cRow: i32,
): void {
  const packedA = scratch();
  const edge = packedA + ((DEPTH * PACKED_ROWS) << 2);
  const packA = aRow == 1 && aCol != 1 && columns > 32 && depth <= DEPTH; // the rows of a tile side by side, instead of a cache line a step
  const direct = plus ? !bias : bias || factor == 1.0; // what a whole tile does by itself
  const cRowBytes = <usize>cRow << 2;
  const rowBytes = packA ? 4 : <usize>aRow << 2;
  const colBytes = packA ? TILE << 2 : <usize>aCol << 2;
  const tileBytes = packA ? <usize>(TILE * depth) << 2 : <usize>(TILE * aRow) << 2;
  let block = a;
  for (let i0 = 0; i0 < m; i0 += ROWS, block += (ROWS / TILE) * tileBytes) {
    const rows = min(ROWS, m - i0);
    if (packA && i0 % PACKED_ROWS == 0) {
      packRows(a + (<usize>i0 << 2), packedA, min(PACKED_ROWS, m - i0), depth, <usize>aCol << 2);
      block = packedA;
    }
    for (let j = 0; j < columns; j += 8) {
      const panel = panels + (<usize>(j * packedDepth) << 2);
      const biasBlock = bias ? bias + (<usize>j << 2) : 0;
      const width = min(8, columns - j);
      let from = block;
      let at = <usize>i0 * cRowBytes + (<usize>j << 2);
      for (let i = 0; i < rows; i += TILE, from += tileBytes, at += <usize>TILE * cRowBytes) {
        const height = min(TILE, rows - i);
        if (direct && height == TILE && width == 8) {
          const addend = plus ? plus + at : biasBlock;
          tile6x8(from, rowBytes, colBytes, panel, depth, c + at, cRowBytes, factor, addend, plus ? cRowBytes : 0);
        } else {
          if (height == TILE || packA) tile6x8(from, rowBytes, colBytes, panel, depth, edge, 32, 1, 0, 0);
          else tileRows(from, rowBytes, colBytes, panel, depth, edge, height);
          finish(edge, c + at, cRowBytes, height, width, factor, plus ? plus + at : 0, biasBlock);
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
  a: usize, b: usize, c: usize, bias: usize, plus: usize, factor: f32,
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
    const at = entry * (m * n) + (<usize>(i0 * n + j0) << 2);
    matMul(
      a + entry * aBatch + (<usize>(i0 * aRow) << 2), b + entry * bBatch + (<usize>(j0 * bCol) << 2), c + at,
      bias ? bias + (<usize>j0 << 2) : 0, plus ? plus + at : 0, factor,
      min(rows, m - i0), min(columns, n - j0), k, aRow, aCol, bRow, bCol, n,
    );
  }
}

/**
 * C = A W (+ bias) (+ plus) + scale (A U) V, W [k, n] changed by a product of low rank, in blocks of `rows` rows, the units: what the first product has
 * written is still in the cache when the last adds to it. A U, [m, rank], is kept in `low`. A, C and low are row after row.
 */
export function adaptedRows(
  a: usize, w: usize, u: usize, v: usize, c: usize, low: usize, bias: usize, plus: usize, scale: f32,
  m: i32, n: i32, k: i32, rank: i32,
  wRow: i32, wCol: i32, uRow: i32, uCol: i32, vRow: i32, vCol: i32, rows: i32, start: i32, end: i32,
): void {
  for (let unit = start; unit < end; unit++) {
    const i = unit * rows;
    const height = min(rows, m - i);
    const from = a + (<usize>(i * k) << 2);
    const at = <usize>(i * n) << 2;
    const between = low + (<usize>(i * rank) << 2);
    matMul(from, w, c + at, bias, plus ? plus + at : 0, 1, height, n, k, k, 1, wRow, wCol, n);
    matMul(from, u, between, 0, 0, 1, height, rank, k, k, 1, uRow, uCol, rank);
    matMul(between, v, c + at, 0, c + at, scale, height, n, rank, rank, 1, vRow, vCol, n);
  }
}

/** Floats that `pack` writes. */
// @ts-ignore: decorator
@inline
export function packedSize(depth: i32, columns: i32): i32 {
  return depth * ((columns + 7) & ~7);
}

/** Columns of B in strips of 8: strip after strip, in each the rows one after the other, the last strip filled up with zeros. */
export function pack(b: usize, panel: usize, depth: i32, columns: i32, bRow: usize, bCol: usize): void {
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

/**
 * Rows of A side by side, tile after tile: in each the columns one after the other. The last row stands for those that the last tile lacks. Goes through A
 * column by column, whose rows are neighbours: far apart from one another, each cache line is fetched once.
 */
function packRows(a: usize, to: usize, rows: i32, depth: i32, aCol: usize): void {
  const tileBytes = <usize>(TILE * depth) << 2;
  const whole = rows / TILE;
  for (let k = 0; k < depth; k++, a += aCol, to += TILE << 2) {
    let tile = to;
    let from = a;
    for (let t = 0; t < whole; t++, tile += tileBytes, from += TILE << 2) {
      v128.store(tile, v128.load(from));
      store<i64>(tile, load<i64>(from, 16), 16);
    }
    for (let i = whole * TILE; i < rows; i += TILE, tile += tileBytes) {
      for (let h = 0; h < TILE; h++) store<f32>(tile + (<usize>h << 2), load<f32>(a + (<usize>min(i + h, rows - 1) << 2)));
    }
  }
}

/** Four columns of four neighbours each become four rows, 32 bytes apart. */
// @ts-ignore: decorator
@inline
function transpose4x4(from: usize, bCol: usize, to: usize): void {
  storeTurned(v128.load(from), v128.load(from + bCol), v128.load(from + 2 * bCol), v128.load(from + 3 * bCol), to);
}

/** Four vectors become four rows across them, 32 bytes apart. */
// @ts-ignore: decorator
@inline
export function storeTurned(r0: v128, r1: v128, r2: v128, r3: v128, to: usize): void {
  const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
  v128.store(to, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7), 32);
  v128.store(to, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5), 64);
  v128.store(to, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7), 96);
}

/**
 * Twelve sums, two rows of B and one element of A: all registers there are, so nothing else may be alive in the loop. What is to be added (rows of `plusRow`
 * bytes, 0 for a bias) has a branch of its own behind it; with the branches the other way round V8 keeps sums in memory, at two thirds of the speed.
 */
function tile6x8(
  a: usize, aRow: usize, aCol: usize, panel: usize, depth: i32, c: usize, cRow: usize, factor: f32, plus: usize, plusRow: usize,
): void {
  let a0 = a;
  let a1 = a0 + aRow;
  let a2 = a1 + aRow;
  let a3 = a2 + aRow;
  let a4 = a3 + aRow;
  let a5 = a4 + aRow;
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0), c41 = f32x4.splat(0), c50 = f32x4.splat(0), c51 = f32x4.splat(0);
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
    x = v128.load32_splat(a4);
    c40 = multiplyAdd(x, b0, c40);
    c41 = multiplyAdd(x, b1, c41);
    x = v128.load32_splat(a5);
    c50 = multiplyAdd(x, b0, c50);
    c51 = multiplyAdd(x, b1, c51);
    a0 += aCol;
    a1 += aCol;
    a2 += aCol;
    a3 += aCol;
    a4 += aCol;
    a5 += aCol;
  }
  if (plus) {
    const f = f32x4.splat(factor);
    storeSum(c, c00, c01, f, plus);
    c += cRow;
    plus += plusRow;
    storeSum(c, c10, c11, f, plus);
    c += cRow;
    plus += plusRow;
    storeSum(c, c20, c21, f, plus);
    c += cRow;
    plus += plusRow;
    storeSum(c, c30, c31, f, plus);
    c += cRow;
    plus += plusRow;
    storeSum(c, c40, c41, f, plus);
    c += cRow;
    plus += plusRow;
    storeSum(c, c50, c51, f, plus);
    return;
  }
  storeRow(c, c00, c01);
  c += cRow;
  storeRow(c, c10, c11);
  c += cRow;
  storeRow(c, c20, c21);
  c += cRow;
  storeRow(c, c30, c31);
  c += cRow;
  storeRow(c, c40, c41);
  c += cRow;
  storeRow(c, c50, c51);
}

// @ts-ignore: decorator
@inline
function storeRow(to: usize, first: v128, second: v128): void {
  v128.store(to, first);
  v128.store(to, second, 16);
}

/** The row times a factor, plus what lies at `plus`. */
// @ts-ignore: decorator
@inline
function storeSum(to: usize, first: v128, second: v128, factor: v128, plus: usize): void {
  storeRow(to, f32x4.add(f32x4.mul(first, factor), v128.load(plus)), f32x4.add(f32x4.mul(second, factor), v128.load(plus, 16)));
}

/** The same for the last few rows of A, of which there are fewer than six: four at a time, the last one standing for those missing. */
function tileRows(a: usize, aRow: usize, aCol: usize, panel: usize, depth: i32, c: usize, rows: i32): void {
  const end = panel + (<usize>depth << 5);
  for (let i = 0; i < rows; i += 4, c += 128) {
    let a0 = a + <usize>i * aRow;
    let a1 = i + 1 < rows ? a0 + aRow : a0;
    let a2 = i + 2 < rows ? a1 + aRow : a1;
    let a3 = i + 3 < rows ? a2 + aRow : a2;
    let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
    let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
    for (let at = panel; at < end; at += 32) {
      const b0 = v128.load(at);
      const b1 = v128.load(at, 16);
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
    v128.store(c, c00);
    v128.store(c, c01, 16);
    v128.store(c, c10, 32);
    v128.store(c, c11, 48);
    v128.store(c, c20, 64);
    v128.store(c, c21, 80);
    v128.store(c, c30, 96);
    v128.store(c, c31, 112);
  }
}

/** From a tile of sums to `rows` x `width` elements of C: times the factor, plus the bias, plus what is added. */
function finish(tile: usize, c: usize, cRow: usize, rows: i32, width: i32, factor: f32, plus: usize, bias: usize): void {
  for (let i = 0; i < rows; i++, tile += 32, c += cRow) {
    if (width == 8) {
      let first = f32x4.mul(v128.load(tile), f32x4.splat(factor));
      let second = f32x4.mul(v128.load(tile, 16), f32x4.splat(factor));
      if (bias) {
        first = f32x4.add(first, v128.load(bias));
        second = f32x4.add(second, v128.load(bias, 16));
      }
      if (plus) {
        first = f32x4.add(first, v128.load(plus));
        second = f32x4.add(second, v128.load(plus, 16));
      }
      storeRow(c, first, second);
    } else {
      for (let j: usize = 0; j < <usize>width << 2; j += 4) {
        let value = load<f32>(tile + j) * factor;
        if (bias) value += load<f32>(bias + j);
        if (plus) value += load<f32>(plus + j);
        store<f32>(c + j, value);
      }
    }
    if (plus) plus += cRow;
  }
}
