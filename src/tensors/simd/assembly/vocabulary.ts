/**
 * Everything as wide as the vocabulary: log-probabilities of chosen tokens, forward KL, sampling. Logits exist for 64 rows at a time.
 */
import { addWide, exponential, hide, lanesSum, logarithm, padded, rowMax, wideSum } from './lanes';
import { matMul, MAT_MUL_SCRATCH } from './mat-mul';
import { scratch } from './scratch';

// @ts-ignore: decorator
@inline
const BLOCK: i32 = 64;

/** Floats of scratch memory for the functions that compute logits. */
export function vocabularyScratch(vocabulary: i32): i32 {
  return MAT_MUL_SCRATCH + BLOCK * padded(vocabulary);
}

/** out is [2, n]: log p(target), then the entropy; lse [n] is what the backward pass needs. */
export function selectedLogProbsForward(
  hidden: usize, head: usize, targets: usize, out: usize, lse: usize, n: i32, vocabulary: i32, width: i32, start: i32, end: i32,
): void {
  const logits = scratch() + (MAT_MUL_SCRATCH << 2);
  const stride = padded(vocabulary);
  for (let i0 = start; i0 < end; i0 += BLOCK) {
    const rows = min(BLOCK, end - i0);
    matMul(hidden + (<usize>(i0 * width) << 2), head, logits, 0, 0, 1.0, rows, vocabulary, width, width, 1, 1, width, stride);
    for (let i = 0; i < rows; i++) {
      const row = logits + (<usize>(i * stride) << 2);
      const at = <usize>(i0 + i) << 2;
      hide(row, vocabulary, stride);
      const best = rowMax(row, stride);
      let sum = f64x2.splat(0);
      let moment = f64x2.splat(0); // of the logits below the largest
      for (let from = row; from < row + (<usize>stride << 2); from += 16) {
        const below = f32x4.sub(v128.load(from), f32x4.splat(best));
        const e = exponential(below);
        sum = addWide(sum, e);
        moment = addWide(moment, f32x4.mul(e, below));
      }
      const total = wideSum(sum);
      const logTotal = logarithm(total);
      store<f32>(out + at, <f32>(<f64>load<f32>(row + (<usize>load<i32>(targets + at) << 2)) - best - logTotal));
      store<f32>(out + (<usize>n << 2) + at, <f32>(logTotal - wideSum(moment) / total));
      store<f32>(lse + at, <f32>(best + logTotal));
    }
  }
}

/** d logits = (onehot - softmax) dy of 64 rows at a time, at once multiplied into dHidden and added to dHead; either may be null. */
export function selectedLogProbsBackward(
  hidden: usize, head: usize, targets: usize, lse: usize, dy: usize, dHidden: usize, dHead: usize,
  vocabulary: i32, width: i32, start: i32, end: i32,
): void {
  const logits = scratch() + (MAT_MUL_SCRATCH << 2);
  const stride = padded(vocabulary);
  for (let i0 = start; i0 < end; i0 += BLOCK) {
    const rows = min(BLOCK, end - i0);
    const hiddenBlock = hidden + (<usize>(i0 * width) << 2);
    matMul(hiddenBlock, head, logits, 0, 0, 1.0, rows, vocabulary, width, width, 1, 1, width, stride);
    for (let i = 0; i < rows; i++) {
      const row = logits + (<usize>(i * stride) << 2);
      const at = <usize>(i0 + i) << 2;
      const shift = f32x4.splat(load<f32>(lse + at));
      const factor = f32x4.splat(-load<f32>(dy + at));
      for (let from = row; from < row + (<usize>stride << 2); from += 16) {
        v128.store(from, f32x4.mul(exponential(f32x4.sub(v128.load(from), shift)), factor));
      }
      const target = row + (<usize>load<i32>(targets + at) << 2);
      store<f32>(target, load<f32>(target) + load<f32>(dy + at));
    }
    if (dHidden) {
      matMul(logits, head, dHidden + (<usize>(i0 * width) << 2), 0, 0, 1.0, rows, width, vocabulary, stride, 1, width, 1, width);
    }
    if (dHead) matMul(logits, hiddenBlock, dHead, 0, i0 > 0 ? dHead : 0, 1.0, vocabulary, width, rows, 1, stride, width, 1, width);
  }
}

