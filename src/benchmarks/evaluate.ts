/**
 * From scored episodes to the numbers of a results table: exact match, F1, searches, and how sure one may be of them.
 *
 * Two means are kept apart. The *macro mean* weighs the sets alike, as every paper's "average" does: there, one of Bamboogle's 125 questions
 * weighs as much as 114 of PopQA's 14,267. The *question-weighted mean* weighs the questions alike.
 */
import { errorFunction, mean, probit, quantileSorted } from 'simple-statistics';
import { type Random, random } from '../random.js';

/** One question, answered once and scored. */
export interface EvaluationRecord {
  readonly dataset: string;
  readonly questionId: string;
  /** 1 or 0. */
  readonly exactMatch: number;
  /** 0 to 1. */
  readonly f1: number;
  readonly searches: number;
}

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface Estimate extends Interval {
  readonly value: number;
}

export interface BenchmarkSummary {
  readonly dataset: string;
  /** Questions. */
  readonly n: number;
  /** Share of exact matches, 0 to 1, with its Wilson interval. */
  readonly exactMatch: Estimate;
  /** Mean F1, 0 to 1, with its bootstrap interval. */
  readonly f1: Estimate;
  /** Mean searches a question. */
  readonly searches: number;
}

export interface Summary {
  /** In the order in which the sets first occur. */
  readonly sets: readonly BenchmarkSummary[];
  /** Plain mean of the sets' exact matches. Its interval resamples questions within each set. */
  readonly macroMean: Estimate;
  /** Exact match over all questions alike, with its Wilson interval. */
  readonly questionMean: Estimate;
  /** Mean searches over all questions alike. */
  readonly searches: number;
  readonly n: number;
}

export interface BootstrapOptions {
  /** Coverage of the intervals. Default 0.95. */
  readonly confidence?: number;
  /** Bootstrap resamples. Default 2,000. */
  readonly resamples?: number;
  /** Seed of the resampling. Default 0. */
  readonly seed?: number;
}

/** Sums up one system's records, each question once. Throws on no records, and on a question that occurs twice in one set. */
export function summarize(records: readonly EvaluationRecord[], options: BootstrapOptions = {}): Summary {
  const { confidence = 0.95, resamples = 2_000, seed = 0 } = options;
  const bySet = groupBySet(records);
  const sets = [...bySet].map(([dataset, group]): BenchmarkSummary => {
    const f1s = group.map((record) => record.f1);
    return {
      dataset,
      n: group.length,
      exactMatch: wilson(sum(group.map((record) => record.exactMatch)), group.length, confidence),
      f1: { value: mean(f1s), ...bootstrap([f1s], random(seed, 'f1', dataset), resamples, confidence) },
      searches: mean(group.map((record) => record.searches)),
    };
  });
  const matches = [...bySet.values()].map((group) => group.map((record) => record.exactMatch));
  return {
    sets,
    macroMean: {
      value: mean(sets.map((set) => set.exactMatch.value)),
      ...bootstrap(matches, random(seed, 'macro'), resamples, confidence),
    },
    questionMean: wilson(sum(matches.flat()), records.length, confidence),
    searches: mean(records.map((record) => record.searches)),
    n: records.length,
  };
}

/**
 * Wilson's score interval for `successes` of `n` (Wilson 1927): unlike the normal approximation it stays within [0, 1] and has a width at 0 of n.
 */
