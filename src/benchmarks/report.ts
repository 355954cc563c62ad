/**
 * Rows for a results table: our numbers with n and interval, and the published ones beside them. Plain strings and numbers, for any display.
 */
import { type BenchmarkName, benchmarkNames, benchmarks } from './benchmark-names.js';
import type { Estimate, Summary } from './evaluate.js';
import { type PublishedRow, publishedRows } from './published.js';

/** One line of the per-set table. */
export interface SetRow {
  readonly set: string;
  readonly n: number;
  /** Exact match in points, one decimal. */
  readonly em: number;
  /** The 95 % interval of `em`, in points. */
  readonly interval: string;
  /** F1 in points, one decimal. */
  readonly f1: number;
  /** Mean searches a question, two decimals. */
  readonly searches: number;
}

/** Our sets, then the macro mean and the question-weighted mean. */
export function setRows(summary: Summary): SetRow[] {
  const sets = summary.sets.map((set) => ({
    set: displayName(set.dataset),
    n: set.n,
    em: points(set.exactMatch.value),
    interval: interval(set.exactMatch),
    f1: points(set.f1.value),
    searches: round(set.searches, 2),
  }));
  const total = summary.n;
  const macroF1 = summary.sets.reduce((sum, set) => sum + set.f1.value, 0) / summary.sets.length;
  const questionF1 = summary.sets.reduce((sum, set) => sum + set.f1.value * set.n, 0) / total;
  const macroSearches = summary.sets.reduce((sum, set) => sum + set.searches, 0) / summary.sets.length;
  const overall = (set: string, em: Estimate, f1: number, searches: number): SetRow => ({
    set,
    n: total,
    em: points(em.value),
    interval: interval(em),
    f1: points(f1),
    searches: round(searches, 2),
  });
  return [
    ...sets,
    overall('macro mean', summary.macroMean, macroF1, macroSearches),
    overall('question-weighted mean', summary.questionMean, questionF1, summary.searches),
  ];
}

/** One line of the comparison across systems: exact match in points a set, null where there is none. */
export interface SystemRow {
  readonly system: string;
  readonly status: 'measured here' | PublishedRow['status'];
  readonly sets: Readonly<Record<BenchmarkName, number | null>>;
  /** Macro mean in points; null for a measurement that lacks one of the seven sets. */
  readonly average: number | null;
}

/** Our measurement first, then the published rows for `model` sizes that match `filter` (default: all). */
export function systemRows(system: string, summary: Summary, filter: (row: PublishedRow) => boolean = () => true): SystemRow[] {
  const measured = new Map(summary.sets.map((set) => [set.dataset, points(set.exactMatch.value)]));
  const complete = benchmarkNames.every((name) => measured.has(name)) && summary.sets.length === benchmarkNames.length;
  return [
    {
      system,
      status: 'measured here',
      sets: Object.fromEntries(benchmarkNames.map((name) => [name, measured.get(name) ?? null])) as SystemRow['sets'],
      average: complete ? points(summary.macroMean.value) : null,
    },
    ...publishedRows
      .filter(filter)
      .map(
        (row): SystemRow => ({ system: `${row.system} (${row.model})`, status: row.status, sets: row.exactMatch, average: row.average }),
      ),
  ];
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
const points = (share: number): number => round(100 * share, 1);
const interval = ({ low, high }: Estimate): string => `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
const displayName = (dataset: string): string => (dataset in benchmarks ? benchmarks[dataset as BenchmarkName].display : dataset);
