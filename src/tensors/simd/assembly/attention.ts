/**
 * Causal grouped-query attention on [B, T, heads, headDim] as it lies, forward and backward, one head at a time and 32 queries at a time.
 *
 * Only the scores of one block exist at once (FlashAttention's idea without its inner blocking: a row of scores fits the cache). The backward pass
 * computes them again from the saved log-sum-exp of each row. Strides count floats.
 */
import { addWide, exponential, hide, HIDDEN, lanesSum, logarithm, multiplyAdd, padded, rowMax, wideSum } from './lanes';
import { matMul, MAT_MUL_SCRATCH } from './mat-mul';
import { scratch } from './scratch';

// @ts-ignore: decorator
@inline
const BLOCK: i32 = 32;

/** Log-sum-exp of a query that may read nothing: every weight recomputed from it is 0. */
// @ts-ignore: decorator
@inline
const NOTHING_READ: f32 = 1e30;

/** Floats of scratch memory for either direction. */
export function attentionScratch(keys: i32): i32 {
  return MAT_MUL_SCRATCH + 2 * BLOCK * padded(keys);
}

/**
 * Units are pairs of batch entry and query head, batch * heads of them; `keyMask` may be null. lse is [B, heads, queries].
 * k and v are [B, room, keyHeads, headDim], of which the first `keys` positions are filled.
 */
export function attentionForward(
  q: usize, k: usize, v: usize, keyMask: usize, out: usize, lse: usize,
  queries: i32, keys: i32, room: i32, heads: i32, keyHeads: i32, headDim: i32, start: i32, end: i32,
): void {
  const scores = scratch() + (MAT_MUL_SCRATCH << 2);
  const scale: f32 = 1.0 / sqrt(<f32>headDim);
  const qRow = heads * headDim;
  const kRow = keyHeads * headDim;
  for (let unit = start; unit < end; unit++) {
    const batch = unit / heads;
    const head = unit % heads;
    const qHead = q + (<usize>(batch * queries * qRow + head * headDim) << 2);
    const outHead = out + (<usize>(batch * queries * qRow + head * headDim) << 2);
    const keyOffset = <usize>(batch * room * kRow + (head * keyHeads / heads) * headDim) << 2;
    const mask = keyMask ? keyMask + (<usize>(batch * keys) << 2) : 0;
    for (let i0 = 0; i0 < queries; i0 += BLOCK) {
      const rows = min(BLOCK, queries - i0);
      const visible = keys - queries + i0 + rows;
      const stride = padded(visible);
      const qBlock = qHead + (<usize>(i0 * qRow) << 2);
      if (rows < 4) {
        for (let i = 0; i < rows; i++) {
          scoreRow(qBlock + (<usize>(i * qRow) << 2), k + keyOffset, scores + (<usize>(i * stride) << 2), visible, kRow, headDim);
        }
      } else {
        matMul(qBlock, k + keyOffset, scores, 0, 0, 1.0, rows, visible, headDim, qRow, 1, 1, kRow, stride);
      }
      for (let i = 0; i < rows; i++) {
        const total = softmaxRow(scores + (<usize>(i * stride) << 2), visible - rows + i + 1, stride, mask, scale);
        store<f32>(lse + (<usize>(unit * queries + i0 + i) << 2), total);
      }
      const outBlock = outHead + (<usize>(i0 * qRow) << 2);
      if (rows < 4) {
        for (let i = 0; i < rows; i++) {
          readRow(scores + (<usize>(i * stride) << 2), v + keyOffset, outBlock + (<usize>(i * qRow) << 2), visible, kRow, headDim);
        }
      } else {
        matMul(scores, v + keyOffset, outBlock, 0, 0, 1.0, rows, headDim, visible, stride, 1, kRow, 1, qRow);
      }
    }
  }
}

