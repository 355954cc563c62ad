/**
 * BM25 over passages in memory, by MiniSearch 7.
 *
 * Two fields are scored and added up: the whole contents (title and text, as Search-R1's corpus holds them) and the title again, boosted:
 * most gold passages are the page of an entity that the question names. MiniSearch's formula is BM25+ (Lv and Zhai 2011):
 *
 *     idf(t) * (d + tf (k + 1) / (tf + k (1 - b + b |field| / average |field|)))
 *
 * summed over query terms and fields, then multiplied by the number of distinct query terms found (a passage that holds all of them goes
 * first, as with the coordination factor of old Lucene). MiniSearch counts |field| in distinct words.
 *
 * One setting serves every corpus. A first look took in all questions of HotpotQA, 2WikiMultiHopQA and MuSiQue; then analysis (stop words, stems) and title boost
 * were fixed by recall@2 + recall@5 averaged over their development halves. k, b and d are the library's own: Lucene's k 1.2, b 0.75, d 0 came out equal
 * there (58.7 both), and over all questions misses 2Wiki's plain recall@5 by a third of a point.
 */
import MiniSearch from 'minisearch';
import { type AnalysisOptions, createAnalysis } from './analyze.js';
import { checkSearch, type Passage, type ScoredPassage, type Searcher } from './passage.js';

/** BM25's parameters, and how text becomes terms. */
export interface SearcherOptions extends AnalysisOptions {
  /** Term frequency saturation, k of BM25. Default 1.2 (MiniSearch, Lucene); Pyserini's is 0.9. */
  readonly k1?: number;
  /** Length normalisation, 0 (none) to 1 (full). Default 0.7 (MiniSearch); Lucene 0.75, Pyserini 0.4. */
  readonly b?: number;
  /** BM25+'s lower bound for a matching term however long the field. Default 0.5 (MiniSearch); 0 is plain BM25. */
  readonly delta?: number;
  /**
   * Weight of the title field beside the contents' 1. Default 2, the best of 0.5, 1, 1.5, 2 and 3 on the development halves.
   * 0 leaves the title to the contents alone.
   */
  readonly titleBoost?: number;
}

/**
 * Indexes the passages and returns their searcher. About 10,000 passages a second; an index of 24,000 takes some 100 MB.
 *
 * Passages with equal scores come in the order given. An empty query, or one of stop words only, finds nothing. Throws on a
 * passage that is none, a duplicate id and on options outside their range.
 *
 * @example
 * ```ts
 * import { createSearcher } from 'search-e1/search';
 *
 * const searcher = createSearcher([
 *   { id: '1', title: 'Eiffel Tower', text: 'A tower in Paris by Gustave Eiffel.' },
 *   { id: '2', title: 'Louvre', text: 'A museum in Paris.' },
 * ]);
 * const [found] = await searcher.search(['who built the Eiffel tower'], 1);
 * found[0].title; // 'Eiffel Tower'
 * ```
 */
export function createSearcher(passages: Iterable<Passage>, options: SearcherOptions = {}): Searcher {
  const { k1 = 1.2, b = 0.7, delta = 0.5, titleBoost = 2, stem, stopWords, ...unknown } = options;
  if (Object.keys(unknown).length > 0)
    throw new TypeError(`createSearcher: expected options it knows, got ${Object.keys(unknown).join(', ')}`);
  checkRange('k1', k1, 0, Number.POSITIVE_INFINITY);
  checkRange('b', b, 0, 1);
  checkRange('delta', delta, 0, Number.POSITIVE_INFINITY);
  checkRange('titleBoost', titleBoost, 0, Number.POSITIVE_INFINITY);

  const documents: (Passage & { readonly number: number })[] = [];
  const ids = new Set<string>();
  for (const passage of passages) {
    const { id, title, text } = checkPassage(passage, documents.length);
    if (ids.has(id)) throw new Error(`two passages have the id "${id}": ids must be unique within one searcher`);
    ids.add(id);
    documents.push({ number: documents.length, id, title, text });
  }
  const index = new MiniSearch<Passage & { readonly number: number }>({
    idField: 'number',
    fields: titleBoost > 0 ? ['title', 'contents'] : ['contents'],
    extractField: (document, field) =>
      field === 'contents' ? `${document.title} ${document.text}` : document[field as 'title' | 'number'],
    ...createAnalysis({ stem, stopWords }),
    searchOptions: { bm25: { k: k1, b, d: delta }, boost: { title: titleBoost } },
  });
  index.addAll(documents);

  const best = (query: string, topK: number): ScoredPassage[] =>
    index
      .search(query)
      .sort((x, y) => y.score - x.score || x.id - y.id)
      .slice(0, topK)
      .map((hit) => {
        const { id, title, text } = documents[hit.id];
        return { id, title, text, score: hit.score };
      });

  return {
    search: async (queries, topK, { signal } = {}) => {
      checkSearch(queries, topK);
      signal?.throwIfAborted();
      return queries.map((query) => best(query, topK));
    },
  };
}

/** From JavaScript anything may come; an index of undefined would find nothing and say nothing. */
function checkPassage(passage: Passage, index: number): Passage {
  const fields: Partial<Record<string, unknown>> = typeof passage === 'object' && passage !== null ? { ...passage } : {};
  const missing = ['id', 'title', 'text'].find((field) => typeof fields[field] !== 'string');
  if (missing === undefined) return passage;
  const hint = typeof fields.contents === 'string' ? '; a line of a corpus file becomes one by { id, ...splitContents(contents) }' : '';
  throw new TypeError(
    `createSearcher: passage ${index} has no text as its ${missing}: expected { id, title, text }, got ${JSON.stringify(passage)?.slice(0, 200)}${hint}`,
  );
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) throw new RangeError(`createSearcher: ${name} must lie in [${low}, ${high}], got ${value}`);
}
