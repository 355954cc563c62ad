/**
 * From scored episodes to the numbers of a results table: exact match, F1, searches, and how sure one may be of them.
 *
 * Two means are kept apart. The *macro mean* weighs the sets alike, as every paper's "average" does: there, one of Bamboogle's 125 questions
 * weighs as much as 114 of PopQA's 14,267. The *question-weighted mean* weighs the questions alike.
 */
import { checkObject, checkOptions, checkText, described } from '../arguments.js';
import { adjustedWald, type Estimate, mcNemar, weightedMean, wilson } from './intervals.js';

export { type Estimate, type Interval, mcNemar, wilson } from './intervals.js';

/** One question, answered once and scored. */
export interface EvaluationRecord {
  /** The set that the question is of. */
  readonly dataset: string;
  /** Unique within its set. */
  readonly questionId: string;
  /** What was asked: an id alone may name another question in another sample, world or version of a set. */
  readonly questionText: string;
  /** The kind of question, where its set tells: HotpotQA's and 2Wiki's `type`, MuSiQue's number of hops, Tinypedia's `kind`. */
  readonly type?: string;
  /** 1 or 0. */
  readonly exactMatch: number;
  /** 0 to 1, by the set's own rule (`f1RuleOf`). */
  readonly f1: number;
  /** Searches that were asked for. */
  readonly searches: number;
  /** Of these, those that failed; absent where none did. */
  readonly failedSearches?: number;
  /** Exact match as Search-R1 scores it (`Trajectory.searchR1Score`), under its protocol alone: what its published numbers are. */
  readonly searchR1Score?: number;
}

/** One set's scores. */
export interface BenchmarkSummary {
  /** Its name. */
  readonly dataset: string;
  /** Questions. */
  readonly n: number;
  /** Share of exact matches, 0 to 1, with its Wilson interval. */
  readonly exactMatch: Estimate;
  /** Mean F1, 0 to 1, with its Wilson interval. */
  readonly f1: Estimate;
  /** Mean searches a question. */
  readonly searches: number;
  /** The same with its interval (`adjustedWald`). */
  readonly searchCount: Estimate;
  /** Share of exact matches as Search-R1 scores them, where every record tells. */
  readonly searchR1Score?: Estimate;
}

/** All sets' scores, and their means: of sets (macro, as papers report) and of questions. */
export interface Summary {
  /** In the order in which the sets first occur. */
  readonly sets: readonly BenchmarkSummary[];
  /** Plain mean of the sets' exact matches, with the interval that the sets' own intervals give (MOVER). */
  readonly macroMean: Estimate;
  /** Exact match over all questions alike, with its Wilson interval. */
  readonly questionMean: Estimate;
  /** Plain mean of the sets' F1, and F1 over all questions alike, with intervals of the same kinds. */
  readonly macroF1: Estimate;
  /** Mean F1 over all questions. */
  readonly questionF1: Estimate;
  /** Mean searches over all questions alike. */
  readonly searches: number;
  /** Plain mean of the sets' searches a question, and searches over all questions alike, with their intervals. */
  readonly macroSearches: Estimate;
  /** Mean searches over all questions. */
  readonly questionSearches: Estimate;
  /** Plain mean of the sets' `searchR1Score`, and that of all questions alike, where every record tells. */
  readonly macroSearchR1Score?: Estimate;
  /** Mean over all questions, where there is one. */
  readonly questionSearchR1Score?: Estimate;
  /** Searches that failed, of all; answers that lack their passages are among the wrong ones. */
  readonly failedSearches: number;
  /** Questions in all. */
  readonly n: number;
}

/** How sure an interval is, and what it may reach. */
export interface IntervalOptions {
  /** Coverage of the intervals. Default 0.95. */
  readonly confidence?: number;
  /** The most searches an episode may make, which bounds their mean. Default 4 (paper, Search-R1), or the most seen where that is more. */
  readonly maxSearches?: number;
}

const INTERVAL_OPTIONS: readonly (keyof IntervalOptions)[] = ['confidence', 'maxSearches'];

/**
 * Sums up one system's records, each question once.
 *
 * @throws Error on no records, on a question that occurs twice in one set, and on a score or count out of its range.
 *
 * @example
 * ```ts
 * import { type EvaluationRecord, summarize } from 'search-e1/benchmarks';
 *
 * const record = (dataset: string, i: number, exactMatch: number): EvaluationRecord => ({
 *   dataset,
 *   questionId: `${i}`,
 *   questionText: `question ${i}`,
 *   exactMatch,
 *   f1: exactMatch,
 *   searches: 2,
 * });
 * const { macroMean, questionMean } = summarize([record('nq', 1, 1), record('popqa', 1, 0), record('popqa', 2, 0), record('popqa', 3, 0)]);
 * macroMean.value; // 0.5
 * questionMean.value; // 0.25
 * ```
 */