/** Units are pairs of batch entry and key head, batch * keyHeads of them: each writes its own part of dk and dv. */
export function attentionBackward(
  q: usize, k: usize, v: usize, keyMask: usize, lse: usize, dOut: usize, dq: usize, dk: usize, dv: usize,
  queries: i32, keys: i32, heads: i32, keyHeads: i32, headDim: i32, start: i32, end: i32,
): void {
  const weights = scratch() + (MAT_MUL_SCRATCH << 2);
  const dScores = weights + (<usize>(BLOCK * padded(keys)) << 2);
  const scale: f32 = 1.0 / sqrt(<f32>headDim);
  const qRow = heads * headDim;
  const kRow = keyHeads * headDim;
  const group = heads / keyHeads;
  for (let unit = start; unit < end; unit++) {
    const batch = unit / keyHeads;
    const keyHead = unit % keyHeads;
    const keyOffset = <usize>(batch * keys * kRow + keyHead * headDim) << 2;
    for (let j = 0; j < keys; j++) {
      memory.fill(dk + keyOffset + (<usize>(j * kRow) << 2), 0, <usize>headDim << 2);
      memory.fill(dv + keyOffset + (<usize>(j * kRow) << 2), 0, <usize>headDim << 2);
    }
    const mask = keyMask ? keyMask + (<usize>(batch * keys) << 2) : 0;
    for (let head = keyHead * group; head < (keyHead + 1) * group; head++) {
      for (let i0 = 0; i0 < queries; i0 += BLOCK) {
        const rows = min(BLOCK, queries - i0);
        const visible = keys - queries + i0 + rows;
        const stride = padded(visible);
        const offset = <usize>((batch * queries + i0) * qRow + head * headDim) << 2;
        const lseBlock = lse + (<usize>((batch * heads + head) * queries + i0) << 2);
        matMul(q + offset, k + keyOffset, weights, 0, 0, 1.0, rows, visible, headDim, qRow, 1, 1, kRow, stride);
        for (let i = 0; i < rows; i++) {
          weightsRow(weights + (<usize>(i * stride) << 2), visible - rows + i + 1, stride, mask, scale, load<f32>(lseBlock + (<usize>i << 2)));
        }
        matMul(weights, dOut + offset, dv + keyOffset, 0, dv + keyOffset, 1.0, visible, headDim, rows, 1, stride, qRow, 1, kRow);
        matMul(dOut + offset, v + keyOffset, dScores, 0, 0, 1.0, rows, visible, headDim, qRow, 1, 1, kRow, stride);
        for (let i = 0; i < rows; i++) {
          dScoresRow(weights + (<usize>(i * stride) << 2), dScores + (<usize>(i * stride) << 2), visible, stride, scale);
        }
        matMul(dScores, k + keyOffset, dq + offset, 0, 0, 1.0, rows, headDim, visible, stride, 1, kRow, 1, qRow);
        matMul(dScores, q + offset, dk + keyOffset, 0, dk + keyOffset, 1.0, visible, headDim, rows, 1, stride, qRow, 1, kRow);
      }
    }
  }
}

/** Hides what the row may not read: columns from `limit` on, and masked keys. */
function hideRow(row: usize, limit: i32, columns: i32, mask: usize): void {
  hide(row, limit, columns);
  if (!mask) return;
  for (let j = 0; j < limit; j++) {
    if (load<f32>(mask + (<usize>j << 2)) == 0) store<f32>(row + (<usize>j << 2), HIDDEN);
  }
}

/** Scores to weights in place; returns the log-sum-exp of the scaled scores. */
function softmaxRow(row: usize, limit: i32, columns: i32, mask: usize, scale: f32): f32 {
  hideRow(row, limit, columns, mask);
  const end = row + (<usize>columns << 2);
  const best = rowMax(row, columns);
  if (best < <f32>-1e29) {
    memory.fill(row, 0, end - row);
    return NOTHING_READ;
  }
  const shift = f32x4.splat(best);
  const factor = f32x4.splat(scale);
  let sum = f32x4.splat(0);
  for (let at = row; at < end; at += 16) {
    const e = exponential(f32x4.mul(f32x4.sub(v128.load(at), shift), factor));
    sum = f32x4.add(sum, e);
    v128.store(at, e);
  }
  const total = lanesSum(sum);
  const share = f32x4.splat(1.0 / total);
  for (let at = row; at < end; at += 16) v128.store(at, f32x4.mul(v128.load(at), share));
  return best * scale + <f32>logarithm(total);
}

/** Scores to weights in place, by a log-sum-exp known from before. */
function weightsRow(row: usize, limit: i32, columns: i32, mask: usize, scale: f32, lse: f32): void {
  hideRow(row, limit, columns, mask);
  const end = row + (<usize>columns << 2);
  const shift = f32x4.splat(lse);
  const factor = f32x4.splat(scale);
  for (let at = row; at < end; at += 16) v128.store(at, exponential(f32x4.sub(f32x4.mul(v128.load(at), factor), shift)));
}

