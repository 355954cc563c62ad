/**
 * Unicode as Hugging Face's tokenizers see it, whatever version this JavaScript engine has.
 *
 * A text is cut by its letters and numbers and put into NFC before it is merged, so another table gives other tokens: engines class newer letters as letters
 * and move newer combining marks, the library does not. Its classes stand in the pattern as ranges, and NFC is applied between the code points that the
 * library's NFC does not know.
 */
import { LETTERS, NORMALIZED, NUMBERS, WORDS } from './unicode-tables.js';

/** Ranges for a character class of a regular expression with the flag u: literally, as both notations have it. */
const classOf = (table: string): string =>
  table
    .trim()
    .split(' ')
    .map((range) =>
      range
        .split('-')
        .map((code) => String.fromCodePoint(Number.parseInt(code, 16)))
        .join('-'),
    )
    .join('');

const CLASSES: Readonly<Record<string, string>> = { L: classOf(LETTERS), N: classOf(NUMBERS) };

/** What of a character class with the flag u is a letter of a word to the library. */
export const WORD = classOf(WORDS);

/** What of a character class is white space to the library: to JavaScript U+FEFF is too, and U+0085 is not. */
export const SPACE = '\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

/** A pattern with the library's own ranges in place of `\p{L}` and `\p{N}`; negated properties within a class stay as they are. */
export function withFixedClasses(pattern: string): string {
  let within = false;
  return pattern.replace(/\\([pP])\{([LN])\}|\\[\s\S]|[[\]]/g, (text, sign: string | undefined, name: string) => {
    if (text === '[') within = true;
    else if (text === ']') within = false;
    if (!sign) return text;
    if (!within) return `[${sign === 'P' ? '^' : ''}${CLASSES[name]}]`;
    return sign === 'p' ? CLASSES[name] : text;
  });
}

const unknown = new RegExp(`([^${classOf(NORMALIZED)}]+)`, 'u');

/** NFC as the library applies it: what it does not know neither moves nor lets anything past. */
export function normalizeAsLibrary(text: string): string {
  if (!unknown.test(text)) return text.normalize('NFC');
  return text
    .split(unknown)
    .map((part, i) => (i % 2 === 0 ? part.normalize('NFC') : part))
    .join('');
}
