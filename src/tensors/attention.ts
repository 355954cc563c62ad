/**
 * Causal grouped-query attention: `softmax(q k^T / sqrt(headDim) + mask) v`. Query head h reads key/value head `floor(h * Hkv / H)`.
 *
 * Sequences of different lengths lie end to end and each is a segment that reads its own keys alone, so nothing is padded (as in FlashAttention's
 * `varlen`). A segment may also read keys that lie elsewhere and belong to several: the beginning that siblings share.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';
import { embedding } from './embedding.js';

/** Neighbouring rows of k and v. */
export interface KeyRange {
  /** The first row of k and v. */
  readonly from: number;
  /** How many rows. */
  readonly keys: number;
}

/** Consecutive queries and what they read: keys of their own, the last of which stand at the queries' positions, after keys that others read too. */
export interface AttentionSegment extends KeyRange {
  /** How many; the segments' queries lie end to end in q, in the order of the segments. Query i reads the first `keys - queries + i + 1` of its own keys. */
  readonly queries: number;
  /** Keys before its own, in order; all queries read them. Default: none. */
  readonly before?: readonly KeyRange[];
}

/** What may be read beside causality. At most one of the two. */
export interface AttentionOptions {
  /** 1 where a key may be read, 0 where it is padding; [B, Tk]. Default: all may. Not with `segments`. */
  readonly keyMask?: tf.Tensor2D;
  /** Default: each entry of the batch is one, with all its keys. Given, all tensors have B = 1 and the segments name every query once. */
  readonly segments?: readonly AttentionSegment[];
}

/**
 * Query i stands at position Tk - Tq + i and reads the keys up to there, so a cached prefix is simply more keys than queries.
 * The output of a query that may read nothing (padding) means nothing, but is finite.
 *
 * @param q [B, Tq, H, headDim]
 * @param k [B, Tk, Hkv, headDim]; Hkv divides H
 * @param v of k's shape
 * @returns [B, Tq, H, headDim]
 *
 * @example
 * ```ts
 * import { attention, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const [q, k, v] = [1, 2, 3].map((seed) => tf.randomNormal<tf.Rank.R4>([1, 5, 2, 4], 0, 1, 'float32', seed)); // 5 positions, 2 heads of width 4
 * attention(q, k, v).shape; // [ 1, 5, 2, 4 ]
 * ```
 */
export function attention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, { keyMask, segments }: AttentionOptions = {}): tf.Tensor4D {
  const [batch, queries, heads, headDim] = q.shape;
  const [, keys, keyHeads] = k.shape;
  if (
    heads % keyHeads !== 0 ||
    (!segments && keys < queries) ||
    k.shape[0] !== batch ||
    k.shape[3] !== headDim ||
    `${k.shape}` !== `${v.shape}`
  ) {
    throw new RangeError(`attention: q [${q.shape}], k [${k.shape}] and v [${v.shape}] do not fit together`);
  }
  if (keyMask && (segments || `${keyMask.shape}` !== `${[batch, keys]}`)) {
    throw new RangeError(`attention: keyMask [${keyMask.shape}] should be [${batch}, ${keys}], and is not for segments`);
  }
  if (segments) checkSegments(segments, q, k);
  const mask = keyMask && tf.cast(keyMask, 'float32');
  if (hasKernel('SearchE1SegmentAttention')) {
    const whole = Array.from({ length: batch }, (_, row): AttentionSegment => ({ queries, keys, from: row * keys }));
    return bySegmentKernel(q, k, v, mask, segments ?? whole);
  }
  return segments ? inBatches(q, k, v, segments) : formula(q, k, v, mask);
}

function checkSegments(segments: readonly AttentionSegment[], q: tf.Tensor4D, k: tf.Tensor4D): void {
  const [rows, total] = [k.shape[1], segments.reduce((sum, { queries }) => sum + queries, 0)];
  if (q.shape[0] !== 1 || total !== q.shape[1])
    throw new RangeError(`attention: ${total} queries in segments, q is [${q.shape}]: expected [1, ${total}, ...]`);
  for (const segment of segments) {
    const { queries, keys } = segment;
    const outside = rangesOf(segment).find((range) => !isInside(range, rows));
    if (!Number.isInteger(queries) || queries < 1 || keys < queries || outside)
      throw new RangeError(
        `attention: a segment has ${queries} queries and ${keys} keys of its own${outside ? ` and reads ${outside.from} to ${outside.from + outside.keys} of ${rows} keys` : ''}`,
      );
  }
}