/** out is [2, n]: the clipped sums, then the unclipped ones; saved [n, 3]: log-sum-exp of teacher and student, and the probability kept. */
export function forwardKlForward(teacher: usize, student: usize, out: usize, saved: usize, clamp: f32, n: i32, vocabulary: i32, start: i32, end: i32): void {
  const whole = vocabulary & ~3;
  for (let i = start; i < end; i++) {
    const t = teacher + (<usize>(i * vocabulary) << 2);
    const s = student + (<usize>(i * vocabulary) << 2);
    const tLse = logSumExp(t, vocabulary);
    const sLse = logSumExp(s, vocabulary);
    let clipped = f64x2.splat(0);
    let unclipped = f64x2.splat(0);
    let kept = f64x2.splat(0);
    for (let j = 0; j < vocabulary; j += 4) {
      const at = <usize>j << 2;
      const tLog = f32x4.sub(loadRow(t + at, j < whole ? 4 : vocabulary - j), f32x4.splat(tLse));
      const sLog = f32x4.sub(loadRow(s + at, j < whole ? 4 : vocabulary - j), f32x4.splat(sLse));
      const p = exponential(tLog);
      const entry = f32x4.mul(p, f32x4.sub(tLog, sLog));
      unclipped = addWide(unclipped, entry);
      clipped = addWide(clipped, f32x4.min(entry, f32x4.splat(clamp)));
      kept = addWide(kept, v128.and(p, f32x4.le(entry, f32x4.splat(clamp))));
    }
    store<f32>(out + (<usize>i << 2), <f32>wideSum(clipped));
    store<f32>(out + (<usize>(n + i) << 2), <f32>wideSum(unclipped));
    const save = saved + (<usize>(3 * i) << 2);
    store<f32>(save, tLse);
    store<f32>(save, sLse, 4);
    store<f32>(save, <f32>wideSum(kept), 8);
  }
}

/** d student = (softmax(student) kept - teacher where kept) dy. */
export function forwardKlBackward(teacher: usize, student: usize, saved: usize, dy: usize, dStudent: usize, clamp: f32, vocabulary: i32, start: i32, end: i32): void {
  const whole = vocabulary & ~3;
  for (let i = start; i < end; i++) {
    const row = <usize>(i * vocabulary) << 2;
    const save = saved + (<usize>(3 * i) << 2);
    const tLse = f32x4.splat(load<f32>(save));
    const sLse = f32x4.splat(load<f32>(save, 4));
    const kept = f32x4.splat(load<f32>(save, 8));
    const factor = f32x4.splat(load<f32>(dy + (<usize>i << 2)));
    for (let j = 0; j < vocabulary; j += 4) {
      const at = row + (<usize>j << 2);
      const lanes = j < whole ? 4 : vocabulary - j;
      const tLog = f32x4.sub(loadRow(teacher + at, lanes), tLse);
      const sLog = f32x4.sub(loadRow(student + at, lanes), sLse);
      const p = exponential(tLog);
      const cut = f32x4.le(f32x4.mul(p, f32x4.sub(tLog, sLog)), f32x4.splat(clamp));
      const gradient = f32x4.mul(f32x4.sub(f32x4.mul(exponential(sLog), kept), v128.and(p, cut)), factor);
      storeRow(dStudent + at, gradient, lanes);
    }
  }
}

/**
 * One token a row: the first whose cumulated probability exceeds the uniform, or the most probable one where the temperature is 0.
 * The weights of a row lie in scratch [padded(vocabulary)]. logProbs are those of the distribution drawn from (temperature 1 if greedy).
 */
