/** A passage and what finds it: the whole of the retrieval interface. */

export interface Passage {
  /** Unique within a corpus. */
  readonly id: string;
  /** The page's name. */
  readonly title: string;
  /** Without the title. */
  readonly text: string;
}

/** A passage and how well it fits. */
export interface ScoredPassage extends Passage {
  /** The retriever's own score, higher is better; comparable within one query only. */
  readonly score: number;
}

/** How one search is stopped. */
export interface SearchOptions {
  /** Ends the search by throwing the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What finds passages: MiniSearch here, a retrieval server, or yours. */
export interface Searcher {
  /** The best `topK` passages for each query, best first; fewer where fewer match. @throws SearchError where it cannot be answered. */
  search(queries: readonly string[], topK: number, options?: SearchOptions): Promise<ScoredPassage[][]>;
}

/**
 * A search that failed for good: what a rollout turns into an observation, so that one failure does not end a whole step.
 *
 * @example
 * ```ts
 * import { SearchError } from 'search-e1/search';
 *
 * const failing = { search: () => Promise.reject(new SearchError('the index is closed')) }; // a rollout shows the policy that it failed, and goes on
 * const failed = await failing.search().catch((error: unknown) => error);
 * failed instanceof SearchError; // true
 * ```
 */
export class SearchError extends Error {
  /** `SearchError`, for those who catch without the class. */
  override readonly name = 'SearchError';
}

/** @throws TypeError on queries that are no list of texts, RangeError on a `topK` that is no positive whole number. */
export function checkSearch(queries: readonly string[], topK: number): void {
  if (!Array.isArray(queries) || !queries.every((query) => typeof query === 'string'))
    throw new TypeError('search(queries, topK): expected a list of texts as queries; one query is a list of one');
  if (!Number.isInteger(topK) || topK < 1) throw new RangeError(`search(queries, topK): expected a positive integer, got ${topK}`);
}