export function wilson(successes: number, n: number, confidence = 0.95): Estimate {
  if (!(n > 0) || successes < 0 || successes > n)
    throw new RangeError(`wilson: expected 0 <= successes <= n and n > 0, got ${successes} of ${n}`);
  const z = normalQuantile(confidence);
  const p = successes / n;
  const scale = 1 + (z * z) / n;
  const centre = (p + (z * z) / (2 * n)) / scale;
  const half = (z / scale) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { value: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/** Question by question, what changed between two systems. */
export interface PairedDifference {
  /** Questions both answered. */
  readonly n: number;
  /** Macro mean of B less that of A, with a bootstrap interval that resamples question pairs within each set. */
  readonly macroDifference: Estimate;
  /** Exact match of B less that of A over all questions alike, with the same kind of interval. */
  readonly difference: Estimate;
  /** Questions only A, and only B, answered right. */
  readonly onlyA: number;
  readonly onlyB: number;
  /** Two-sided McNemar test of onlyA = onlyB: exact binomial up to 1,000 discordant questions, normal with continuity correction beyond. */
  readonly pValue: number;
}

/**
 * Compares two systems on the questions both answered. Pairing removes the spread between easy and hard questions, so that it sees smaller
 * differences than two separate intervals do. Throws when the two were not scored on the same questions.
 */
export function compareSystems(
  a: readonly EvaluationRecord[],
  b: readonly EvaluationRecord[],
  options: BootstrapOptions = {},
): PairedDifference {
  const { confidence = 0.95, resamples = 2_000, seed = 0 } = options;
  const keyOf = (record: EvaluationRecord) => `${record.dataset}\u0000${record.questionId}`;
  const setsOfA = groupBySet(a);
  groupBySet(b); // each question once
  const ofB = new Map(b.map((record) => [keyOf(record), record]));
  const unpaired = a.find((record) => !ofB.has(keyOf(record)));
  if (unpaired || a.length !== b.length) {
    const example = unpaired ? `; the second lacks ${unpaired.dataset} ${unpaired.questionId}` : '';
    throw new Error(`compareSystems: both systems must have answered the same questions, got ${a.length} and ${b.length}${example}`);
  }
  const differences = [...setsOfA.values()].map((group) =>
    group.map((record) => (ofB.get(keyOf(record)) as EvaluationRecord).exactMatch - record.exactMatch),
  );
  const flat = differences.flat();
  const onlyA = flat.filter((difference) => difference < 0).length;
  const onlyB = flat.filter((difference) => difference > 0).length;
  const weights = differences.map((group) => group.length / flat.length);
  return {
    n: flat.length,
    macroDifference: {
      value: mean(differences.map(mean)),
      ...bootstrap(differences, random(seed, 'paired', 'macro'), resamples, confidence),
    },
    difference: { value: mean(flat), ...bootstrap(differences, random(seed, 'paired', 'all'), resamples, confidence, weights) },
    onlyA,
    onlyB,
    pValue: mcNemar(onlyA, onlyB),
  };
}

/** Two-sided p of `a` and `b` discordant pairs if both were equally likely. */
export function mcNemar(a: number, b: number): number {
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
  let z = probit((1 + confidence) / 2);
  for (let step = 0; step < 2; step++) {
    z -= (errorFunction(z / Math.SQRT2) - confidence) / (Math.sqrt(2 / Math.PI) * Math.exp((-z * z) / 2));
  }
  return z;
}

/** Percentile interval of the weighted mean of group means; each group is resampled by itself. Default weights: all groups alike. */
function bootstrap(
  groups: readonly (readonly number[])[],
  draw: Random,
  resamples: number,
  confidence: number,
  weights: readonly number[] = groups.map(() => 1 / groups.length),
): Interval {
  const means = Array.from({ length: resamples }, () => {
    let total = 0;
    for (const [g, group] of groups.entries()) {
      let drawn = 0;
      for (let i = 0; i < group.length; i++) drawn += group[draw.integer(group.length)];
      total += (weights[g] * drawn) / group.length;
    }
    return total;
  }).sort((x, y) => x - y);
  return { low: quantileSorted(means, (1 - confidence) / 2), high: quantileSorted(means, (1 + confidence) / 2) };
}

function groupBySet(records: readonly EvaluationRecord[]): Map<string, EvaluationRecord[]> {
  if (records.length === 0) throw new Error('nothing to sum up: expected at least one scored question');
  const bySet = new Map<string, EvaluationRecord[]>();
  const seen = new Set<string>();
  for (const record of records) {
    const key = `${record.dataset} ${record.questionId}`;
    if (seen.has(key)) throw new Error(`question ${key} is scored twice: give each system's records once, one a question`);
    seen.add(key);
    const group = bySet.get(record.dataset);
    if (group) group.push(record);
    else bySet.set(record.dataset, [record]);
  }
  return bySet;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
