/**
 * Search: passages from files, BM25 over them in memory, and the client of a retrieval server.
 *
 * @module
 */
export type { Analysis, AnalysisOptions } from './analyze.js';
export { loadCorpus, readCorpus, splitContents } from './corpus.js';
export { type ReadLinesOptions, readLines } from './lines.js';
export { createSearcher, type SearcherOptions } from './minisearch.js';
export { type Passage, type ScoredPassage, SearchError, type Searcher, type SearchOptions } from './passage.js';
export { measureRecall, type Recall, supportingIds } from './recall.js';
export { type RetrievalServerOptions, retrievalServer } from './retrieval-server.js';