const isInside = ({ from, keys }: KeyRange, rows: number): boolean =>
  Number.isInteger(from) && Number.isInteger(keys) && from >= 0 && keys >= 1 && from + keys <= rows;

const rangesOf = ({ before = [], from, keys }: AttentionSegment): readonly KeyRange[] => [...before, { from, keys }];

/** How many keys a segment reads. */
const columns = ({ before = [], keys }: AttentionSegment): number => before.reduce((sum, range) => sum + range.keys, keys);

/** The largest of what the segments have, any number of them. */
const longestOf = <S>(segments: readonly S[], of: (segment: S) => number): number =>
  segments.reduce((most, segment) => Math.max(most, of(segment)), 0);

function formula(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, keyMask: tf.Tensor2D | undefined): tf.Tensor4D {
  const [batch, queries, heads, headDim] = q.shape;
  const [, keys, keyHeads] = k.shape;
  const rows = (heads / keyHeads) * queries; // the queries of one key/value head, one below the other
  const byHead = (x: tf.Tensor4D, length: number) => tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch * keyHeads, length, headDim]);

  const scores = tf.matMul(tf.mul(byHead(q, rows), 1 / Math.sqrt(headDim)), byHead(k, keys), false, true); // [B * Hkv, rows, Tk]
  const masked = tf.add(tf.reshape(scores, [batch, heads, queries, keys]), hidden(queries, keys, keyMask)); // [B, H, Tq, Tk]
  const weights = tf.reshape(tf.softmax(masked), [batch * keyHeads, rows, keys]);
  const read = tf.reshape(tf.matMul(weights, byHead(v, keys)), [batch, heads, queries, headDim]) as tf.Tensor4D; // [B, H, Tq, headDim]
  return tf.transpose(read, [0, 2, 1, 3]); // [B, Tq, H, headDim]
}

/** Far below any score, yet finite: a row that is hidden altogether gives no NaN. */
const HIDDEN = -1e30;

/** What is added to the scores: 0, or HIDDEN for keys that are padding or come later; [1 or B, 1, Tq, Tk]. */
function hidden(queries: number, keys: number, keyMask: tf.Tensor2D | undefined): tf.Tensor4D {
  const later = new Float32Array(queries * keys);
  for (let i = 0; i < queries; i++) later.fill(HIDDEN, i * keys + keys - queries + i + 1, (i + 1) * keys);
  const causal = tf.tensor4d(later, [1, 1, queries, keys]);
  if (!keyMask) return causal;
  const padding = tf.mul(tf.sub(1, keyMask), HIDDEN); // [B, Tk]
  return tf.add(causal, tf.reshape(padding, [keyMask.shape[0], 1, 1, keys]));
}

/** Batches of segments of like size, their queries and keys gathered, with padding in front: the ends of queries and keys stay one above the other. */
function inBatches(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, segments: readonly AttentionSegment[]): tf.Tensor4D {
  const [, n, heads, headDim] = q.shape;
  const keyHeads = k.shape[2];
  let at = 0;
  const placed = segments.map((segment) => ({ ...segment, first: (at += segment.queries) - segment.queries }));
  const places = new Int32Array(n); // of each query among the batches' rows
  let rows = 0;
  const outputs = likeSized(placed).map((group) => {
    const queries = longestOf(group, (segment) => segment.queries);
    const keys = longestOf(group, columns);
    const queryIds = new Int32Array(group.length * queries); // [B, Tq]
    const keyIds = new Int32Array(group.length * keys); // [B, Tk]
    const open = new Float32Array(group.length * keys); // [B, Tk]
    group.forEach((segment, b) => {
      let key = (b + 1) * keys - columns(segment);
      open.fill(1, key, (b + 1) * keys);
      for (const range of rangesOf(segment)) for (let row = 0; row < range.keys; row++) keyIds[key++] = range.from + row;
      for (let i = 0; i < segment.queries; i++) {
        const row = (b + 1) * queries - segment.queries + i;
        queryIds[row] = segment.first + i;
        places[segment.first + i] = rows + row;
      }
    });
    rows += group.length * queries;
    const gather = (x: tf.Tensor4D, width: number, ids: Int32Array, length: number): tf.Tensor4D =>
      tf.reshape(embedding(tf.reshape(x, [-1, width]) as tf.Tensor2D, tf.tensor1d(ids, 'int32')), [
        group.length,
        length,
        width / headDim,
        headDim,
      ]);
    const [ks, vs] = [k, v].map((x) => gather(x, keyHeads * headDim, keyIds, keys)); // [B, Tk, Hkv, headDim]
    const qs = gather(q, heads * headDim, queryIds, queries); // [B, Tq, H, headDim]
    const keyMask = open.includes(0) ? tf.tensor2d(open, [group.length, keys]) : undefined;
    return tf.reshape(formula(qs, ks, vs, keyMask), [-1, heads * headDim]) as tf.Tensor2D;
  });
  return tf.reshape(embedding(tf.concat(outputs), tf.tensor1d(places, 'int32')), q.shape); // [1, n, H, headDim]
}

