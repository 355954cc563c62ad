/**
 * How different two attempts are: 1 - the Ratcliff-Obershelp similarity of their own tokens (Python's difflib ratio, without its junk heuristics).
 *
 * The paper says "most different" and publishes no measure; this one is ours. It sees order and ignores what the environment wrote.
 */
import { described } from '../arguments.js';

/** 0 for equal sequences, 1 where they share nothing. Matches are found as difflib finds them: the longest common run first, then left and right of it. */
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
