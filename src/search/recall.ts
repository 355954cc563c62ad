/**
 * Recall@k: which share of a question's gold passages is among the k best, averaged over questions (HippoRAG, arXiv 2405.14831, section 4).
 *
 * A question's own text is the query: this measures the retriever, not the agent.
 */
import { checkObject, described } from '../arguments.js';
import type { Question } from '../rollout/question.js';
import type { Searcher } from './passage.js';

/** How much of what a question needs is found. */
export interface Recall {
  /** Passages that were looked at. */
  readonly k: number;
  /** Mean share of gold passages in the top k, 0 to 1. */
  readonly recall: number;
  /** Share of questions with all their gold passages in the top k. */
  readonly complete: number;
  /** Questions with gold passages: the others are left out. */
  readonly questions: number;
}

/**
 * Ids of the passages that support the answer (`metadata.supporting_ids`), each once; empty where the corpus holds none.
 *
 * @example
 * ```ts
 * import { loadBenchmark } from 'search-e1/benchmarks';
 * import { supportingIds } from 'search-e1/search';
 *
 * const [question] = await loadBenchmark('musique');
 * supportingIds(question).length > 1; // true
 * ```
 */
export function supportingIds(question: Question): readonly string[] {
  const ids = question.metadata?.supporting_ids;
  return Array.isArray(ids) ? [...new Set(ids.map(String))] : [];
}

/**
 * Recall at each k. A gold passage that is named twice, or found twice, counts once, though a repeated passage takes up two of the k places;
 * questions without gold passages are left out, and
 * `questions` says how many were not. Fewer than k passages found are all that can be looked at.
 *
 * @throws RangeError where a k is no positive whole number
 * @throws Error where no question has gold passages, or the searcher answers with another number of lists
 *
 * @example
 * ```ts
 * import { createSearcher, measureRecall } from 'search-e1/search';
 *
 * const searcher = createSearcher([
 *   { id: '1', title: 'Eiffel Tower', text: 'By Gustave Eiffel.' },
 *   { id: '2', title: 'Louvre', text: 'A museum.' },
 * ]);
 * const metadata = { supporting_facts: { title: ['Louvre'] }, context: { title: ['Louvre'], sentences: [['A museum.']] } };
 * const question = { id: 'q', dataset: 'own', question: 'Which museum?', goldenAnswers: ['Louvre'], metadata };
 * (await measureRecall(searcher, [question], [1]).catch((error: Error) => error.message)) !== undefined; // true
 * ```
 */
export async function measureRecall(searcher: Searcher, questions: readonly Question[], ks: readonly number[] = [2, 5]): Promise<Recall[]> {
  checkObject('measureRecall', 'searcher', searcher, ['search']);
  if (!Array.isArray(questions)) throw new TypeError(`measureRecall: expected a list of questions, got ${described(questions)}`);
  if (!Array.isArray(ks)) throw new TypeError(`measureRecall: expected a list of numbers for ks, got ${described(ks)}`);
  const wrong = ks.length === 0 ? 'none' : ks.find((k) => !Number.isInteger(k) || k < 1);
  if (wrong !== undefined) throw new RangeError(`measureRecall: expected positive whole numbers for ks, got ${wrong}`);
  const withGold = questions.filter((question) => supportingIds(question).length > 0);
  if (withGold.length === 0) {
    throw new Error(
      `none of ${questions.length} questions has metadata.supporting_ids: recall needs questions whose gold passages are in the corpus`,
    );
  }
  const found = await searcher.search(
    withGold.map((question) => question.question),
    Math.max(...ks),
  );
  if (found.length !== withGold.length)
    throw new Error(`measureRecall: the searcher gave ${found.length} lists of passages for ${withGold.length} queries`);
  return ks.map((k) => {
    const shares = withGold.map((question, i) => {
      const top = new Set(found[i].slice(0, k).map((passage) => passage.id));
      const gold = supportingIds(question);
      return gold.filter((id) => top.has(id)).length / gold.length;
    });
    return {
      k,
      recall: shares.reduce((sum, share) => sum + share, 0) / shares.length,
      complete: shares.filter((share) => share === 1).length / shares.length,
      questions: shares.length,
    };
  });
}
