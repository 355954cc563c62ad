/** The matrix product of the simd backend: how it is cut into blocks for threads to share. */
import * as tf from '@tensorflow/tfjs-core';
import type { SimdBackend } from './backend.js';

/** Elements of an operand from one row, and one column, to the next. */
export type Strides = readonly [row: number, column: number];

export interface Product {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  /** Multiplies the sums. */
  readonly factor?: number;
  /** Address of n floats to add to each row, or 0. */
  readonly bias?: number;
  /** Address of what is added to c, which it may be, or 0. */
  readonly plus?: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly aStrides: Strides;
  readonly bStrides: Strides;
  /** Products one after the other, and floats from one operand to the next. */
  readonly batch?: number;
  readonly aBatch?: number;
  readonly bBatch?: number;
}

/** Rows and columns of a register tile in assembly/mat-mul.ts: blocks are multiples of them. */
const TILE_ROWS = 6;
const TILE_COLUMNS = 8;
/** Least columns of a unit of a product with halves. */
const HALF_COLUMNS = 32;
/** Rows that widening and packing the halves cost as much as. */
const PACKING = 4;
/** Nanoseconds a multiplication with addition takes, roughly. */
export const COST = 1 / 16;

/** C = A B (+ bias) at an address, m x n, for every entry of the batch. */
export function matMul(backend: SimdBackend, product: Product): void {
  const { a, b, c, bias = 0, plus = 0, factor = 1, m, n, k, aStrides, bStrides, batch = 1, aBatch = 0, bBatch = 0 } = product;
  if (batch * m * n === 0) return;
  const [rows, columns] = blockSize(m, n, batch, backend.threads.count);
  const units = batch * Math.ceil(m / rows) * Math.ceil(n / columns);
  const args = [a, b, c, bias, plus, factor, m, n, k, ...aStrides, ...bStrides, aBatch, bBatch, rows, columns];
  backend.threads.run('matMulBlocks', args, units, {
    cost: Math.min(m, rows) * Math.min(n, columns) * k * COST,
    scratch: backend.kernels.matMulScratch(),
  });
}

/** A change of low rank to the second operand of a product: C = A (B + scale U V), computed as A B + scale (A U) V. */
export interface LowRank {
  /** Address of [k, rank]. */
  readonly u: number;
  /** Address of [rank, n]. */
  readonly v: number;
  /** Address for A U, [m, rank], row after row. */
  readonly low: number;
  readonly rank: number;
  readonly scale: number;
  readonly uStrides: Strides;
  readonly vStrides: Strides;
}

/** Rows of an adapted product worked on together: few enough to be in the second cache when the change is added. */
const ADAPTED_ROWS = 516;

/** A product with a change of low rank; A is one matrix, row after row. */
export function adaptedMatMul(backend: SimdBackend, product: Product, { u, v, low, rank, scale, uStrides, vStrides }: LowRank): void {
  const { a, b, c, bias = 0, plus = 0, m, n, k, aStrides, bStrides } = product;
  if (m === 0) return;
  const [block, columns] = blockSize(m, n, 1, backend.threads.count);
  if (columns < n) {
    // Few rows: threads share the columns of one product after the other.
    matMul(backend, product);
    matMul(backend, { a, b: u, c: low, m, n: rank, k, aStrides, bStrides: uStrides });
    matMul(backend, { a: low, b: v, c, m, n, k: rank, aStrides: [rank, 1], bStrides: vStrides, plus: c, factor: scale });
    return;
  }
  const rows = Math.min(block, ADAPTED_ROWS);
  const args = [a, b, u, v, c, low, bias, plus, scale, m, n, k, rank, ...bStrides, ...uStrides, ...vStrides, rows];
  backend.threads.run('adaptedRows', args, Math.ceil(m / rows), {
    cost: Math.min(m, rows) * (n * k + rank * (n + k)) * COST,
    scratch: backend.kernels.matMulScratch(),
  });
}

/** x [m, k] times the transpose of packed halves W [n, k] (`../half.ts`) where `byRows`, else x [m, n] times W; a tensor of float32. */
export function halfMatMul(backend: SimdBackend, x: tf.TensorInfo, halves: tf.TensorInfo, bf16: boolean, byRows: boolean): tf.TensorInfo {
  const [m] = x.shape;
  const [n, k] = [halves.shape[0], 2 * halves.shape[1]];
  const across = byRows ? n : k;
  const y = backend.output([m, across]);
  const columns = Math.max(HALF_COLUMNS, Math.min(256, roundUp(across / (4 * backend.threads.count), TILE_COLUMNS)));
  const args = [backend.at(x), backend.at(halves), backend.at(y), m, n, k, bf16 ? 1 : 0, byRows ? 1 : 0, columns];
  backend.threads.run('halfMatMulBlocks', args, Math.ceil(across / columns), {
    cost: (m + PACKING) * Math.min(across, columns) * (byRows ? k : n) * COST,
    scratch: backend.kernels.matMulScratch(),
  });
  return y;
}

/** Every block packs its columns of B anew: so rows are cut where there are many, columns where there are few. */
function blockSize(m: number, n: number, batch: number, threads: number): readonly [rows: number, columns: number] {
  const whole = [roundUp(m, TILE_ROWS), roundUp(n, TILE_COLUMNS)] as const;
  const pieces = Math.ceil((4 * threads) / batch);
  if (threads === 1 || pieces === 1) return whole;
  if (m >= 128 * pieces) return [roundUp(m / pieces, TILE_ROWS), whole[1]];
  return [whole[0], Math.max(32, roundUp(n / pieces, TILE_COLUMNS))];
}

const roundUp = (x: number, step: number): number => Math.ceil(x / step) * step;

/** `tf.matMul` of float operands that fit (and sum over something) and whose batch axes are the same or, in one of them, a single entry; undefined for others. */
export function batchMatMul(
  backend: SimdBackend,
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  transposeA: boolean,
  transposeB: boolean,
): tf.TensorInfo | undefined {
  const batch = backend.holds(a, 'float32') && backend.holds(b, 'float32') ? commonBatch(a.shape, b.shape) : undefined;
  if (!batch) return undefined;
  const [m, k] = transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2);
  const [n, other] = transposeB ? b.shape.slice(-2) : b.shape.slice(-2).reverse();
  if (k !== other || k === 0) return undefined;
  const out = backend.output([...batch, m, n]);
  matMul(backend, {
    ...{ a: backend.at(a), b: backend.at(b), c: backend.at(out), m, n, k },
    aStrides: transposeA ? [1, m] : [k, 1],
    bStrides: transposeB ? [1, k] : [n, 1],
    batch: tf.util.sizeFromShape([...batch]),
    aBatch: tf.util.sizeFromShape(a.shape) === m * k ? 0 : m * k,
    bBatch: tf.util.sizeFromShape(b.shape) === k * n ? 0 : k * n,
  });
  return out;
}

function commonBatch(a: readonly number[], b: readonly number[]): readonly number[] | undefined {
  if (a.length < 2 || b.length < 2) return undefined;
  const [left, right] = [a.slice(0, -2), b.slice(0, -2)];
  if (`${left}` === `${right}`) return left;
  if (left.length === right.length && right.every((length) => length === 1)) return left;
  if (left.length === right.length && left.every((length) => length === 1)) return right;
  return undefined;
}
