/**
 * Causal grouped-query attention over segments of rows as they lie, forward and backward, one head at a time and 24 queries at a time.
 *
 * Only the scores of one block exist at once (FlashAttention's idea without its inner blocking: a row of scores fits the cache). The backward pass
 * computes them again from the saved log-sum-exp of each row. Strides count floats.
 */
import { exponential, HIDDEN, lanesMax, lanesSum, logarithm, multiplyAdd, padded, rowMax, zero } from './lanes';
import { multiplyPacked, pack, packedSize, WORK } from './mat-mul';
import { scratch } from './scratch';

// @ts-ignore: decorator
@inline
const BLOCK: i32 = 24; // of its scores, those that causality hides are computed in vain

/** Log-sum-exp of a query that may read nothing: every weight recomputed from it is 0. */
// @ts-ignore: decorator
@inline
const NOTHING_READ: f32 = 1e30;

/** Floats of scratch memory for either direction. */
export function attentionScratch(keys: i32, headDim: i32): i32 {
  const packed = packedSize(BLOCK, headDim) + 3 * (packedSize(headDim, keys) + packedSize(keys, headDim));
  return WORK + BLOCK + 2 * BLOCK * padded(keys) + packed + 4 * keys * headDim;
}

// @ts-ignore: decorator
@inline
const SEGMENT: i32 = 5; // integers in a row of `segments`: first query, queries, first range, ranges, keys in them
// @ts-ignore: decorator
@inline
const RANGE: i32 = 2; // in a row of `ranges`: first key, keys

/**
 * q and out are [n, heads, headDim], k and v [rows, keyHeads, headDim], keyMask [rows] or null, lse [heads, n]. A segment's queries read its ranges of
 * keys one after the other, and stand at the last of them. Units are pairs of segment and key head, segments * keyHeads of them: the query heads that
 * read the same keys come together.
 */