/** Cuts segments, sorted by size, where padding would become more than a quarter of the scores. */
function likeSized<S extends AttentionSegment>(segments: readonly S[]): S[][] {
  const groups: S[][] = [];
  let filled = 0;
  for (const segment of [...segments].sort((a, b) => a.queries - b.queries || columns(a) - columns(b))) {
    const group = groups[groups.length - 1];
    const area = segment.queries * columns(segment);
    const widest = Math.max(columns(segment), ...(group ?? []).map(columns));
    if (group && (filled + area) * 4 >= 3 * (group.length + 1) * segment.queries * widest) {
      group.push(segment);
      filled += area;
    } else {
      groups.push([segment]);
      filled = area;
    }
  }
  return groups;
}

/** Keeps the log-sum-exp of each row instead of the weights, and computes these again for the gradient. A batch is as many segments. */
function bySegmentKernel(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  keyMask: tf.Tensor2D | undefined,
  segments: readonly AttentionSegment[],
): tf.Tensor4D {
  const [rows, ranges]: [number[], number[]] = [[], []];
  let first = 0;
  for (const segment of segments) {
    const read = rangesOf(segment);
    rows.push(first, segment.queries, ranges.length / 2, read.length, columns(segment));
    for (const { from, keys } of read) ranges.push(from, keys);
    first += segment.queries;
  }
  const tables = {
    segments: tf.tensor2d(rows, [segments.length, 5], 'int32'),
    ranges: tf.tensor2d(ranges, [ranges.length / 2, 2], 'int32'),
  };
  const families = tf.tensor1d(firstOfFamilies(segments), 'int32');
  const longest = longestOf(segments, columns);
  const mostQueries = longestOf(segments, ({ queries }) => queries);
  const attend = tf.customGrad((...args) => {
    const [q, k, v, save] = args as [tf.Tensor, tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    const [out, lse] = runKernel('SearchE1SegmentAttention', { q, k, v, keyMask, ...tables }, { longest, mostQueries });
    save([q, k, v, out, lse, tables.segments, tables.ranges, families, ...(keyMask ? [keyMask] : [])]);
    return {
      value: out,
      gradFunc: (dOut: tf.Tensor, [q, k, v, out, lse, segments, ranges, families, keyMask]: tf.Tensor[]) =>
        runKernel(
          'SearchE1SegmentAttentionGrad',
          { q, k, v, keyMask, segments, ranges, families, out, lse, dOut },
          { longest, mostQueries },
        ),
    };
  });
  return attend(q, k, v) as tf.Tensor4D;
}

/** Where each run of segments begins that read keys of one another, and the end of the last: the gradients of those keys are gathered together. */
function firstOfFamilies(segments: readonly AttentionSegment[]): number[] {
  const firsts: number[] = [];
  let [start, end] = [0, 0]; // the keys of the run's segments lie between
  segments.forEach(({ before = [], from, keys }, at) => {
    const related = at > 0 && before.every((range) => range.from >= start && range.from < end) && before.length > 0;
    if (!related) {
      firsts.push(at);
      [start, end] = [from, from + keys];
    }
    [start, end] = [Math.min(start, from), Math.max(end, from + keys)];
  });
  return [...firsts, segments.length];
}
