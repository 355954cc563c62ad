/**
 * Search-R1's retrieval server (`search_r1/search/retrieval_server.py`): POST /retrieve with queries, a list of documents for each.
 *
 * Scores are always asked for. Without them that server unpacks its retriever's one result into two: most batches fail, and one of exactly two queries is
 * answered in the wrong shape without a word. Other servers of the protocol leave the wrapper around a document out, or give no scores: read as well.
 */
import { z } from 'zod';
import { splitContents } from './corpus.js';
import type { ScoredPassage, Searcher } from './passage.js';

const document = z.looseObject({ id: z.union([z.string(), z.number()]).nullish(), contents: z.string() });
const item = z.union([
  z.looseObject({ document, score: z.number().nullish() }),
  document.transform((bare) => ({ document: bare, score: null })),
]);
const response = z.looseObject({ result: z.array(z.array(item)) });

/**
 * The passages of a server.
 *
 * @param url of the endpoint, `http://127.0.0.1:8000/retrieve`
 * @param post asks; `fetch` by default
 * @throws Error from a search, with what the server said, where it refuses or answers in another shape
 */
export function retrievalServer(url: string, post: typeof fetch = fetch): Searcher {
  return {
    async search(queries, topK) {
      if (queries.length === 0) return [];
      const answer = await post(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ queries, topk: topK, return_scores: true }),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text.slice(0, 300)}`);
      const parsed = response.safeParse(asJson(text));
      if (!parsed.success)
        throw new Error(
          `${url} is no retrieval server: expected {"result": [[{"document": {"contents": ...}, "score": ...}]]}, got ${text.slice(0, 300)}`,
        );
      const { result } = parsed.data;
      if (result.length !== queries.length)
        throw new Error(`${url} gave ${result.length} lists of documents for ${queries.length} queries`);
      return result.map((found) =>
        found.slice(0, topK).map(({ document, score }, i): ScoredPassage => {
          const id = `${document.id ?? `${url}#${i}`}`;
          return { id, ...splitContents(document.contents), score: score ?? -i };
        }),
      );
    },
  };
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