export function attentionForward(
  q: usize, k: usize, v: usize, keyMask: usize, segments: usize, ranges: usize, out: usize, lse: usize,
  longest: i32, n: i32, heads: i32, keyHeads: i32, headDim: i32, start: i32, end: i32,
): void {
  const scores = scratch() + (WORK << 2);
  const shares = scores + (<usize>(BLOCK * padded(longest)) << 2);
  const packedK = shares + (BLOCK << 2);
  const packedV = packedK + (<usize>packedSize(headDim, longest) << 2);
  const gatheredK = packedV + (<usize>packedSize(longest, headDim) << 2);
  const gatheredV = gatheredK + (<usize>(longest * headDim) << 2);
  const scale: f32 = 1.0 / sqrt(<f32>headDim);
  const qRow = heads * headDim;
  const group = heads / keyHeads;
  for (let unit = start; unit < end; unit++) {
    const segment = segments + (<usize>(unit / keyHeads * SEGMENT) << 2);
    const firstQuery = load<i32>(segment);
    const queries = load<i32>(segment, 4);
    const firstRange = ranges + (<usize>(load<i32>(segment, 8) * RANGE) << 2);
    const parts = load<i32>(segment, 12);
    const keys = load<i32>(segment, 16);
    const keyHead = unit % keyHeads;
    const firstHead = keyHead * group;
    const qHeads = q + (<usize>(firstQuery * qRow + firstHead * headDim) << 2);
    const outHeads = out + (<usize>(firstQuery * qRow + firstHead * headDim) << 2);
    const lseHeads = lse + (<usize>(firstHead * n + firstQuery) << 2);
    const mask = keyMask ? keyMask + (<usize>load<i32>(firstRange) << 2) : 0;
    let kRow = keyHeads * headDim;
    let kHead = k + (<usize>(load<i32>(firstRange) * kRow + keyHead * headDim) << 2);
    let vHead = v + (<usize>(load<i32>(firstRange) * kRow + keyHead * headDim) << 2);
    if (parts > 1) {
      const offset = <usize>(keyHead * headDim) << 2;
      gather(k + offset, gatheredK, firstRange, parts, kRow, headDim);
      gather(v + offset, gatheredV, firstRange, parts, kRow, headDim);
      kHead = gatheredK;
      vHead = gatheredV;
      kRow = headDim;
    }
    if (queries < 4 && queries * group <= BLOCK) { // as in decoding: packing would cost more than it saves
      const count = queries * group;
      const stride = padded(keys);
      for (let r = 0; r < count; r += 2) {
        const other = min(r + 1, count - 1);
        const row = scores + (<usize>(r * stride) << 2);
        scoreRows(
          qHeads + rowOf(r, queries, qRow, headDim), qHeads + rowOf(other, queries, qRow, headDim), kHead,
          row, scores + (<usize>(other * stride) << 2), keys, kRow, headDim,
        );
      }
      for (let r = 0; r < count; r++) {
        softmaxRow(
          scores + (<usize>(r * stride) << 2), keys - queries + (r % queries) + 1, stride, mask, scale, shares + (<usize>r << 2),
          lseHeads + (<usize>(r / queries * n + r % queries) << 2),
        );
      }
      for (let r = 0; r < count; r += 2) {
        const other = min(r + 1, count - 1);
        readRows(
          scores + (<usize>(r * stride) << 2), scores + (<usize>(other * stride) << 2), vHead,
          outHeads + rowOf(r, queries, qRow, headDim), outHeads + rowOf(other, queries, qRow, headDim), keys, kRow, headDim,
        );
      }
      for (let r = 0; r < count; r++) scaleRow(outHeads + rowOf(r, queries, qRow, headDim), load<f32>(shares + (<usize>r << 2)), headDim);
      continue;
    }
    pack(kHead, packedK, headDim, keys, 4, <usize>kRow << 2);
    pack(vHead, packedV, keys, headDim, <usize>kRow << 2, 4);
    for (let head = 0; head < group; head++) {
      for (let i0 = 0; i0 < queries; i0 += BLOCK) {
        const rows = min(BLOCK, queries - i0);
        const visible = keys - queries + i0 + rows;
        const stride = padded(visible);
        const offset = <usize>(i0 * qRow + head * headDim) << 2;
        multiplyPacked(qHeads + offset, packedK, scores, 0, 0, 1.0, rows, visible, headDim, qRow, 1, headDim, stride);
        const lseBlock = lseHeads + (<usize>(head * n + i0) << 2);
        for (let i = 0; i < rows;) {
          const row = scores + (<usize>(i * stride) << 2);
          const limit = visible - rows + i + 1;
          const at = <usize>i << 2;
          if (i + 4 <= rows) {
            softmaxFour(row, <usize>stride << 2, limit, stride, mask, scale, shares + at, lseBlock + at);
            i += 4;
          } else {
            softmaxRow(row, limit, stride, mask, scale, shares + at, lseBlock + at);
            i++;
          }
        }
        multiplyPacked(scores, packedV, outHeads + offset, 0, 0, 1.0, rows, headDim, visible, stride, 1, keys, qRow);
        for (let i = 0; i < rows; i++) scaleRow(outHeads + offset + (<usize>(i * qRow) << 2), load<f32>(shares + (<usize>i << 2)), headDim);
      }
    }
  }
}

/** Where query r of a group lies: queries of the first head, then those of the next. */
// @ts-ignore: decorator
@inline
function rowOf(r: i32, queries: i32, qRow: i32, headDim: i32): usize {
  return <usize>((r % queries) * qRow + (r / queries) * headDim) << 2;
}

/**
 * Units are pairs of family and key head, families * keyHeads of them: each writes its own part of dk and dv, which are 0 before. A family is a run of
 * segments that add to the same keys; `families` holds the first segment of each, and the end of the last.
 */
