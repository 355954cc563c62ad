/** How different two attempts are, by the runs of own tokens that they share. */
import { described } from '../arguments.js';

/**
 * How different two attempts are, in [0, 1]: 0 for equal sequences, 1 where they share nothing.
 *
 *     distance = 1 - 2 M / (|a| + |b|)
 *
 * where M counts the matches as Ratcliff and Obershelp find them: the longest common run, then, in the same way, left and right of it (1 less Python's difflib
 * ratio, without its junk heuristics). The paper says "most different" and publishes no measure; this one is ours. It sees order, and is not symmetric.
 *
 * @param a token ids of one attempt, its own tokens alone, so that what the environment wrote is ignored
 * @param b token ids of another
 * @throws TypeError for anything but lists of integers
 *
 * @example
 * ```ts
 * import { distance } from 'search-e1/siblings';
 *
 * distance([7, 8, 9], [7, 8, 9]); // 0
 * distance([7, 8, 9], [7, 8, 5]); // 0.333…
 * distance([7, 8, 9], []); // 1
 * ```
 */
export function distance(a: readonly number[], b: readonly number[]): number {
  for (const [name, tokens] of Object.entries({ a, b }))
    if (!Array.isArray(tokens) || !tokens.every(Number.isInteger))
      throw new TypeError(`distance: ${name}: expected a list of token ids, got ${described(tokens)}`);
  if (a.length + b.length === 0) return 0;
  return 1 - (2 * matching(a, 0, a.length, b, 0, b.length)) / (a.length + b.length);
}

function matching(a: readonly number[], aStart: number, aEnd: number, b: readonly number[], bStart: number, bEnd: number): number {
  let best = { length: 0, a: aStart, b: bStart };
  let runs = new Map<number, number>(); // run length ending at b[j] and the previous a
  for (let i = aStart; i < aEnd; i++) {
    const next = new Map<number, number>();
    for (let j = bStart; j < bEnd; j++) {
      if (a[i] !== b[j]) continue;
      const length = (runs.get(j - 1) ?? 0) + 1;
      next.set(j, length);
      if (length > best.length) best = { length, a: i - length + 1, b: j - length + 1 };
    }
    runs = next;
  }
  if (best.length === 0) return 0;
  const left = matching(a, aStart, best.a, b, bStart, best.b);
  return left + best.length + matching(a, best.a + best.length, aEnd, b, best.b + best.length, bEnd);
}
