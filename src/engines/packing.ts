/**
 * A micro-batch without waste: sequences end to end, nothing padded, and what several begin with computed once.
 *
 * A hidden state depends on the tokens up to it alone, so siblings that asked the same question, and often searched for the same, have the same states up to
 * where they part. In lexicographic order each sequence shares the most with the one before it; it adds only the tokens after that, whose queries read
 * the shared keys where they lie. Gradients of shared states are the sums over all that read them: loss and gradients are those of the
 * sequences one at a time. (Prefix trees, as in SGLang's radix cache, here with a backward pass.)
 */
import type { AttentionSegment, KeyRange } from '../tensors/attention.js';
import type { Scored } from './engine.js';

export interface Packed {
  readonly tokens: Int32Array; // [n]
  /** Rotary position of each token: how many come before it in its own sequence. */
  readonly positions: Int32Array; // [n]
  readonly segments: readonly AttentionSegment[];
  /** Rows whose final state predicts a scored token, ascending. */
  readonly states: Int32Array; // [R]
  /** Where in `states` that of each scored token is, in the order of the data: siblings may share one. */
  readonly stateOf: Int32Array; // [scored]
}

/** Fewer common tokens than this are computed again: a segment of its own costs more than they do. */
export const LEAST_SHARED = 12;

/** How many of a sequence's tokens are read: the last scored one is predicted only. */
export const tokensRead = ({ scored }: Scored): number => (scored.length === 0 ? 0 : scored[scored.length - 1]);

/** How many tokens two sequences read have in common at their beginning; 0 if too few to share. */
export function sharedTokens(a: Scored, b: Scored): number {
  const limit = Math.min(tokensRead(a), tokensRead(b));
  let common = 0;
  while (common < limit && a.tokens[common] === b.tokens[common]) common++;
  return common < LEAST_SHARED ? 0 : common;
}

/** Indices of the sequences in lexicographic order of the tokens read: those with a common beginning side by side. */
export function lexicographic(data: readonly Scored[]): number[] {
  const compare = (i: number, j: number) => {
    const [a, b] = [data[i], data[j]];
    const [m, n] = [tokensRead(a), tokensRead(b)];
    for (let t = 0; t < Math.min(m, n); t++) if (a.tokens[t] !== b.tokens[t]) return a.tokens[t] - b.tokens[t];
    return m - n || i - j;
  };
  return data.map((_, i) => i).sort(compare);
}

/** @throws RangeError where position 0 is to be scored */
export function pack(data: readonly Scored[]): Packed {
  const tokens: number[] = [];
  const positions: number[] = [];
  const segments: AttentionSegment[] = [];
  const rowsOf: Int32Array[] = new Array(data.length); // of each sequence's tokens
  let previous: number | undefined;
  for (const i of lexicographic(data)) {
    const item = data[i];
    if (item.scored[0] < 1) throw new RangeError('position 0 cannot be scored: nothing comes before it');
    const length = tokensRead(item);
    const shared = previous === undefined ? 0 : sharedTokens(data[previous], item);
    const rows = new Int32Array(length);
    if (previous !== undefined) rows.set(rowsOf[previous].subarray(0, shared));
    const from = tokens.length;
    for (let t = shared; t < length; t++) {
      rows[t] = tokens.length;
      tokens.push(item.tokens[t]);
      positions.push(t);
    }
    if (length > shared) segments.push({ queries: length - shared, keys: length - shared, from, before: runs(rows.subarray(0, shared)) });
    rowsOf[i] = rows;
    previous = i;
  }
  const predicting = data.flatMap(({ scored }, i) => scored.map((t) => rowsOf[i][t - 1]));
  const states = Int32Array.from(new Set(predicting)).sort();
  const places = new Map(Array.from(states, (row, at) => [row, at]));
  return {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(positions),
    segments,
    states,
    stateOf: Int32Array.from(predicting, (row) => places.get(row) as number),
  };
}

/** Rows as ranges of neighbours. */
function runs(rows: Int32Array): KeyRange[] {
  const ranges: { from: number; keys: number }[] = [];
  for (const row of rows) {
    const last = ranges[ranges.length - 1];
    if (last && last.from + last.keys === row) last.keys++;
    else ranges.push({ from: row, keys: 1 });
  }
  return ranges;
}