export function attentionBackward(
  q: usize, k: usize, v: usize, keyMask: usize, segments: usize, ranges: usize, families: usize, lse: usize, dOut: usize,
  dq: usize, dk: usize, dv: usize,
  longest: i32, n: i32, heads: i32, keyHeads: i32, headDim: i32, start: i32, end: i32,
): void {
  const weights = scratch() + (WORK << 2);
  const dScores = weights + (<usize>(BLOCK * padded(longest)) << 2);
  const packedRows = dScores + (<usize>(BLOCK * padded(longest)) << 2); // of q or dOut, a block of rows
  const packedKt = packedRows + (<usize>packedSize(BLOCK, headDim) << 2);
  const packedVt = packedKt + (<usize>packedSize(headDim, longest) << 2);
  const packedK = packedVt + (<usize>packedSize(headDim, longest) << 2);
  const gatheredK = packedK + (<usize>packedSize(longest, headDim) << 2);
  const bytes = <usize>(longest * headDim) << 2;
  const gatheredV = gatheredK + bytes;
  const gatheredDk = gatheredV + bytes;
  const gatheredDv = gatheredDk + bytes;
  const scale: f32 = 1.0 / sqrt(<f32>headDim);
  const qRow = heads * headDim;
  const group = heads / keyHeads;
  for (let unit = start; unit < end; unit++) {
    const family = families + (<usize>(unit / keyHeads) << 2);
    const keyHead = unit % keyHeads;
    const headOffset = <usize>(keyHead * headDim) << 2;
    for (let s = load<i32>(family); s < load<i32>(family, 4); s++) {
      const segment = segments + (<usize>(s * SEGMENT) << 2);
      const firstQuery = load<i32>(segment);
      const queries = load<i32>(segment, 4);
      const firstRange = ranges + (<usize>(load<i32>(segment, 8) * RANGE) << 2);
      const count = load<i32>(segment, 12);
      const keys = load<i32>(segment, 16);
      const mask = keyMask ? keyMask + (<usize>load<i32>(firstRange) << 2) : 0;
      let kRow = keyHeads * headDim;
      const offset = (<usize>(load<i32>(firstRange) * kRow) << 2) + headOffset;
      let kHead = k + offset;
      let vHead = v + offset;
      let dkHead = dk + offset;
      let dvHead = dv + offset;
      if (count > 1) {
        gather(k + headOffset, gatheredK, firstRange, count, kRow, headDim);
        gather(v + headOffset, gatheredV, firstRange, count, kRow, headDim);
        zero(gatheredDk, gatheredDk + (<usize>(keys * headDim) << 2));
        zero(gatheredDv, gatheredDv + (<usize>(keys * headDim) << 2));
        kHead = gatheredK;
        vHead = gatheredV;
        dkHead = gatheredDk;
        dvHead = gatheredDv;
        kRow = headDim;
      }
      const rowBytes = <usize>kRow << 2;
      pack(kHead, packedKt, headDim, keys, 4, rowBytes);
      pack(vHead, packedVt, headDim, keys, 4, rowBytes);
      pack(kHead, packedK, keys, headDim, rowBytes, 4);
      for (let head = keyHead * group; head < (keyHead + 1) * group; head++) {
        for (let i0 = 0; i0 < queries; i0 += BLOCK) {
          const rows = min(BLOCK, queries - i0);
          const visible = keys - queries + i0 + rows;
          const stride = padded(visible);
          const offset = <usize>((firstQuery + i0) * qRow + head * headDim) << 2;
          const lseBlock = lse + (<usize>(head * n + firstQuery + i0) << 2);
          multiplyPacked(q + offset, packedKt, weights, 0, 0, 1.0, rows, visible, headDim, qRow, 1, headDim, stride);
          for (let i = 0; i < rows; i++) {
            weightsRow(weights + (<usize>(i * stride) << 2), visible - rows + i + 1, stride, mask, scale, load<f32>(lseBlock + (<usize>i << 2)));
          }
          multiplyPacked(dOut + offset, packedVt, dScores, 0, 0, 1.0, rows, visible, headDim, qRow, 1, headDim, stride);
          pack(dOut + offset, packedRows, rows, headDim, <usize>qRow << 2, 4);
          multiplyPacked(weights, packedRows, dvHead, 0, dvHead, 1.0, visible, headDim, rows, 1, stride, rows, kRow);
          for (let i = 0; i < rows; i++) {
            const at = <usize>(i * stride) << 2;
            dScoresRow(weights + at, dScores + at, visible - rows + i + 1, stride, scale);
          }
          multiplyPacked(dScores, packedK, dq + offset, 0, 0, 1.0, rows, headDim, visible, stride, 1, keys, qRow);
          pack(q + offset, packedRows, rows, headDim, <usize>qRow << 2, 4);
          multiplyPacked(dScores, packedRows, dkHead, 0, dkHead, 1.0, visible, headDim, rows, 1, stride, rows, kRow);
        }
      }
      if (count > 1) {
        scatter(gatheredDk, dk + headOffset, firstRange, count, keyHeads * headDim, headDim);
        scatter(gatheredDv, dv + headOffset, firstRange, count, keyHeads * headDim, headDim);
      }
    }
  }
}

/** One head's rows of all ranges, one below the other. */
function gather(x: usize, to: usize, range: usize, count: i32, row: i32, headDim: i32): void {
  const bytes = <usize>headDim << 2;
  for (let r = 0; r < count; r++, range += RANGE << 2) {
    let from = x + (<usize>(load<i32>(range) * row) << 2);
    for (let j = load<i32>(range, 4); j > 0; j--, from += <usize>row << 2, to += bytes) memory.copy(to, from, bytes);
  }
}

