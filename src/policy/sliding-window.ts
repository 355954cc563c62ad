/**
 * Sliding windows: layers in which a token reads itself and the `tokens - 1` before it, as Transformers' Qwen2 does (mask `key > query - window`).
 *
 * Written as attention segments, so that no backend needs a kernel for it: queries that the window does not yet cut stay together, every later one is a
 * segment of its own. Up to the window such a layer is like any other; beyond it it costs a segment a token, which is slow for long prompts.
 */
import type { AttentionSegment, KeyRange } from '../tensors/attention.js';

/** Layers that read only the last so many tokens. */
export interface SlidingWindow {
  /** How many tokens are read, the reading one included. */
  readonly tokens: number;
  /** Which layers slide, ascending. */
  readonly layers: readonly number[];
}

/** The same queries, each reading the last `window` of the keys that its segment lets it read; undefined where that is all of them. */
export function withinWindow(segments: readonly AttentionSegment[], window: number): readonly AttentionSegment[] | undefined {
  const read = segments.map(({ before = [], from, keys }): readonly KeyRange[] => [...before, { from, keys }]);
  const lengths = read.map((ranges) => ranges.reduce((sum, { keys }) => sum + keys, 0));
  if (lengths.every((length) => length <= window)) return undefined;
  return segments.flatMap((segment, at) => {
    const { queries, keys, from } = segment;
    const first = lengths[at] - queries; // position of the first query
    const whole = Math.min(queries, Math.max(0, window - first));
    const together = whole > 0 ? [{ ...segment, queries: whole, keys: keys - (queries - whole) }] : [];
    const alone = Array.from({ length: queries - whole }, (_, i): AttentionSegment => {
      const position = first + whole + i;
      // Its own key apart from those before: the gradient kernels gather what segments read of one another's keys.
      return { queries: 1, keys: 1, from: from + keys - queries + whole + i, before: between(read[at], position - window + 1, position) };
    });
    return [...together, ...alone];
  });
}

/** Keys begin (inclusive) to end (exclusive) of neighbouring ranges. */
function between(ranges: readonly KeyRange[], begin: number, end: number): KeyRange[] {
  let start = 0;
  return ranges.flatMap(({ from, keys }) => {
    const [first, last] = [Math.max(begin - start, 0), Math.min(end - start, keys)];
    start += keys;
    return last > first ? [{ from: from + first, keys: last - first }] : [];
  });
}