/** d scores = weights (d weights - sum of weights d weights) scale, in place of d weights. */
function dScoresRow(weights: usize, dWeights: usize, limit: i32, columns: i32, scale: f32): void {
  for (let j = limit; j < columns; j++) store<f32>(dWeights + (<usize>j << 2), 0);
  const bytes = <usize>columns << 2;
  let sum = f64x2.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) sum = addWide(sum, f32x4.mul(v128.load(weights + at), v128.load(dWeights + at)));
  const mean = f32x4.splat(<f32>wideSum(sum));
  const factor = f32x4.splat(scale);
  for (let at: usize = 0; at < bytes; at += 16) {
    v128.store(dWeights + at, f32x4.mul(f32x4.mul(v128.load(weights + at), f32x4.sub(v128.load(dWeights + at), mean)), factor));
  }
}

/** q k^T for a single query, as in decoding: nothing to pack. Four keys at a time, so that their sums do not wait for one another. */
function scoreRow(q: usize, k: usize, row: usize, keys: i32, kRow: i32, headDim: i32): void {
  const step = <usize>kRow << 2;
  const whole = <usize>(headDim & ~3) << 2;
  const bytes = <usize>headDim << 2;
  let j = 0;
  for (; j + 4 <= keys; j += 4, k += 4 * step) {
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const x = v128.load(q + at);
      const from = k + at;
      s0 = multiplyAdd(x, v128.load(from), s0);
      s1 = multiplyAdd(x, v128.load(from + step), s1);
      s2 = multiplyAdd(x, v128.load(from + 2 * step), s2);
      s3 = multiplyAdd(x, v128.load(from + 3 * step), s3);
    }
    const s01 = f32x4.add(v128.shuffle<f32>(s0, s1, 0, 4, 1, 5), v128.shuffle<f32>(s0, s1, 2, 6, 3, 7));
    const s23 = f32x4.add(v128.shuffle<f32>(s2, s3, 0, 4, 1, 5), v128.shuffle<f32>(s2, s3, 2, 6, 3, 7));
    v128.store(row + (<usize>j << 2), f32x4.add(v128.shuffle<f32>(s01, s23, 0, 1, 4, 5), v128.shuffle<f32>(s01, s23, 2, 3, 6, 7)));
    if (whole < bytes) {
      for (let w = 0; w < 4; w++) {
        const to = row + (<usize>(j + w) << 2);
        store<f32>(to, load<f32>(to) + dot(q, k + <usize>w * step, whole, bytes));
      }
    }
  }
  for (; j < keys; j++, k += step) {
    let sum = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) sum = multiplyAdd(v128.load(q + at), v128.load(k + at), sum);
    store<f32>(row + (<usize>j << 2), lanesSum(sum) + dot(q, k, whole, bytes));
  }
}

/** Of the bytes from `start` to `end`. */
// @ts-ignore: decorator
@inline
function dot(a: usize, b: usize, start: usize, end: usize): f32 {
  let sum: f32 = 0;
  for (let at = start; at < end; at += 4) sum += load<f32>(a + at) * load<f32>(b + at);
  return sum;
}

/** weights v for a single query: eight dimensions at a time, even and odd keys in sums of their own. */
function readRow(weights: usize, v: usize, out: usize, keys: i32, kRow: i32, headDim: i32): void {
  const step = <usize>kRow << 2;
  const bytes = <usize>headDim << 2;
  const pairsEnd = weights + (<usize>(keys & ~1) << 2);
  let at: usize = 0;
  for (; at + 32 <= bytes; at += 32) {
    let even0 = f32x4.splat(0), even1 = f32x4.splat(0), odd0 = f32x4.splat(0), odd1 = f32x4.splat(0);
    let from = v + at;
    let weight = weights;
    for (; weight < pairsEnd; weight += 8, from += 2 * step) {
      const x = v128.load32_splat(weight);
      const y = v128.load32_splat(weight, 4);
      even0 = multiplyAdd(x, v128.load(from), even0);
      even1 = multiplyAdd(x, v128.load(from, 16), even1);
      odd0 = multiplyAdd(y, v128.load(from + step), odd0);
      odd1 = multiplyAdd(y, v128.load(from + step, 16), odd1);
    }
    if (keys & 1) {
      const x = v128.load32_splat(weight);
      even0 = multiplyAdd(x, v128.load(from), even0);
      even1 = multiplyAdd(x, v128.load(from, 16), even1);
    }
    v128.store(out + at, f32x4.add(even0, odd0));
    v128.store(out + at, f32x4.add(even1, odd1), 16);
  }
  for (; at < bytes; at += 4) {
    let sum: f32 = 0;
    let from = v + at;
    for (let j = 0; j < keys; j++, from += step) sum += load<f32>(weights + (<usize>j << 2)) * load<f32>(from);
    store<f32>(out + at, sum);
  }
}
