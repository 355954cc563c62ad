/**
 * Four floats at a time: multiply-add, exponential, logarithm, sums over a row. No tables and no statics: the memory belongs to TensorFlow.js.
 */

/** a * b + c: fused where the module is compiled with relaxed SIMD. */
// @ts-ignore: decorator
@inline
export function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Added to a number of moderate size it leaves its nearest integer in the low bits: 1.5 * 2^23. */
// @ts-ignore: decorator
@inline
const ROUNDER: f32 = 12582912.0;

/**
 * e^x to about 1e-7 relative (Cephes expf: x = n ln 2 + r, a polynomial in r); up to -87 exactly 0, so that no denormals arise, above 88 as at 88; NaN of NaN. Plain
 * minimum and maximum of SIMD take seven instructions for the sake of -0, the pseudo ones one: these give their first operand where one of the two is NaN.
 */
// @ts-ignore: decorator
@inline
export function exponential(x: v128): v128 {
  return exponentialFrom(f32x4.pmin(f32x4.pmax(x, f32x4.splat(LOWEST)), f32x4.splat(88.0)));
}

/** Below it the exponentials of kernels are 0. */
// @ts-ignore: decorator
@inline
export const LOWEST: f32 = -87.0;

/** The same of x from LOWEST to 88, such as differences from a largest value that were raised to LOWEST. */
// @ts-ignore: decorator
@inline
export function exponentialFrom(x: v128): v128 {
  const rounded = multiplyAdd(x, f32x4.splat(1.44269504), f32x4.splat(ROUNDER));
  const power = i32x4.shl(i32x4.add(rounded, i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(mantissaOf(x, rounded), power), f32x4.le(x, f32x4.splat(LOWEST)));
}

/** e^x of any x: denormals below -87.3, 0 below -103.97, infinite above 88.72, NaN of NaN. The power of two comes in two factors, as it may be none itself. */
// @ts-ignore: decorator
@inline
export function anyExponential(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-104.0)), f32x4.splat(89.0));
  const rounded = multiplyAdd(bounded, f32x4.splat(1.44269504), f32x4.splat(ROUNDER));
  const n = i32x4.sub(rounded, i32x4.splat(0x4b400000)); // the bits of ROUNDER
  const half = i32x4.shr_s(n, 1);
  const first = i32x4.shl(i32x4.add(half, i32x4.splat(127)), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(n, half), i32x4.splat(127)), 23);
  return f32x4.mul(f32x4.mul(mantissaOf(bounded, rounded), first), second);
}

/** e^(x - n ln 2), where `rounded` has n in its low bits. */
// @ts-ignore: decorator
@inline
function mantissaOf(x: v128, rounded: v128): v128 {
  const n = f32x4.sub(rounded, f32x4.splat(ROUNDER));
  const r = multiplyAdd(n, f32x4.splat(2.12194440e-4), multiplyAdd(n, f32x4.splat(-0.693359375), x));
  let p = multiplyAdd(f32x4.splat(1.9875691500e-4), r, f32x4.splat(1.3981999507e-3));
  p = multiplyAdd(p, r, f32x4.splat(8.3334519073e-3));
  p = multiplyAdd(p, r, f32x4.splat(4.1665795894e-2));
  p = multiplyAdd(p, r, f32x4.splat(1.6666665459e-1));
  p = multiplyAdd(p, r, f32x4.splat(5.0000001201e-1));
  return f32x4.add(multiplyAdd(p, f32x4.mul(r, r), r), f32x4.splat(1.0));
}

/** ln x for normal positive x, in double precision: x = 2^e m, ln m = 2 artanh((m - 1) / (m + 1)). NaN and infinity stay what they are. */
export function logarithm(x: f64): f64 {
  if (!(x < Infinity)) return x;
  const bits = reinterpret<i64>(x);
  let exponent = <i32>(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  const s = (m - 1.0) / (m + 1.0);
  const t = s * s;
  let p = 1.0 / 17.0;
  p = p * t + 1.0 / 15.0;
  p = p * t + 1.0 / 13.0;
  p = p * t + 1.0 / 11.0;
  p = p * t + 1.0 / 9.0;
  p = p * t + 1.0 / 7.0;
  p = p * t + 1.0 / 5.0;
  p = p * t + 1.0 / 3.0;
  p = p * t + 1.0;
  return 0.6931471805599453 * <f64>exponent + 2.0 * s * p;
}

/** The sum of the four lanes. */
// @ts-ignore: decorator
@inline
export function lanesSum(x: v128): f32 {
  return f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) + (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3));
}

/** The largest of the four lanes. */
// @ts-ignore: decorator
@inline
export function lanesMax(x: v128): f32 {
  return max(max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)), max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)));
}

/** Adds the four lanes, widened, to a pair of doubles: sums over long rows keep their precision. */
// @ts-ignore: decorator
@inline
export function addWide(sum: v128, x: v128): v128 {
  const high = i8x16.shuffle(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
  return f64x2.add(sum, f64x2.add(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(high)));
}

// @ts-ignore: decorator
@inline
export function wideSum(sum: v128): f64 {
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}

/** n rounded up to whole vectors. */
// @ts-ignore: decorator
@inline
export function padded(n: i32): i32 {
  return (n + 3) & ~3;
}

/** Stands for minus infinity: exponential() of anything near it is 0, and no arithmetic on it gives NaN. */
// @ts-ignore: decorator
@inline
export const HIDDEN: f32 = -1e30;

/** Zeros from one address to another: for short rows faster than memory.fill, which engines call out for. */
// @ts-ignore: decorator
@inline
export function zero(from: usize, end: usize): void {
  for (; from + 16 <= end; from += 16) v128.store(from, f32x4.splat(0));
  for (; from < end; from += 4) store<f32>(from, 0);
}

/** Copies whole floats: for short rows faster than memory.copy. */
// @ts-ignore: decorator
@inline
export function copyFloats(to: usize, from: usize, bytes: usize): void {
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) v128.store(to + at, v128.load(from + at));
  for (; at < bytes; at += 4) store<u32>(to + at, load<u32>(from + at));
}

/** The largest of `columns` values; NaNs among them may be passed over, as what is computed from each of them is NaN again. At any address. Four maxima, so that none waits for the one before. */
export function rowMax(row: usize, columns: i32): f32 {
  let best = f32x4.splat(-Infinity), second = best, third = best, fourth = best;
  const end = row + (<usize>columns << 2);
  for (; row + 64 <= end; row += 64) {
    best = f32x4.pmax(best, v128.load(row));
    second = f32x4.pmax(second, v128.load(row, 16));
    third = f32x4.pmax(third, v128.load(row, 32));
    fourth = f32x4.pmax(fourth, v128.load(row, 48));
  }
  best = f32x4.pmax(f32x4.pmax(best, second), f32x4.pmax(third, fourth));
  for (; row + 16 <= end; row += 16) best = f32x4.pmax(best, v128.load(row));
  let value = lanesMax(best);
  for (; row < end; row += 4) value = max(value, load<f32>(row));
  return value;
}