/** The other way: adds them to where they came from. */
function scatter(from: usize, x: usize, range: usize, count: i32, row: i32, headDim: i32): void {
  const bytes = <usize>headDim << 2;
  for (let r = 0; r < count; r++, range += RANGE << 2) {
    let to = x + (<usize>(load<i32>(range) * row) << 2);
    for (let j = load<i32>(range, 4); j > 0; j--, to += <usize>row << 2, from += bytes) {
      for (let at: usize = 0; at < bytes; at += 4) store<f32>(to + at, load<f32>(to + at) + load<f32>(from + at));
    }
  }
}

/**
 * Hides what a row may not read: masked keys, and columns from `limit` on up to `whole`, where a vector ends; what lies behind, up to `columns`, becomes 0.
 */
// @ts-ignore: decorator
@inline
function hideRow(row: usize, limit: i32, whole: i32, columns: i32, mask: usize): void {
  for (let j = limit & ~3; j < whole; j += 4) {
    const at = row + (<usize>j << 2);
    const read = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(limit - j));
    v128.store(at, v128.bitselect(v128.load(at), f32x4.splat(HIDDEN), read));
  }
  zero(row + (<usize>whole << 2), row + (<usize>columns << 2));
  if (mask) {
    for (let j = 0; j < limit; j++) {
      if (load<f32>(mask + (<usize>j << 2)) == 0) store<f32>(row + (<usize>j << 2), HIDDEN);
    }
  }
}

/** Four scores to their exponentials, in place. */
// @ts-ignore: decorator
@inline
function weigh(at: usize, shift: v128, factor: v128): v128 {
  const e = exponential(f32x4.mul(f32x4.sub(v128.load(at), shift), factor));
  v128.store(at, e);
  return e;
}

/** Scores to weights in place, but for a factor that is left at `share`; the log-sum-exp of the scaled scores goes to `lse`. */
function softmaxRow(row: usize, limit: i32, columns: i32, mask: usize, scale: f32, share: usize, lse: usize): void {
  const whole = padded(limit);
  const end = row + (<usize>whole << 2);
  hideRow(row, limit, whole, columns, mask);
  const best = rowMax(row, limit);
  const shift = f32x4.splat(best);
  const factor = f32x4.splat(scale);
  let sum = f32x4.splat(0);
  for (let at = row; at < end; at += 16) {
    sum = f32x4.add(sum, weigh(at, shift, factor));
  }
  finishRow(row, end, best, lanesSum(sum), scale, share, lse);
}

/**
 * The same for four rows `rowBytes` apart, of which each reads a column more than the one before. Rows are short: what a loop costs at its start and at its end,
 * where the processor guesses wrong, is shared by four.
 */
function softmaxFour(row: usize, rowBytes: usize, limit: i32, columns: i32, mask: usize, scale: f32, share: usize, lse: usize): void {
  const whole = padded(limit + 3);
  const bytes = <usize>whole << 2;
  for (let i = 0; i < 4; i++) hideRow(row + <usize>i * rowBytes, limit + i, whole, columns, mask);
  const row1 = row + rowBytes;
  const row2 = row1 + rowBytes;
  const row3 = row2 + rowBytes;
  let best0 = v128.load(row), best1 = v128.load(row1), best2 = v128.load(row2), best3 = v128.load(row3);
  for (let at: usize = 16; at < bytes; at += 16) {
    best0 = f32x4.pmax(best0, v128.load(row + at));
    best1 = f32x4.pmax(best1, v128.load(row1 + at));
    best2 = f32x4.pmax(best2, v128.load(row2 + at));
    best3 = f32x4.pmax(best3, v128.load(row3 + at));
  }
  const most0 = lanesMax(best0), most1 = lanesMax(best1), most2 = lanesMax(best2), most3 = lanesMax(best3);
  const shift0 = f32x4.splat(most0), shift1 = f32x4.splat(most1), shift2 = f32x4.splat(most2), shift3 = f32x4.splat(most3);
  const factor = f32x4.splat(scale);
  let sum0 = f32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (let at: usize = 0; at < bytes; at += 16) {
    sum0 = f32x4.add(sum0, weigh(row + at, shift0, factor));
    sum1 = f32x4.add(sum1, weigh(row1 + at, shift1, factor));
    sum2 = f32x4.add(sum2, weigh(row2 + at, shift2, factor));
    sum3 = f32x4.add(sum3, weigh(row3 + at, shift3, factor));
  }
  finishRow(row, row + bytes, most0, lanesSum(sum0), scale, share, lse);
  finishRow(row1, row1 + bytes, most1, lanesSum(sum1), scale, share + 4, lse + 4);
  finishRow(row2, row2 + bytes, most2, lanesSum(sum2), scale, share + 8, lse + 8);
  finishRow(row3, row3 + bytes, most3, lanesSum(sum3), scale, share + 12, lse + 12);
}

