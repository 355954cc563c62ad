/** The lexical agent over a benchmark: one scored record a question, with the episode to look at. */

import { checkObject, described } from '../arguments.js';
import { laterTurn } from '../platform/later-turn.js';
import { exactMatch } from '../reward/exact-match.js';
import type { Question } from '../rollout/question.js';
import type { Searcher } from '../search/passage.js';
import type { EvaluationRecord } from './evaluate.js';
import { asked, scoredF1 } from './evaluate-policy.js';
import { type LexicalAgentOptions, type LexicalEpisode, runLexicalAgent } from './lexical-agent.js';

/** A question's scores with the episode that earned them. */
export interface LexicalRecord extends EvaluationRecord {
  /** As it was asked. */
  readonly question: Question;
  /** What the agent did. */
  readonly episode: LexicalEpisode;
}

/** How far the agent goes, and who hears of it. */
export interface LexicalEvaluationOptions extends LexicalAgentOptions {
  /** Called after each question. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Runs the agent on each question and scores it. The agent sees the question's text only; the gold answers are read here, afterwards.
 * Some 20 questions a second on a corpus of 24,000 passages.
 *
 * @example
 * ```ts
 * import { evaluateLexicalAgent, summarize } from 'search-e1/benchmarks';
 * import { createSearcher } from 'search-e1/search';
 *
 * const searcher = createSearcher([{ id: '1', title: 'Eiffel Tower', text: 'The Eiffel Tower was designed by Gustave Eiffel in Paris.' }]);
 * const question = { id: '1', dataset: 'own', question: 'Who designed the Eiffel Tower?', goldenAnswers: ['Gustave Eiffel'] };
 * summarize(await evaluateLexicalAgent([question], searcher)).n; // 1
 * ```
 */
export async function evaluateLexicalAgent(
  questions: readonly Question[],
  searcher: Searcher,
  { onProgress, signal, ...agent }: LexicalEvaluationOptions = {},
): Promise<LexicalRecord[]> {
  if (!Array.isArray(questions)) throw new TypeError(`evaluateLexicalAgent: expected a list of questions, got ${described(questions)}`);
  checkObject('evaluateLexicalAgent', 'searcher', searcher, ['search']);
  const records: LexicalRecord[] = [];
  for (const question of questions) {
    signal?.throwIfAborted();
    const episode = await runLexicalAgent(question.question, searcher, { ...agent, signal });
    records.push({
      ...asked(question),
      exactMatch: exactMatch(episode.answer, question.goldenAnswers),
      f1: scoredF1(question, episode.answer),
      searches: episode.searches,
      ...(episode.failedSearches ? { failedSearches: episode.failedSearches } : {}),
      question,
      episode,
    });
    onProgress?.(records.length, questions.length);
    if (records.length % 10 === 0) await laterTurn(); // let an interrupt through
  }
  return records;
}