export function summarize(records: readonly EvaluationRecord[], options: IntervalOptions = {}): Summary {
  checkOptions('summarize', options, INTERVAL_OPTIONS);
  const { confidence = 0.95 } = options;
  const bySet = groupBySet('summarize', records);
  const bound = searchBound(records, options);
  const ofSearches = (group: readonly EvaluationRecord[]) =>
    adjustedWald(
      group.map((record) => record.searches),
      [0, bound],
      confidence,
    );
  const share = (group: readonly EvaluationRecord[], score: 'exactMatch' | 'f1') =>
    wilson(sum(group.map((record) => record[score])), group.length, confidence);
  const bySearchR1 = (group: readonly EvaluationRecord[]): Estimate | undefined => {
    const scores = group.flatMap(({ searchR1Score }) => searchR1Score ?? []);
    return scores.length === group.length ? wilson(sum(scores), group.length, confidence) : undefined;
  };
  const sets = [...bySet].map(([dataset, group]): BenchmarkSummary => {
    const searchCount = ofSearches(group);
    return {
      dataset,
      n: group.length,
      exactMatch: share(group, 'exactMatch'),
      f1: share(group, 'f1'),
      searches: searchCount.value,
      searchCount,
      searchR1Score: bySearchR1(group),
    };
  });
  const searchR1Scores = sets.flatMap(({ searchR1Score }) => searchR1Score ?? []);
  const questionSearches = ofSearches(records);
  return {
    sets,
    macroMean: weightedMean(sets.map((set) => set.exactMatch)),
    questionMean: share(records, 'exactMatch'),
    macroF1: weightedMean(sets.map((set) => set.f1)),
    questionF1: share(records, 'f1'),
    searches: questionSearches.value,
    macroSearches: weightedMean(sets.map((set) => set.searchCount)),
    questionSearches,
    macroSearchR1Score: searchR1Scores.length === sets.length ? weightedMean(searchR1Scores) : undefined,
    questionSearchR1Score: bySearchR1(records),
    failedSearches: sum(records.map(({ failedSearches = 0 }) => failedSearches)),
    n: records.length,
  };
}

/** Question by question, what changed between two systems. Intervals are Bonett and Price's for paired proportions (`adjustedWald`). */
export interface PairedDifference {
  /** Questions both answered. */
  readonly n: number;
  /** Macro mean of B less that of A, with the interval that the sets' own intervals give (MOVER). */
  readonly macroDifference: Estimate;
  /** Exact match of B less that of A over all questions alike. */
  readonly difference: Estimate;
  /** The same of F1, macro mean. */
  readonly macroF1Difference: Estimate;
  /** Searches a question of B less those of A, macro mean. */
  readonly macroSearchDifference: Estimate;
  /** Questions only A, and only B, answered right. */
  readonly onlyA: number;
  /** The same the other way round. */
  readonly onlyB: number;
  /** Two-sided McNemar test of onlyA = onlyB: exact binomial up to 1,000 discordant questions, normal with continuity correction beyond. */
  readonly pValue: number;
}

/**
 * Compares two systems on the questions both answered. Pairing removes the spread between easy and hard questions, so that it sees smaller
 * differences than two separate intervals do.
 *
 * @throws Error where the two were not scored on the same questions: the same ids, and under each id the same text.
 *
 * @example
 * ```ts
 * import { compareSystems, type EvaluationRecord } from 'search-e1/benchmarks';
 *
 * const answers = (scores: readonly number[]): EvaluationRecord[] =>
 *   scores.map((exactMatch, i) => ({ dataset: 'nq', questionId: `${i}`, questionText: `question ${i}`, exactMatch, f1: exactMatch, searches: 1 }));
 * const { difference, onlyA, onlyB } = compareSystems(answers([1, 1, 1, 0]), answers([1, 0, 0, 0]));
 * difference.value; // -0.5
 * [onlyA, onlyB]; // [ 2, 0 ]
 * ```
 */
