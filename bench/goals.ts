/** The goals that are no ratio to a peer; those are with their works, in `works.ts`. */
import type { MemoryResult, Result } from './record.js';
import { slope, summarize } from './statistics.js';

/** By how much the cost of a useful operation may grow over the sweep: a third. */
export const COST_GROWTH_GOAL = 4 / 3;
/** Resident bytes above the start of the process in a training step of model S. */
export const MEMORY_GOAL = 500e6;
/** Flat means that the second half of the steps adds no more than this share of what is resident. */
export const FLAT = 0.02;

/** GFLOP/s of useful operations, at the median. */
export const rate = (flops: number, seconds: readonly number[]): number => flops / summarize(seconds).median / 1e9;

/** Cost of a useful operation, relative to the first of `results` on the same backend with as many threads. */
export function costGrowth(results: readonly Result[], result: Result): number {
  const first = results.find(({ threads, backend }) => threads === result.threads && backend === result.backend) as Result;
  return rate(first.flops, first.ours) / rate(result.flops, result.ours);
}

/** Bytes that the second half of the steps adds, by its trend: the first half may still fill caches. */
export function growthOfSecondHalf(rss: MemoryResult['ours']['rss']): number {
  const half = rss.slice(rss.length >> 1);
  return slope(half) * Math.max(0, half.length - 1);
}
