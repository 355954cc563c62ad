/**
 * Everything as wide as the vocabulary: log-probabilities of chosen tokens, forward KL, sampling. Logits exist for 64 rows at a time.
 */
import { addWide, exponential, exponentialFrom, logarithm, LOWEST, multiplyAdd, padded, rowMax, wideSum } from './lanes';
import { matMul, MAT_MUL_SCRATCH } from './mat-mul';
import { scratch } from './scratch';

// @ts-ignore: decorator
@inline
const BLOCK: i32 = 64;

/** Floats of scratch memory for the functions that compute logits. */
export function vocabularyScratch(vocabulary: i32): i32 {
  return MAT_MUL_SCRATCH + BLOCK * padded(vocabulary);
}

/**
 * out is [2, n]: log p(target), then the entropy. Rows of 64 are the units. Where `weights` [n, vocabulary] is given, e^(logit - largest logit) is left there, and
 * in inverse [n] one over the sum of each row: what the gradient needs.
 */
export function selectedLogProbs(
  hidden: usize, head: usize, targets: usize, out: usize, weights: usize, inverse: usize, n: i32, vocabulary: i32, width: i32, start: i32, end: i32,
): void {
  const stride = weights ? vocabulary : padded(vocabulary);
  const whole = <usize>(vocabulary & ~3) << 2;
  for (let block = start; block < end; block++) {
    const i0 = block * BLOCK;
    const rows = min(BLOCK, n - i0);
    const logits = weights ? weights + (<usize>(i0 * vocabulary) << 2) : scratch() + (MAT_MUL_SCRATCH << 2);
    matMul(hidden + (<usize>(i0 * width) << 2), head, logits, 0, 0, 1.0, rows, vocabulary, width, width, 1, 1, width, stride);
    for (let i = 0; i < rows; i++) {
      const row = logits + (<usize>(i * stride) << 2);
      const rowEnd = row + (<usize>vocabulary << 2);
      const at = <usize>(i0 + i) << 2;
      const target = load<f32>(row + (<usize>load<i32>(targets + at) << 2));
      const best = rowMax(row, vocabulary);
      const shift = f32x4.splat(best);
      let sum = f64x2.splat(0);
      let moment = f64x2.splat(0); // of the logits below the largest
      for (let from = row; from < row + whole; ) {
        // Sixteen vectors in single precision, their sum in double.
        const last = min(from + 256, row + whole);
        let part = f32x4.splat(0);
        let partMoment = f32x4.splat(0);
        for (; from < last; from += 16) {
          const below = f32x4.pmax(f32x4.sub(v128.load(from), shift), f32x4.splat(LOWEST)); // where the weight is 0, the moment is
          const e = exponentialFrom(below);
          part = f32x4.add(part, e);
          partMoment = multiplyAdd(e, below, partMoment);
          v128.store(from, e);
        }
        sum = addWide(sum, part);
        moment = addWide(moment, partMoment);
      }
      let total = wideSum(sum);
      let totalMoment = wideSum(moment);
      for (let from = row + whole; from < rowEnd; from += 4) {
        const below = max(load<f32>(from) - best, LOWEST);
        const e = f32x4.extract_lane(exponentialFrom(f32x4.splat(below)), 0);
        store<f32>(from, e);
        total += e;
        totalMoment += <f64>e * below;
      }
      const logTotal = logarithm(total);
      store<f32>(out + at, <f32>(<f64>target - best - logTotal));
      store<f32>(out + (<usize>n << 2) + at, <f32>(logTotal - totalMoment / total));
      if (weights) store<f32>(inverse + at, <f32>(1.0 / total));
    }
  }
}

/** y[i] = -dy[i] inverse[i] x[i]: rows of x [n, width] as the product with the weights needs them. */
export function scaleRows(x: usize, dy: usize, inverse: usize, y: usize, width: i32, start: i32, end: i32): void {
  const bytes = <usize>width << 2;
  for (let i = start; i < end; i++) {
    const at = <usize>i << 2;
    const factor = f32x4.splat(-load<f32>(dy + at) * load<f32>(inverse + at));
    const from = x + <usize>i * bytes;
    const to = y + <usize>i * bytes;
    let j: usize = 0;
    for (; j + 16 <= bytes; j += 16) v128.store(to + j, f32x4.mul(v128.load(from + j), factor));
    for (; j < bytes; j += 4) store<f32>(to + j, load<f32>(from + j) * f32x4.extract_lane(factor, 0));
  }
}

/** dHidden[i] = -dy[i] inverse[i] dHidden[i] + dy[i] head[target[i]], from the product of the weights with the head. */
export function finishHidden(dHidden: usize, head: usize, targets: usize, dy: usize, inverse: usize, width: i32, start: i32, end: i32): void {
  const bytes = <usize>width << 2;
  for (let i = start; i < end; i++) {
    const at = <usize>i << 2;
    const d = load<f32>(dy + at);
    addScaled(dHidden + <usize>i * bytes, head + <usize>load<i32>(targets + at) * bytes, -d * load<f32>(inverse + at), d, bytes);
  }
}

/** dHead[target[i]] += dy[i] hidden[i], in order of i. Units are groups of 16 columns. */
export function addTargets(dHead: usize, hidden: usize, targets: usize, dy: usize, n: i32, width: i32, start: i32, end: i32): void {
  const first = <usize>(start * 16) << 2;
  const bytes = (<usize>min(width, end * 16) << 2) - first;
  for (let i = 0; i < n; i++) {
    const at = <usize>i << 2;
    const offset = <usize>width << 2;
    addScaled(dHead + <usize>load<i32>(targets + at) * offset + first, hidden + <usize>i * offset + first, 1.0, load<f32>(dy + at), bytes);
  }
}

