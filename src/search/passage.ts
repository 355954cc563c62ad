/** A passage and what finds it: the whole of the retrieval interface. */

export interface Passage {
  readonly id: string;
  readonly title: string;
  readonly text: string;
}

export interface ScoredPassage extends Passage {
  /** The retriever's own score, higher is better; comparable within one query only. */
  readonly score: number;
}

export interface SearchOptions {
  /** Ends the search by throwing the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface Searcher {
  /** The best `topK` passages for each query, best first; fewer where fewer match. @throws SearchError where it cannot be answered. */
  search(queries: readonly string[], topK: number, options?: SearchOptions): Promise<ScoredPassage[][]>;
}

/** A search that failed for good: what a rollout turns into an observation, so that one failure does not end a whole step. */
export class SearchError extends Error {
  override readonly name = 'SearchError';
}

/** @throws TypeError on queries that are no list of texts, RangeError on a `topK` that is no positive whole number. */
export function checkSearch(queries: readonly string[], topK: number): void {
  if (!Array.isArray(queries) || !queries.every((query) => typeof query === 'string'))
    throw new TypeError('search(queries, topK): expected a list of texts as queries; one query is a list of one');
  if (!Number.isInteger(topK) || topK < 1) throw new RangeError(`search(queries, topK): expected a positive integer, got ${topK}`);
}
