/**
 * Rows for a results table: our numbers with n and interval, and the published ones beside them. Plain strings and numbers, for any display.
 */
import { type BenchmarkName, benchmarkNames, benchmarks } from './benchmark-names.js';
import { type EvaluationRecord, type IntervalOptions, type Summary, summarize } from './evaluate.js';
import type { Estimate, Interval } from './intervals.js';
import { type PublishedRow, publishedRows } from './published.js';

/** One line of the per-set table. */
export interface SetRow {
  /** The set's name. */
  readonly set: string;
  /** Questions. */
  readonly n: number;
  /** Exact match in points, one decimal. */
  readonly em: number;
  /** The 95 % interval of `em`, in points. */
  readonly interval: string;
  /** F1 in points, one decimal. */
  readonly f1: number;
  /** Mean searches a question, two decimals. */
  readonly searches: number;
  /** Exact match in points as Search-R1 scores it, one decimal; absent where it was not scored so. */
  readonly searchR1?: number;
}

/**
 * Our sets, then the macro mean and the question-weighted mean.
 *
 * @example
 * ```ts
 * import { rowsBySet, summarize } from 'search-e1/benchmarks';
 *
 * const records = [1, 0].map((exactMatch, i) => ({ dataset: 'nq', questionId: `${i}`, questionText: `question ${i}`, exactMatch, f1: exactMatch, searches: 1 }));
 * const [{ set, n, em }] = rowsBySet(summarize(records));
 * [set, n, em]; // [ 'NQ', 2, 50 ]
 * ```
 */
export function rowsBySet(summary: Summary): SetRow[] {
  const { n, macroMean, macroF1, macroSearches, macroSearchR1Score, questionMean, questionF1, questionSearches, questionSearchR1Score } =
    summary;
  return [
    ...summary.sets.map((set) => setRow(displayName(set.dataset), set.n, set.exactMatch, set.f1, set.searchCount, set.searchR1Score)),
    setRow('macro mean', n, macroMean, macroF1, macroSearches, macroSearchR1Score),
    setRow('question-weighted mean', n, questionMean, questionF1, questionSearches, questionSearchR1Score),
  ];
}

const setRow = (set: string, n: number, em: Estimate, f1: Estimate, searches: Estimate, searchR1: Estimate | undefined): SetRow => ({
  set,
  n,
  em: points(em.value),
  interval: interval(em),
  f1: points(f1.value),
  searches: round(searches.value, 2),
  ...(searchR1 && { searchR1: points(searchR1.value) }),
});

/** One line of the table by types of question. */
export interface TypeRow extends SetRow {
  /** Of the questions. */
  readonly type: string;
}

/**
 * Each set split by `typeOf` its questions, then the macro mean and the question-weighted mean over the sets.
 *
 * A set's mean hides what its types share out: half of all comparisons are right by guessing. Default: the record's own type.
 *
 * @example
 * ```ts
 * import { rowsByType } from 'search-e1/benchmarks';
 *
 * const records = ['bridge', 'comparison'].map((type, i) => ({ dataset: 'hotpotqa', questionId: `${i}`, questionText: `question ${i}`, type, exactMatch: i, f1: i, searches: 1 }));
 * rowsByType(records).map(({ type, em }) => `${type} ${em}`); // [ 'bridge 0', 'comparison 100', 'all 50', 'all 50' ]
 * ```
 */
export function rowsByType<R extends EvaluationRecord>(
  records: readonly R[],
  typeOf: (record: R) => string = ({ type }) => type ?? 'not told',
  options: IntervalOptions = {},
): TypeRow[] {
  const summary = summarize(records, options);
  const types = summary.sets.flatMap(({ dataset }) => {
    const own = records.filter((record) => record.dataset === dataset);
    return [...new Set(own.map(typeOf))].map((type): TypeRow => {
      const [row] = rowsBySet(
        summarize(
          own.filter((record) => typeOf(record) === type),
          options,
        ),
      );
      return { ...row, type };
    });
  });
  return [
    ...types,
    ...rowsBySet(summary)
      .slice(summary.sets.length)
      .map((row): TypeRow => ({ ...row, type: 'all' })),
  ];
}

/** One line of the comparison across systems: exact match in points a set, null where there is none. */
export interface SystemRow {
  /** Its name. */
  readonly system: string;
  /** Whether the row was measured here, or where its numbers are from. */
  readonly status: 'measured here' | PublishedRow['status'];
  /** Exact match by set, in percent; null where it was not published or not asked. */
  readonly sets: Readonly<Record<BenchmarkName, number | null>>;
  /** Macro mean in points; null for a measurement that lacks one of the seven sets. */
  readonly average: number | null;
  /**
   * Mean over questions in points. Ours is measured; a published one is worked out here from the printed sets and the sizes of the whole splits, null where a set is not
   * printed.
   */
  readonly questionWeighted: number | null;
}

/**
 * Our measurement first, then the published rows for `model` sizes that match `filter` (default: all).
 *
 * @example
 * ```ts
 * import { rowsBySystem, summarize } from 'search-e1/benchmarks';
 *
 * const records = [1, 0].map((exactMatch, i) => ({ dataset: 'nq', questionId: `${i}`, questionText: `question ${i}`, exactMatch, f1: exactMatch, searches: 1 }));
 * const rows = rowsBySystem('mine', summarize(records), ({ system }) => system.startsWith('Search-R1'));
 * rows.find(({ status }) => status === 'measured here')?.system; // 'mine'
 * ```
 */
export function rowsBySystem(system: string, summary: Summary, filter: (row: PublishedRow) => boolean = () => true): SystemRow[] {
  const measured = new Map(summary.sets.map((set) => [set.dataset, points(set.exactMatch.value)]));
  const complete = benchmarkNames.every((name) => measured.has(name)) && summary.sets.length === benchmarkNames.length;
  return [
    {
      system,
      status: 'measured here',
      sets: Object.fromEntries(benchmarkNames.map((name) => [name, measured.get(name) ?? null])) as SystemRow['sets'],
      average: complete ? points(summary.macroMean.value) : null,
      questionWeighted: complete ? points(summary.questionMean.value) : null,
    },
    ...publishedRows.filter(filter).map(
      (row): SystemRow => ({
        system: `${row.system} (${row.model})`,
        status: row.status,
        sets: row.exactMatch,
        average: row.average,
        questionWeighted: overQuestions(row.exactMatch),
      }),
    ),
  ];
}

function overQuestions(exactMatch: PublishedRow['exactMatch']): number | null {
  let [right, questions] = [0, 0];
  for (const name of benchmarkNames) {
    const em = exactMatch[name];
    if (em === null) return null;
    right += em * benchmarks[name].size;
    questions += benchmarks[name].size;
  }
  return round(right / questions, 1);
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
const points = (share: number): number => round(100 * share, 1);
const interval = ({ low, high }: Interval): string => `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
const displayName = (dataset: string): string =>
  Object.hasOwn(benchmarks, dataset) ? benchmarks[dataset as BenchmarkName].display : dataset;
