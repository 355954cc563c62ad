/**
 * Operations on each element: of two operands that broadcast, and of one.
 *
 * The result is seen as rows of `inner` elements. An operand moves along a row (step 1) or stays (step 0); where its rows begin comes from two strides. Long rows
 * are cut into pieces of PIECE, which are the units.
 */
import { anyExponential } from './lanes';

// @ts-ignore: decorator
@inline
const PIECE: i32 = 4096;

// @ts-ignore: decorator
@inline
function combine(operation: i32, x: v128, y: v128): v128 {
  if (operation == 0) return f32x4.add(x, y);
  if (operation == 1) return f32x4.sub(x, y);
  if (operation == 2) return f32x4.mul(x, y);
  if (operation == 3) return f32x4.div(x, y);
  if (operation == 4) return f32x4.max(x, y);
  if (operation == 5) return f32x4.min(x, y);
  const difference = f32x4.sub(x, y);
  return f32x4.mul(difference, difference);
}

// @ts-ignore: decorator
@inline
function combineRow(operation: i32, x: usize, y: usize, z: usize, xStep: i32, yStep: i32, length: i32): void {
  const whole = <usize>(length & ~3) << 2;
  const bytes = <usize>length << 2;
  if (xStep && yStep) {
    for (let at: usize = 0; at < whole; at += 16) v128.store(z + at, combine(operation, v128.load(x + at), v128.load(y + at)));
  } else if (xStep) {
    const value = v128.load32_splat(y);
    for (let at: usize = 0; at < whole; at += 16) v128.store(z + at, combine(operation, v128.load(x + at), value));
  } else {
    const value = v128.load32_splat(x);
    const step = <usize>yStep;
    for (let at: usize = 0; at < whole; at += 16) v128.store(z + at, combine(operation, value, step ? v128.load(y + at) : v128.load32_splat(y)));
  }
  for (let at = whole; at < bytes; at += 4) {
    v128.store32_lane(z + at, combine(operation, v128.load32_splat(x + (xStep ? at : 0)), v128.load32_splat(y + (yStep ? at : 0))), 0);
  }
}

/** Row r = (o, i) with i < middle begins at element o xOuter + i xMiddle of x, and likewise of y. */
export function binary(
  x: usize, y: usize, z: usize, operation: i32, inner: i32, middle: i32,
  xStep: i32, yStep: i32, xMiddle: i32, yMiddle: i32, xOuter: i32, yOuter: i32, start: i32, end: i32,
): void {
  const pieces = (inner + PIECE - 1) / PIECE;
  for (let unit = start; unit < end; unit++) {
    const row = unit / pieces;
    const first = (unit % pieces) * PIECE;
    const length = min(PIECE, inner - first);
    const o = row / middle;
    const i = row % middle;
    const from = x + (<usize>(o * xOuter + i * xMiddle + first * xStep) << 2);
    const other = y + (<usize>(o * yOuter + i * yMiddle + first * yStep) << 2);
    const to = z + (<usize>(row * inner + first) << 2);
    switch (operation) {
      case 0: combineRow(0, from, other, to, xStep, yStep, length); break;
      case 1: combineRow(1, from, other, to, xStep, yStep, length); break;
      case 2: combineRow(2, from, other, to, xStep, yStep, length); break;
      case 3: combineRow(3, from, other, to, xStep, yStep, length); break;
      case 4: combineRow(4, from, other, to, xStep, yStep, length); break;
      case 5: combineRow(5, from, other, to, xStep, yStep, length); break;
      default: combineRow(6, from, other, to, xStep, yStep, length);
    }
  }
}

/** 1 / (1 + e^-x), by the exponential of what is not above 0: small results keep their digits. */
// @ts-ignore: decorator
@inline
function sigmoid(x: v128): v128 {
  const e = anyExponential(f32x4.neg(f32x4.abs(x)));
  const positive = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), e));
  return v128.bitselect(f32x4.mul(e, positive), positive, f32x4.lt(x, f32x4.splat(0)));
}

// @ts-ignore: decorator
@inline
function apply(operation: i32, x: v128): v128 {
  if (operation == 0) return f32x4.neg(x);
  if (operation == 1) return f32x4.abs(x);
  if (operation == 2) return f32x4.sqrt(x);
  if (operation == 3) return f32x4.div(f32x4.splat(1), f32x4.sqrt(x));
  if (operation == 4) return f32x4.mul(x, x);
  if (operation == 5) return anyExponential(x);
  if (operation == 6) return sigmoid(x);
  return f32x4.div(f32x4.splat(1), x);
}

// @ts-ignore: decorator
@inline
function applyAll(operation: i32, x: usize, y: usize, start: i32, end: i32): void {
  let i = start;
  for (; i + 4 <= end; i += 4) v128.store(y + (<usize>i << 2), apply(operation, v128.load(x + (<usize>i << 2))));
  for (; i < end; i++) v128.store32_lane(y + (<usize>i << 2), apply(operation, v128.load32_splat(x + (<usize>i << 2))), 0);
}

/** y = f(x), over elements. */
export function unary(x: usize, y: usize, operation: i32, start: i32, end: i32): void {
  switch (operation) {
    case 0: applyAll(0, x, y, start, end); break;
    case 1: applyAll(1, x, y, start, end); break;
    case 2: applyAll(2, x, y, start, end); break;
    case 3: applyAll(3, x, y, start, end); break;
    case 4: applyAll(4, x, y, start, end); break;
    case 5: applyAll(5, x, y, start, end); break;
    case 6: applyAll(6, x, y, start, end); break;
    default: applyAll(7, x, y, start, end);
  }
}