/** What is left to do once a row's exponentials and their sum are there; a row that may read nothing becomes 0, one with a NaN that it may read all NaN. */
// @ts-ignore: decorator
@inline
function finishRow(row: usize, end: usize, best: f32, total: f32, scale: f32, share: usize, lse: usize): void {
  if (best < <f32>-1e29 && total == total) {
    zero(row, end);
    store<f32>(share, 0);
    store<f32>(lse, NOTHING_READ);
    return;
  }
  store<f32>(share, 1.0 / total);
  store<f32>(lse, best * scale + <f32>logarithm(total));
}

/** Multiplies a row of the result by its share. */
function scaleRow(row: usize, share: f32, headDim: i32): void {
  const bytes = <usize>headDim << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) v128.store(row + at, f32x4.mul(v128.load(row + at), f32x4.splat(share)));
  for (; at < bytes; at += 4) store<f32>(row + at, load<f32>(row + at) * share);
}

/** Scores to weights in place, by a log-sum-exp known from before. */
function weightsRow(row: usize, limit: i32, columns: i32, mask: usize, scale: f32, lse: f32): void {
  const whole = padded(limit);
  const end = row + (<usize>whole << 2);
  hideRow(row, limit, whole, columns, mask);
  const shift = f32x4.splat(lse);
  const factor = f32x4.splat(scale);
  for (let at = row; at < end; at += 16) v128.store(at, exponential(f32x4.sub(f32x4.mul(v128.load(at), factor), shift)));
}

/** d scores = weights (d weights - sum of weights d weights) scale, in place of d weights; the first `limit` columns are those that the row reads. */
function dScoresRow(weights: usize, dWeights: usize, limit: i32, columns: i32, scale: f32): void {
  const whole = padded(limit);
  for (let j = limit; j < whole; j++) store<f32>(dWeights + (<usize>j << 2), 0);
  zero(dWeights + (<usize>whole << 2), dWeights + (<usize>columns << 2));
  const bytes = <usize>whole << 2;
  let sum = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) sum = multiplyAdd(v128.load(weights + at), v128.load(dWeights + at), sum);
  const mean = f32x4.splat(lanesSum(sum));
  const factor = f32x4.splat(scale);
  for (let at: usize = 0; at < bytes; at += 16) {
    v128.store(dWeights + at, f32x4.mul(f32x4.mul(v128.load(weights + at), f32x4.sub(v128.load(dWeights + at), mean)), factor));
  }
}

/** q k^T for two queries, as in decoding: nothing to pack. Four keys at a time, so that their sums do not wait for one another. */
function scoreRows(q0: usize, q1: usize, k: usize, row0: usize, row1: usize, keys: i32, kRow: i32, headDim: i32): void {
  const step = <usize>kRow << 2;
  const whole = <usize>(headDim & ~3) << 2;
  const bytes = <usize>headDim << 2;
  let j = 0;
  for (; j + 4 <= keys; j += 4, k += 4 * step, row0 += 16, row1 += 16) {
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    let t0 = f32x4.splat(0), t1 = f32x4.splat(0), t2 = f32x4.splat(0), t3 = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const x = v128.load(q0 + at);
      const y = v128.load(q1 + at);
      let from = k + at;
      let key = v128.load(from);
      s0 = multiplyAdd(x, key, s0);
      t0 = multiplyAdd(y, key, t0);
      from += step;
      key = v128.load(from);
      s1 = multiplyAdd(x, key, s1);
      t1 = multiplyAdd(y, key, t1);
      from += step;
      key = v128.load(from);
      s2 = multiplyAdd(x, key, s2);
      t2 = multiplyAdd(y, key, t2);
      from += step;
      key = v128.load(from);
      s3 = multiplyAdd(x, key, s3);
      t3 = multiplyAdd(y, key, t3);
    }
    v128.store(row0, sumsOf(s0, s1, s2, s3));
    v128.store(row1, sumsOf(t0, t1, t2, t3));
    if (whole < bytes) {
      for (let w: usize = 0; w < 4; w++) {
        const key = k + w * step;
        const to0 = row0 + (w << 2);
        const to1 = row1 + (w << 2);
        store<f32>(to0, load<f32>(to0) + dot(q0, key, whole, bytes));
        if (row1 != row0) store<f32>(to1, load<f32>(to1) + dot(q1, key, whole, bytes));
      }
    }
  }
  for (; j < keys; j++, k += step, row0 += 4, row1 += 4) {
    let s = f32x4.splat(0);
    let t = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const key = v128.load(k + at);
      s = multiplyAdd(v128.load(q0 + at), key, s);
      t = multiplyAdd(v128.load(q1 + at), key, t);
    }
    store<f32>(row0, lanesSum(s) + dot(q0, k, whole, bytes));
    store<f32>(row1, lanesSum(t) + dot(q1, k, whole, bytes));
  }
}

