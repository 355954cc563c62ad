/**
 * How an answer is brought to one form before it is compared: SQuAD's normalisation, as Search-R1's `qa_em.py`, HotpotQA, 2Wiki, MuSiQue and open NQ use it.
 *
 * In this order: lower case; delete ASCII punctuation; replace the words a, an, the by a space; collapse white space. No Unicode folding:
 * `Malgorzata` is not `Małgorzata`, a curly quote stays, and a hyphen is deleted, so that `co-founder` becomes `cofounder`.
 *
 * The scorers are Python, whose `\b` and `split()` see other characters than JavaScript's `\b`, `\s` and `trim()`; its classes are spelt out here.
 */
import { checkText } from '../arguments.js';

/**
 * SQuAD's normal form, by which two answers match exactly where their normal forms are equal (Search-R1's `qa_em.py`, HotpotQA, 2Wiki, MuSiQue, open NQ).
 *
 * In this order: lower case; ASCII punctuation is deleted; the words a, an, the become a space; white space is collapsed. No Unicode folding: `Malgorzata` is
 * not `Małgorzata`, a curly quote stays, and a hyphen is deleted.
 *
 * @throws TypeError for anything but text
 *
 * @example
 * ```ts
 * import { normalizeAnswer } from 'search-e1/reward';
 *
 * normalizeAnswer('The co-founder,  a Parisian!'); // 'cofounder parisian'
 * ```
 */
export function normalizeAnswer(text: string): string {
  checkText('normalizeAnswer', 'what was given', text);
  return collapse(removeArticles(text.toLowerCase().replace(PUNCTUATION, '')));
}

/**
 * TriviaQA's own normal form (`triviaqa_evaluation.py`): punctuation, underscores and the quote marks ‘ ’ ´ ` become spaces.
 *
 * Search-R1 and FlashRAG do not use it: numbers scored this way stand apart.
 */
export function normalizeTriviaqa(text: string): string {
  return collapse(removeArticles(text.toLowerCase().replace(PUNCTUATION, ' ').replace(/[‘’´]/g, ' ')));
}

/** Python's `strip()`. */
export const strip = (text: string): string => text.replace(OUTER_SPACE, '');

/** Python's `string.punctuation`: the 32 printable ASCII characters that are neither letter, digit nor space. */
const PUNCTUATION = /[!-/:-@[-`{-~]/g;

/** A word boundary as Python's `re` has it: letters, numbers and _ of all scripts are words, combining marks are not. */
const ARTICLE = /(?<![\p{L}\p{N}_])(?:an?|the)(?![\p{L}\p{N}_])/gu;

/** `str.isspace()`: U+FEFF is none, the ASCII separators U+001C to U+001F and U+0085 are. */
const SPACE = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const INNER_SPACE = new RegExp(SPACE, 'g');
const OUTER_SPACE = new RegExp(`^${SPACE}|${SPACE}$`, 'g');

const removeArticles = (text: string): string => text.replace(ARTICLE, ' ');
const collapse = (text: string): string => strip(text.replace(INNER_SPACE, ' '));