export function compareSystems(
  a: readonly EvaluationRecord[],
  b: readonly EvaluationRecord[],
  options: IntervalOptions = {},
): PairedDifference {
  checkOptions('compareSystems', options, INTERVAL_OPTIONS);
  const { confidence = 0.95 } = options;
  const setsOfA = groupBySet('compareSystems', a);
  groupBySet('compareSystems', b); // each question once
  const ofB = new Map(b.map((record) => [keyOf(record), record]));
  const unpaired = a.find((record) => !ofB.has(keyOf(record)));
  if (unpaired || a.length !== b.length) {
    const example = unpaired ? `; the second lacks ${unpaired.dataset} ${unpaired.questionId}` : '';
    throw new Error(`compareSystems: both systems must have answered the same questions, got ${a.length} and ${b.length}${example}`);
  }
  const pairs = [...setsOfA.values()].map((group) => group.map((record) => [record, ofB.get(keyOf(record)) as EvaluationRecord] as const));
  const other = pairs.flat().find(([left, right]) => left.questionText !== right.questionText);
  if (other) {
    const [{ dataset, questionId, questionText }, right] = other;
    throw new Error(
      `compareSystems: ${dataset} ${questionId} is "${questionText}" in the first and "${right.questionText}" in the second: give records of the same questions, or evaluate one of the systems again`,
    );
  }
  const bound = searchBound([...a, ...b], options);
  const differences = (of: 'exactMatch' | 'f1' | 'searches', limit: number) =>
    pairs.map((group) =>
      adjustedWald(
        group.map(([left, right]) => right[of] - left[of]),
        [-limit, limit],
        confidence,
      ),
    );
  const changes = pairs.flat().map(([left, right]) => right.exactMatch - left.exactMatch);
  const onlyA = changes.filter((change) => change < 0).length;
  const onlyB = changes.filter((change) => change > 0).length;
  return {
    n: changes.length,
    macroDifference: weightedMean(differences('exactMatch', 1)),
    difference: adjustedWald(changes, [-1, 1], confidence),
    macroF1Difference: weightedMean(differences('f1', 1)),
    macroSearchDifference: weightedMean(differences('searches', bound)),
    onlyA,
    onlyB,
    pValue: mcNemar(onlyA, onlyB),
  };
}

function searchBound(records: readonly EvaluationRecord[], { maxSearches }: IntervalOptions): number {
  const most = records.reduce((bound, { searches }) => Math.max(bound, searches), 0);
  if (maxSearches === undefined) return Math.max(4, most);
  if (!(Number.isInteger(maxSearches) && maxSearches > 0 && maxSearches >= most))
    throw new RangeError(
      `maxSearches: expected a whole number that no record exceeds, got ${maxSearches} where a record has ${most} searches`,
    );
  return maxSearches;
}

const keyOf = ({ dataset, questionId }: EvaluationRecord): string => `${dataset}\u0000${questionId}`;

function groupBySet(where: string, records: readonly EvaluationRecord[]): Map<string, EvaluationRecord[]> {
  if (!Array.isArray(records)) throw new TypeError(`${where}: expected a list of scored questions, got ${described(records)}`);
  if (records.length === 0) throw new Error('nothing to sum up: expected at least one scored question');
  const bySet = new Map<string, EvaluationRecord[]>();
  const seen = new Set<string>();
  for (const [i, record] of records.entries()) {
    checkObject(where, `record ${i}`, record, ['exactMatch', 'f1', 'searches']);
    const { dataset, questionId } = record;
    for (const [name, text] of Object.entries({ dataset, questionId })) checkText(where, `record ${i}: ${name}`, text);
    checkScores(record);
    if (seen.has(keyOf(record)))
      throw new Error(`question ${dataset} ${questionId} is scored twice: give each system's records once, one a question`);
    seen.add(keyOf(record));
    const group = bySet.get(dataset);
    if (group) group.push(record);
    else bySet.set(dataset, [record]);
  }
  return bySet;
}

function checkScores({ dataset, questionId, exactMatch, f1, searches, failedSearches = 0, searchR1Score }: EvaluationRecord): void {
  const wrong =
    exactMatch !== 0 && exactMatch !== 1
      ? `exactMatch ${described(exactMatch)}, expected 0 or 1`
      : !(typeof f1 === 'number' && f1 >= 0 && f1 <= 1)
        ? `f1 ${described(f1)}, expected 0 to 1`
        : !(Number.isFinite(searches) && searches >= 0)
          ? `searches ${described(searches)}, expected a count`
          : !(Number.isFinite(failedSearches) && failedSearches >= 0)
            ? `failedSearches ${described(failedSearches)}, expected a count`
            : searchR1Score !== undefined && searchR1Score !== 0 && searchR1Score !== 1
              ? `searchR1Score ${described(searchR1Score)}, expected 0 or 1`
              : undefined;
  if (wrong) throw new RangeError(`the record of question ${dataset} ${questionId} has ${wrong}`);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
