/** Token F1: how much of the gold answer's words the answer holds, and the other way round. */
import { checkChoice, checkOptions } from '../arguments.js';
import { checkAnswers } from './exact-match.js';
import { normalizeAnswer, normalizeTriviaqa } from './normalize.js';

/**
 * Which benchmark's F1. `squad`: SQuAD 2.0 and MuSiQue; two answers without words score 1. `hotpotqa`: HotpotQA, 2Wiki and FlashRAG; 0 where either side is
 * yes, no or noanswer and they differ, and 0 for two answers without words. `triviaqa`: TriviaQA's own normal form (punctuation becomes a space), 0 for two
 * answers without words.
 */
export type F1Rule = 'squad' | 'hotpotqa' | 'triviaqa';

/** Options of `f1`. */
export interface F1Options {
  /** Whose normal form and special cases. Default `squad`. */
  readonly rule?: F1Rule;
}

/**
 * Token F1 of an answer, the best over the gold answers, in [0, 1]. Reported beside exact match, never a reward.
 *
 *     F1 = 2 P R / (P + R),  P = shared / words of the answer,  R = shared / words of the gold answer
 *
 * where words are those of the normalised texts, and `shared` is the size of what both multisets have in common.
 *
 * @param answer what the policy answered; null, no answer, scores 0
 * @param goldenAnswers any of these is right; an empty list scores 0
 * @throws TypeError for an answer that is neither text nor null, gold answers that are no list of texts, and options that there are not
 * @throws RangeError for a rule that there is not
 *
 * @example
 * ```ts
 * import { f1 } from 'search-e1/reward';
 *
 * f1('Gustave Eiffel of Dijon', ['Gustave Eiffel']); // 0.666…
 * f1('yes', ['yes, it was'], { rule: 'hotpotqa' }); // 0
 * ```
 */
export function f1(answer: string | null, goldenAnswers: readonly string[], options: F1Options = {}): number {
  checkAnswers('f1', answer, goldenAnswers);
  checkOptions('f1', options, ['rule']);
  const { rule = 'squad' } = options;
  checkChoice('f1', 'rule', rule, ['squad', 'hotpotqa', 'triviaqa']);
  if (answer === null) return 0;
  const normalize = rule === 'triviaqa' ? normalizeTriviaqa : normalizeAnswer;
  const normalized = normalize(answer);
  return goldenAnswers.reduce((best, gold) => Math.max(best, f1Of(normalized, normalize(gold), rule)), 0);
}

function f1Of(answer: string, gold: string, rule: F1Rule): number {
  if (rule === 'hotpotqa' && answer !== gold && (CLOSED.has(answer) || CLOSED.has(gold))) return 0;
  if (rule === 'squad' && answer === '' && gold === '') return 1;
  const answerWords = words(answer);
  const goldWords = words(gold);
  const shared = countShared(answerWords, goldWords);
  if (shared === 0) return 0;
  const precision = shared / answerWords.length;
  const recall = shared / goldWords.length;
  return (2 * precision * recall) / (precision + recall);
}

const CLOSED: ReadonlySet<string> = new Set(['yes', 'no', 'noanswer']);

const words = (normalized: string): string[] => (normalized === '' ? [] : normalized.split(' '));

/** Size of the multiset intersection. */
function countShared(left: readonly string[], right: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const word of left) counts.set(word, (counts.get(word) ?? 0) + 1);
  let shared = 0;
  for (const word of right) {
    const count = counts.get(word) ?? 0;
    if (count > 0) shared++;
    counts.set(word, count - 1);
  }
  return shared;
}
