/**
 * Matrix product on WebGPU, `C = factor op(A) op(B) (+ bias) (+ plus) (+ C)` with optional transposition. Which shader: one for few rows (decoding), which
 * reads each weight once; else square tiles, in float32, or with operands rounded to float16.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { HalfFormat } from '../half.js';
import { columnsPerGroup, fewRows } from './few-rows.js';
import { f32, type ShaderQueue, u32 } from './queue.js';
import { peaksOf } from './scaling.js';
import { type Tile, tiled } from './tiles.js';

export interface MatMulShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** A is stored as [k, m]. */
  readonly transposeA?: boolean;
  /** B is stored as [n, k]. */
  readonly transposeB?: boolean;
  /** Number of products, with elements from one to the next; a stride of 0 uses the same matrix for all. */
  readonly batch?: number;
  readonly strideA?: number;
  readonly strideB?: number;
  /** First elements, where an operand is some rows of a larger one. */
  readonly offsetA?: number;
  readonly offsetB?: number;
  readonly offsetC?: number;
  /** Multiplies the product; default 1. */
  readonly factor?: number;
  /** Adds to what is in C instead of replacing it. */
  readonly accumulate?: boolean;
  /** B holds packed halves of this format (`tensors/half.ts`), two to an element. */
  readonly halves?: HalfFormat;
  /** Side of the tiles; by default from the size of C. */
  readonly tile?: Tile;
}

/** What is added to the product while it is written. */
export interface Addends {
  readonly bias?: tf.TensorInfo; // [n], to each row
  readonly plus?: tf.TensorInfo; // of C's shape, another tensor than C
}

/** Workgroups that keep a large card busy: with fewer, smaller tiles are better. */
const ENOUGH_GROUPS = 128;
/** Up to so many rows a product takes as long as reading B does. */
const FEW_ROWS = 16;

const whole = (...lengths: readonly number[]): boolean => lengths.every((length) => length % 4 === 0);

/** Queues `c = factor op(a) op(b) + ...`. */
export function matMul(
  queue: ShaderQueue,
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  c: tf.TensorInfo,
  shape: MatMulShape,
  { bias, plus }: Addends = {},
): void {
  const { m, n, k, transposeA = false, transposeB = false, batch = 1, strideA = 0, strideB = 0, offsetA = 0, offsetB = 0 } = shape;
  if (m === 0 || n === 0 || batch === 0) return; // nothing to write
  const { offsetC = 0, factor = 1, accumulate = false, halves } = shape;
  const addends = [...(bias ? [bias] : []), ...(plus ? [plus] : [])];
  const writing = { bias: Boolean(bias), plus: Boolean(plus), accumulate };
  if (!shape.tile && m <= FEW_ROWS && transposeB && !transposeA && batch === 1 && whole(k, offsetA, offsetB)) {
    const variant = { m, lanes: k < 2048 ? 32 : 128, halves, ...writing } as const;
    const params = [...[m, n, k, offsetA, offsetB, offsetC].map(u32), f32(factor)];
    const groups = Math.ceil(n / columnsPerGroup(variant));
    queue.run(fewRows(variant), [a, b, c, ...addends], params, [Math.ceil(groups / 65_535), Math.min(groups, 65_535), 1]);
    return;
  }
  const tile = shape.tile ?? ([128, 64] as const).find((side) => Math.ceil(m / side) * Math.ceil(n / side) * batch >= ENOUGH_GROUPS) ?? 32;
  const operands = {
    ...{ tile, transposeA, transposeB, halves, ...writing },
    vectorA: whole(transposeA ? m : k, strideA, offsetA),
    vectorB: whole(transposeB ? k : n, strideB, offsetB),
    vectorC: whole(n, offsetC),
  };
  const params = [...[m, n, k, strideA, strideB, offsetA, offsetB, offsetC].map(u32), f32(factor)];
  const groups = [Math.ceil(n / tile), Math.ceil(m / tile), batch] as const;
  if (queue.compute === 'float32') {
    queue.run(tiled({ ...operands, rounded: false }), [a, b, c, ...addends], params, groups);
    return;
  }
  const peaks = [peaksOf(queue, a), peaksOf(queue, b, halves)];
  const tensors = [a, b, c, ...peaks.map(({ bits }) => bits), ...addends];
  queue.run(tiled({ ...operands, rounded: true }), tensors, [...params, ...peaks.map(({ count }) => u32(count))], groups);
  queue.release(...peaks.map(({ bits }) => bits));
}
