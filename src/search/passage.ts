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

export interface Searcher {
  /** The best `topK` passages for each query, best first; fewer where fewer match. */
  search(queries: readonly string[], topK: number): Promise<ScoredPassage[][]>;
}
