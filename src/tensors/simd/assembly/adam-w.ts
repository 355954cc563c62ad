/**
 * AdamW in one pass over each variable, and the sum of squares behind the gradient norm.
 */
import { addWide, multiplyAdd, wideSum } from './lanes';

/**
 * Writes the new weight and moments beside the old ones: a tensor may be shared by a snapshot, so none is changed in place. rest is 1 - beta, which
 * floats would round away.
 */
export function adamW(
  weight: usize, gradient: usize, first: usize, second: usize, newWeight: usize, newFirst: usize, newSecond: usize,
  gradientScale: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, rate: f32, rootOfCorrection: f32, epsilon: f32, keep: f32, start: i32, end: i32,
): void {
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize>i << 2;
    const g = f32x4.mul(v128.load(gradient + at), f32x4.splat(gradientScale));
    const m = multiplyAdd(v128.load(first + at), f32x4.splat(beta1), f32x4.mul(g, f32x4.splat(rest1)));
    const v = multiplyAdd(v128.load(second + at), f32x4.splat(beta2), f32x4.mul(f32x4.mul(g, g), f32x4.splat(rest2)));
    const divisor = f32x4.add(f32x4.div(f32x4.sqrt(v), f32x4.splat(rootOfCorrection)), f32x4.splat(epsilon));
    const change = f32x4.div(f32x4.mul(m, f32x4.splat(rate)), divisor);
    v128.store(newFirst + at, m);
    v128.store(newSecond + at, v);
    v128.store(newWeight + at, f32x4.sub(f32x4.mul(v128.load(weight + at), f32x4.splat(keep)), change));
  }
  for (; i < end; i++) {
    const at = <usize>i << 2;
    const g = load<f32>(gradient + at) * gradientScale;
    const m = load<f32>(first + at) * beta1 + g * rest1;
    const v = load<f32>(second + at) * beta2 + g * g * rest2;
    store<f32>(newFirst + at, m);
    store<f32>(newSecond + at, v);
    store<f32>(newWeight + at, load<f32>(weight + at) * keep - m * rate / (sqrt(v) / rootOfCorrection + epsilon));
  }
}

/** Elements of a block whose squares are summed together. */
// @ts-ignore: decorator
@inline
const BLOCK: i32 = 16384;

/** sums [n / 16384] as doubles: of the squares of each block, which are the units. */
export function sumOfSquares(x: usize, sums: usize, n: i32, start: i32, end: i32): void {
  for (let block = start; block < end; block++) {
    let squares = f64x2.splat(0);
    let i = block * BLOCK;
    const last = min(n, i + BLOCK);
    for (; i + 4 <= last; i += 4) {
      const value = v128.load(x + (<usize>i << 2));
      squares = addWide(squares, f32x4.mul(value, value));
    }
    let total = wideSum(squares);
    for (; i < last; i++) total += <f64>load<f32>(x + (<usize>i << 2)) * <f64>load<f32>(x + (<usize>i << 2));
    store<f64>(sums + (<usize>block << 3), total);
  }
}
