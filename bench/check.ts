/** Whether two sides computed the same: nothing is timed before they agree. */
import type { Check } from './messages.js';

export interface Agreement {
  /** Largest difference found, relative to the larger of the value and 1. */
  readonly error: number;
  /** What differs, in words; empty where the two agree. */
  readonly problems: readonly string[];
}

/** Compares the named numbers (arrays of any depth) of two checks; each name has its tolerance. */
export function compareValues(ours: Check, peer: Check, tolerances: Readonly<Record<string, number>>): Agreement {
  let most = 0;
  const problems: string[] = [];
  for (const [name, tolerance] of Object.entries(tolerances)) {
    const a = numbers(ours[name]);
    const b = numbers(peer[name]);
    if (a.length !== b.length || a.length === 0) {
      problems.push(`${name}: ours has ${a.length} values, the peer ${b.length}`);
      continue;
    }
    const errors = a.map((value, i) => {
      const error = Math.abs(value - b[i]) / Math.max(1, Math.abs(b[i]));
      return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
    });
    const worst = errors.reduce((at, error, i) => (error > errors[at] ? i : at), 0);
    most = Math.max(most, errors[worst]);
    if (errors[worst] > tolerance)
      problems.push(`${name}: ours ${a[worst]}, the peer ${b[worst]} (value ${worst + 1} of ${a.length}; tolerance ${tolerance})`);
  }
  return { error: most, problems };
}

/**
 * Compares greedy tokens row by row. Where a row first differs, the peer's two best tokens must have been as good as equal (`margins`, nats): rounding may
 * then choose either, and what follows is another text.
 */
export function compareGreedy(
  ours: readonly (readonly number[])[],
  peer: readonly (readonly number[])[],
  margins: readonly (readonly number[])[],
  tie = 1e-3,
): readonly string[] {
  if (ours.length !== peer.length) return [`greedy: ours has ${ours.length} rows, the peer ${peer.length}`];
  return ours.flatMap((row, i) => {
    if (row.length !== peer[i].length) return [`greedy row ${i}: ours has ${row.length} tokens, the peer ${peer[i].length}`];
    const at = row.findIndex((token, t) => token !== peer[i][t]);
    if (at < 0 || margins[i][at] < tie) return [];
    return [`greedy row ${i}, token ${at}: ours ${row[at]}, the peer ${peer[i][at]}, which was better by ${margins[i][at]} nats`];
  });
}

/** Names whose values are not all finite numbers: the least that holds without a peer. */
export const notFinite = (check: Check): string[] =>
  Object.entries(check).flatMap(([name, value]) => (numbers(value).every(Number.isFinite) ? [] : [`${name} is not finite`]));

const numbers = (value: unknown): number[] => (Array.isArray(value) ? value.flat(Infinity) : [value]).map(Number);