/** The sums of the lanes of four vectors. */
// @ts-ignore: decorator
@inline
function sumsOf(s0: v128, s1: v128, s2: v128, s3: v128): v128 {
  const s01 = f32x4.add(v128.shuffle<f32>(s0, s1, 0, 4, 1, 5), v128.shuffle<f32>(s0, s1, 2, 6, 3, 7));
  const s23 = f32x4.add(v128.shuffle<f32>(s2, s3, 0, 4, 1, 5), v128.shuffle<f32>(s2, s3, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(s01, s23, 0, 1, 4, 5), v128.shuffle<f32>(s01, s23, 2, 3, 6, 7));
}

/** Of the bytes from `start` to `end`. */
// @ts-ignore: decorator
@inline
function dot(a: usize, b: usize, start: usize, end: usize): f32 {
  let sum: f32 = 0;
  for (let at = start; at < end; at += 4) sum += load<f32>(a + at) * load<f32>(b + at);
  return sum;
}

/** weights v for two queries: eight dimensions at a time, even and odd keys in sums of their own. */
function readRows(weights0: usize, weights1: usize, v: usize, out0: usize, out1: usize, keys: i32, kRow: i32, headDim: i32): void {
  const step = <usize>kRow << 2;
  const bytes = <usize>headDim << 2;
  const pairs = <usize>(keys & ~1) << 2;
  let at: usize = 0;
  for (; at + 32 <= bytes; at += 32) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
    let from = v + at;
    for (let j: usize = 0; j < pairs; j += 8, from += step) {
      let x = v128.load32_splat(weights0 + j);
      let y = v128.load32_splat(weights1 + j);
      let value = v128.load(from);
      a0 = multiplyAdd(x, value, a0);
      b0 = multiplyAdd(y, value, b0);
      value = v128.load(from, 16);
      a1 = multiplyAdd(x, value, a1);
      b1 = multiplyAdd(y, value, b1);
      from += step;
      x = v128.load32_splat(weights0 + j, 4);
      y = v128.load32_splat(weights1 + j, 4);
      value = v128.load(from);
      a2 = multiplyAdd(x, value, a2);
      b2 = multiplyAdd(y, value, b2);
      value = v128.load(from, 16);
      a3 = multiplyAdd(x, value, a3);
      b3 = multiplyAdd(y, value, b3);
    }
    if (keys & 1) {
      const x = v128.load32_splat(weights0 + pairs);
      const y = v128.load32_splat(weights1 + pairs);
      a0 = multiplyAdd(x, v128.load(from), a0);
      b0 = multiplyAdd(y, v128.load(from), b0);
      a1 = multiplyAdd(x, v128.load(from, 16), a1);
      b1 = multiplyAdd(y, v128.load(from, 16), b1);
    }
    v128.store(out0 + at, f32x4.add(a0, a2));
    v128.store(out0 + at, f32x4.add(a1, a3), 16);
    v128.store(out1 + at, f32x4.add(b0, b2));
    v128.store(out1 + at, f32x4.add(b1, b3), 16);
  }
  for (; at < bytes; at += 4) {
    let sum0: f32 = 0;
    let sum1: f32 = 0;
    let from = v + at;
    for (let j: usize = 0; j < <usize>keys << 2; j += 4, from += step) {
      sum0 += load<f32>(weights0 + j) * load<f32>(from);
      sum1 += load<f32>(weights1 + j) * load<f32>(from);
    }
    store<f32>(out0 + at, sum0);
    store<f32>(out1 + at, sum1);
  }
}
