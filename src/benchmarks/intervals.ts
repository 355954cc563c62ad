/**
 * Confidence intervals that keep a width where every answer is the same: no resampling, which can only repeat what was seen.
 *
 *     wilson           the mean of scores between 0 and 1     Wilson 1927; for scores between 0 and 1: Bhatia and Davis 2000
 *     adjustedWald     the mean of bounded counts, and of paired differences     Agresti and Coull 1998; Bonett and Price 2012
 *     weightedMean     a weighted mean of independent means from their own limits     MOVER, Zou and Donner 2008
 *
 * How often they hold the true value is simulated in `test/benchmarks/intervals.test.ts`.
 */
import { errorFunction, probit } from 'simple-statistics';

/** Two ends. */
export interface Interval {
  /** The lower end. */
  readonly low: number;
  /** The upper end. */
  readonly high: number;
}

/** A value and how sure it is. */
export interface Estimate extends Interval {
  /** The mean or share itself, which need not be the middle. */
  readonly value: number;
}

/**
 * Wilson's score interval for `successes` of `n` (Wilson 1927, JASA 22): unlike the normal approximation it stays within [0, 1] and has a width at 0 of n.
 *
 * `successes` may be a sum of scores between 0 and 1, such as F1: no variable between 0 and 1 with mean m varies more than m (1 - m), the variance of hits
 * and misses (Bhatia and Davis 2000, American Mathematical Monthly 107), so the interval is at worst wider than it need be.
 *
 * @throws RangeError where the arguments are no share, or `confidence` does not lie between 0 and 1.
 *
 * @example
 * ```ts
 * import { wilson } from 'search-e1/benchmarks';
 *
 * const { value, low, high } = wilson(0, 10); // nothing right of ten: still no zero width
 * [value, low, high.toFixed(2)]; // [ 0, 0, '0.28' ]
 * ```
 */
export function wilson(successes: number, n: number, confidence = 0.95): Estimate {
  if (!(n > 0) || !(successes >= 0) || !(successes <= n))
    throw new RangeError(`wilson: expected 0 <= successes <= n and n > 0, got ${successes} of ${n}`);
  const z = normalQuantile(confidence);
  const p = successes / n;
  const scale = 1 + (z * z) / n;
  const centre = (p + (z * z) / (2 * n)) / scale;
  const half = (z / scale) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  // At 0 and at n the one limit is p itself, which rounding must not miss.
  return { value: p, low: Math.min(p, Math.max(0, centre - half)), high: Math.max(p, Math.min(1, centre + half)) };
}

/**
 * The mean of values that cannot lie outside [`low`, `high`], by the normal approximation after one more observation at either bound.
 *
 * Of differences between two scores of 0 or 1 it is Bonett and Price's interval for paired proportions (2012, Journal of Educational and Behavioral
 * Statistics 37: (b - c) / (n + 2) with one more question each that only one system answers); of counts the same idea, which is Agresti and Coull's (1998).
 *
 * @throws RangeError where there is no value, or one outside the bounds.
 *
 * @example
 * ```ts
 * import { adjustedWald } from 'search-e1/benchmarks';
 *
 * const { value, low, high } = adjustedWald([0.5, 1, 0, 0.5], [0, 1]); // F1 of four questions, each between 0 and 1
 * value; // 0.5
 * low < value && value < high; // true
 * ```
 */
export function adjustedWald(values: readonly number[], [low, high]: readonly [number, number], confidence = 0.95): Estimate {
  const outside = values.find((value) => !(value >= low && value <= high));
  if (values.length === 0 || outside !== undefined || !(low < high))
    throw new RangeError(`adjustedWald: expected values within [${low}, ${high}], got ${values.length === 0 ? 'none' : outside}`);
  const z = normalQuantile(confidence);
  const value = average(values);
  const all = [...values, low, high];
  const centre = average(all);
  const half = z * Math.sqrt(average(all.map((each) => (each - centre) ** 2)) / all.length);
  return { value, low: Math.min(value, Math.max(low, centre - half)), high: Math.max(value, Math.min(high, centre + half)) };
}

/**
 * A weighted mean of independent estimates, from their own limits: the distances of the limits add up as standard errors do (MOVER: Zou and Donner 2008,
 * Statistics in Medicine 27). One estimate keeps its interval. Default weights: all alike.
 *
 * @throws RangeError where there is no estimate, or not one positive weight for each.
 *
 * @example
 * ```ts
 * import { weightedMean, wilson } from 'search-e1/benchmarks';
 *
 * weightedMean([wilson(1, 2), wilson(3, 4)]).value; // 0.625
 * ```
 */
export function weightedMean(estimates: readonly Estimate[], weights: readonly number[] = estimates.map(() => 1)): Estimate {
  if (estimates.length === 0 || weights.length !== estimates.length || !weights.every((weight) => weight > 0))
    throw new RangeError(
      `weightedMean: expected one positive weight for each of at least one estimate, got [${weights}] for ${estimates.length}`,
    );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const sumOf = (term: (estimate: Estimate, share: number) => number) =>
    estimates.reduce((sum, estimate, i) => sum + term(estimate, weights[i] / total), 0);
  const value = sumOf((estimate, share) => share * estimate.value);
  return {
    value,
    low: value - Math.sqrt(sumOf((estimate, share) => (share * (estimate.value - estimate.low)) ** 2)),
    high: value + Math.sqrt(sumOf((estimate, share) => (share * (estimate.high - estimate.value)) ** 2)),
  };
}

/**
 * Two-sided p of `a` and `b` discordant pairs if both were equally likely (McNemar): exact binomial up to 1,000, normal with continuity correction beyond.
 *
 * @example
 * ```ts
 * import { mcNemar } from 'search-e1/benchmarks';
 *
 * mcNemar(5, 0); // 0.0625
 * ```
 */
export function mcNemar(a: number, b: number): number {
  if (!(Number.isInteger(a) && Number.isInteger(b) && a >= 0 && b >= 0))
    throw new RangeError(`mcNemar: expected two counts, got ${a} and ${b}`);
  const n = a + b;
  if (n === 0) return 1;
  if (n > 1_000) return 1 - errorFunction(Math.max(0, Math.abs(a - b) - 1) / Math.sqrt(2 * n));
  let tail = 0;
  let logTerm = -n * Math.LN2; // log of C(n, k) / 2^n
  for (let k = 0; k <= Math.min(a, b); k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log(n - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * tail);
}

/** z with P(|normal| < z) = `confidence`. simple-statistics' probit is good to two digits: two Newton steps on its error function make it six. */
function normalQuantile(confidence: number): number {
  if (typeof confidence !== 'number' || !(confidence > 0 && confidence < 1))
    throw new RangeError(`expected a confidence between 0 and 1, such as 0.95, got ${confidence}`);
  let z = probit((1 + confidence) / 2);
  for (let step = 0; step < 2; step++) {
    z -= (errorFunction(z / Math.SQRT2) - confidence) / (Math.sqrt(2 / Math.PI) * Math.exp((-z * z) / 2));
  }
  return z;
}

const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