export function sampleTokens(
  logits: usize, uniforms: usize, tokens: usize, logProbs: usize, temperature: f32, vocabulary: i32, start: i32, end: i32,
): void {
  const greedy = temperature == 0;
  const scale = f32x4.splat(greedy ? 1.0 : 1.0 / temperature);
  const whole = vocabulary & ~3;
  const weights = scratch();
  for (let i = start; i < end; i++) {
    const row = logits + (<usize>(i * vocabulary) << 2);
    let best = f32x4.splat(-Infinity);
    for (let j = 0; j < vocabulary; j += 4) best = f32x4.max(best, loadRow(row + (<usize>j << 2), j < whole ? 4 : vocabulary - j));
    const largest = max(max(f32x4.extract_lane(best, 0), f32x4.extract_lane(best, 1)), max(f32x4.extract_lane(best, 2), f32x4.extract_lane(best, 3)));
    let sum = f64x2.splat(0);
    for (let j = 0; j < vocabulary; j += 4) {
      const below = f32x4.sub(loadRow(row + (<usize>j << 2), j < whole ? 4 : vocabulary - j), f32x4.splat(largest));
      const e = exponential(f32x4.mul(below, scale));
      v128.store(weights + (<usize>j << 2), e);
      sum = addWide(sum, e);
    }
    const total = wideSum(sum);
    let token = 0;
    if (greedy) {
      while (load<f32>(row + (<usize>token << 2)) != largest && token < vocabulary - 1) token++;
    } else {
      const target = <f64>load<f32>(uniforms + (<usize>i << 2)) * total;
      let cumulated: f64 = 0;
      for (let j = 0; j < vocabulary; j++) {
        const weight = load<f32>(weights + (<usize>j << 2));
        if (weight == 0) continue;
        cumulated += weight;
        token = j;
        if (cumulated > target) break;
      }
    }
    store<i32>(tokens + (<usize>i << 2), token);
    const below = <f64>load<f32>(row + (<usize>token << 2)) - <f64>largest;
    store<f32>(logProbs + (<usize>i << 2), <f32>((greedy ? below : below / temperature) - logarithm(total)));
  }
}

function logSumExp(row: usize, columns: i32): f32 {
  const whole = columns & ~3;
  let best = f32x4.splat(-Infinity);
  for (let j = 0; j < columns; j += 4) best = f32x4.max(best, loadRow(row + (<usize>j << 2), j < whole ? 4 : columns - j));
  const largest = max(max(f32x4.extract_lane(best, 0), f32x4.extract_lane(best, 1)), max(f32x4.extract_lane(best, 2), f32x4.extract_lane(best, 3)));
  let sum = f64x2.splat(0);
  for (let j = 0; j < columns; j += 4) {
    sum = addWide(sum, exponential(f32x4.sub(loadRow(row + (<usize>j << 2), j < whole ? 4 : columns - j), f32x4.splat(largest))));
  }
  return <f32>(largest + logarithm(wideSum(sum)));
}

/** Up to four values; missing ones read as hidden. */
// @ts-ignore: decorator
@inline
function loadRow(at: usize, lanes: i32): v128 {
  return lanes == 4 ? v128.load(at) : loadPart(at, lanes);
}

function loadPart(at: usize, lanes: i32): v128 {
  let x = f32x4.splat(-1e30);
  x = f32x4.replace_lane(x, 0, load<f32>(at));
  if (lanes > 1) x = f32x4.replace_lane(x, 1, load<f32>(at, 4));
  if (lanes > 2) x = f32x4.replace_lane(x, 2, load<f32>(at, 8));
  return x;
}

// @ts-ignore: decorator
@inline
function storeRow(at: usize, x: v128, lanes: i32): void {
  if (lanes == 4) {
    v128.store(at, x);
    return;
  }
  store<f32>(at, f32x4.extract_lane(x, 0));
  if (lanes > 1) store<f32>(at, f32x4.extract_lane(x, 1), 4);
  if (lanes > 2) store<f32>(at, f32x4.extract_lane(x, 2), 8);
}
