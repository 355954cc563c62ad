/** The scores that compare whole answers: exact match, the reward, and PopQA's cover match. */
import { checkText, checkTexts } from '../arguments.js';
import { normalizeAnswer } from './normalize.js';

/**
 * Exact match, the only reward of Search-E1 and the score of all seven benchmarks: 1 where `normalizeAnswer(answer)` equals that of any gold answer, else 0.
 *
 * No format bonus, no partial credit (paper; Search-R1, `qa_em.py`).
 *
 * @param answer what the policy answered, as `extractAnswer` gives it; null, no answer, earns 0
 * @param goldenAnswers any of these is right; an empty list earns 0
 * @throws TypeError for an answer that is neither text nor null, and for gold answers that are no list of texts
 *
 * @example
 * ```ts
 * import { exactMatch } from 'search-e1/reward';
 *
 * exactMatch('the Eiffel Tower', ['Eiffel Tower', 'Tour Eiffel']); // 1
 * exactMatch('a tower in Paris', ['Eiffel Tower']); // 0
 * exactMatch(null, ['Eiffel Tower']); // 0
 * ```
 */
export function exactMatch(answer: string | null, goldenAnswers: readonly string[]): 0 | 1 {
  checkAnswers('exactMatch', answer, goldenAnswers);
  if (answer === null) return 0;
  const normalized = normalizeAnswer(answer);
  return goldenAnswers.some((gold) => normalizeAnswer(gold) === normalized) ? 1 : 0;
}

/**
 * Cover match, PopQA's own accuracy: 1 where some gold answer, as it is, in lower case or capitalised, occurs in the answer, else 0. Nothing is normalised.
 *
 * It rewards long answers: shown beside exact match where a result in that measure is to be compared, and never a reward.
 *
 * @param answer what the policy answered; null, no answer, scores 0
 * @param goldenAnswers any of these is right
 * @throws TypeError for an answer that is neither text nor null, and for gold answers that are no list of texts
 *
 * @example
 * ```ts
 * import { coverMatch, exactMatch } from 'search-e1/reward';
 *
 * coverMatch('It was built by Gustave Eiffel.', ['Gustave Eiffel']); // 1
 * exactMatch('It was built by Gustave Eiffel.', ['Gustave Eiffel']); // 0
 * ```
 */
export function coverMatch(answer: string | null, goldenAnswers: readonly string[]): 0 | 1 {
  checkAnswers('coverMatch', answer, goldenAnswers);
  if (answer === null) return 0;
  return goldenAnswers.some((gold) => [gold, gold.toLowerCase(), capitalize(gold)].some((form) => answer.includes(form))) ? 1 : 0;
}

/** What every scorer is given. @throws TypeError for anything but a text or null, and a list of texts */
export function checkAnswers(where: string, answer: unknown, goldenAnswers: unknown): void {
  if (answer !== null) checkText(where, 'the answer (null: none)', answer);
  checkTexts(where, 'goldenAnswers', goldenAnswers);
}

/** Python's `capitalize()`: the first character in title case, all others lower. */
function capitalize(text: string): string {
  const [first = '', ...rest] = text;
  const upper = first.toUpperCase();
  const title = TITLE_DIGRAPHS[upper] ?? upper.slice(0, 1) + upper.slice(1).toLowerCase();
  return title + rest.join('').toLowerCase();
}

/** The Latin digraphs that have a title case of their own. */
const TITLE_DIGRAPHS: Readonly<Record<string, string>> = { Ǆ: 'ǅ', Ǉ: 'ǈ', Ǌ: 'ǋ', Ǳ: 'ǲ' };