/** to = to keep + from factor. */
// @ts-ignore: decorator
@inline
function addScaled(to: usize, from: usize, keep: f32, factor: f32, bytes: usize): void {
  const k = f32x4.splat(keep);
  const f = f32x4.splat(factor);
  let j: usize = 0;
  for (; j + 16 <= bytes; j += 16) v128.store(to + j, multiplyAdd(v128.load(from + j), f, f32x4.mul(v128.load(to + j), k)));
  for (; j < bytes; j += 4) v128.store32_lane(to + j, multiplyAdd(v128.load32_splat(from + j), f, f32x4.mul(v128.load32_splat(to + j), k)), 0);
}

/**
 * out is [2, n]: the clipped sums, then the unclipped ones; saved [n, 5]: of teacher and student the largest logit and the logarithm of the sum of what is below it, apart
 * so that large logits keep their digits, and the probability kept.
 */
export function forwardKlForward(teacher: usize, student: usize, out: usize, saved: usize, clamp: f32, n: i32, vocabulary: i32, start: i32, end: i32): void {
  const whole = vocabulary & ~3;
  const most = f32x4.splat(clamp);
  for (let i = start; i < end; i++) {
    const t = teacher + (<usize>(i * vocabulary) << 2);
    const s = student + (<usize>(i * vocabulary) << 2);
    const save = saved + (<usize>(5 * i) << 2);
    logSum(t, vocabulary, save);
    logSum(s, vocabulary, save + 8);
    let clipped = f64x2.splat(0);
    let unclipped = f64x2.splat(0);
    let kept = f64x2.splat(0);
    for (let j = 0; j < vocabulary; j += 4) {
      const at = <usize>j << 2;
      const lanes = j < whole ? 4 : vocabulary - j;
      const tLog = logSoftmax(loadRow(t + at, lanes), save);
      const p = exponential(tLog);
      const entry = klEntry(p, tLog, logSoftmax(loadRow(s + at, lanes), save + 8));
      unclipped = addWide(unclipped, entry);
      clipped = addWide(clipped, f32x4.pmin(entry, most));
      kept = addWide(kept, v128.andnot(p, f32x4.gt(entry, most)));
    }
    store<f32>(out + (<usize>i << 2), <f32>wideSum(clipped));
    store<f32>(out + (<usize>(n + i) << 2), <f32>wideSum(unclipped));
    store<f32>(save, <f32>wideSum(kept), 16);
  }
}

/** d student = (softmax(student) kept - teacher where kept) dy. */
export function forwardKlBackward(teacher: usize, student: usize, saved: usize, dy: usize, dStudent: usize, clamp: f32, vocabulary: i32, start: i32, end: i32): void {
  const whole = vocabulary & ~3;
  const most = f32x4.splat(clamp);
  for (let i = start; i < end; i++) {
    const row = <usize>(i * vocabulary) << 2;
    const save = saved + (<usize>(5 * i) << 2);
    const kept = f32x4.splat(load<f32>(save, 16));
    const factor = f32x4.splat(load<f32>(dy + (<usize>i << 2)));
    for (let j = 0; j < vocabulary; j += 4) {
      const at = row + (<usize>j << 2);
      const lanes = j < whole ? 4 : vocabulary - j;
      const tLog = logSoftmax(loadRow(teacher + at, lanes), save);
      const sLog = logSoftmax(loadRow(student + at, lanes), save + 8);
      const p = exponential(tLog);
      const cut = f32x4.gt(klEntry(p, tLog, sLog), most);
      const gradient = f32x4.mul(f32x4.sub(f32x4.mul(exponential(sLog), kept), v128.andnot(p, cut)), factor);
      storeRow(dStudent + at, gradient, lanes);
    }
  }
}

/** p (log p - log q); 0 where p is 0, whatever q. */
// @ts-ignore: decorator
@inline
function klEntry(p: v128, tLog: v128, sLog: v128): v128 {
  return v128.andnot(f32x4.mul(p, f32x4.sub(tLog, sLog)), f32x4.eq(p, f32x4.splat(0)));
}

/** Logits below the largest, less the logarithm of their sum, which `logSum` left at `sums`. */
// @ts-ignore: decorator
@inline
function logSoftmax(x: v128, sums: usize): v128 {
  return f32x4.sub(f32x4.sub(x, v128.load32_splat(sums)), v128.load32_splat(sums, 4));
}

/**
 * One token a row: the first whose cumulated probability exceeds the uniform, or the most probable one where the temperature is 0.
 * The weights of a row lie in scratch [padded(vocabulary)]. logProbs are those of the distribution drawn from (temperature 1 if greedy); NaN where a logit is NaN or
 * positively infinite, or none is finite.
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
    const largest = rowMax(row, vocabulary);
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

/** Leaves at `to` the largest of a row, and the logarithm of the sum of the exponentials of all less it. */
function logSum(row: usize, columns: i32, to: usize): void {
  const whole = columns & ~3;
  const largest = rowMax(row, columns);
  let sum = f64x2.splat(0);
  for (let j = 0; j < columns; j += 4) {
    sum = addWide(sum, exponential(f32x4.sub(loadRow(row + (<usize>j << 2), j < whole ? 4 : columns - j), f32x4.splat(largest))));
  }
  store<f32>(to, largest);
  store<f32>(to, <f32>logarithm(wideSum(sum)), 4);
}

/** Up to four values; missing ones read as hidden. */
// @ts-ignore: decorator
@inline
function loadRow(at: usize, lanes: i32): v128 {
  return lanes == 4 ? v128.load(at) : loadPart(at, lanes);
}

function loadPart(at: usize, lanes: i32): v128 {
  let x = f32x4.splat(-Infinity);
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
