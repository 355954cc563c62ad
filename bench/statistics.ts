/** Medians and spreads of a handful of timings. */

export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** @throws RangeError without a value */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError('no value to summarize');
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return { median, least: sorted[0], most: sorted[sorted.length - 1] };
}

/**
 * How many times as fast as the peer, round by round: neighbours in time share what the machine was doing then. Above 1 ours is faster.
 *
 * @throws RangeError where the two have no round in common
 */
export function speedRatio(ours: readonly number[], peer: readonly number[]): Summary {
  const rounds = Math.min(ours.length, peer.length);
  return summarize(Array.from({ length: rounds }, (_, i) => peer[i] / ours[i]));
}

/** Least-squares slope of the values over their indices. */
export function slope(values: readonly number[]): number {
  const n = values.length;
  if (n < 2) return 0;
  const middle = (n - 1) / 2;
  const mean = values.reduce((sum, v) => sum + v, 0) / n;
  const along = values.reduce((sum, v, i) => sum + (i - middle) * (v - mean), 0);
  const square = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0);
  return along / square;
}
