/**
 * From text to index terms: words, folded, without stop words, stemmed. Passages and queries take the same way.
 *
 * After Lucene's EnglishAnalyzer: possessive removed, lower case, stop words, Porter stems. Differs in folding accents
 * (Małgorzata and Malgorzata are one word) and in its longer stop list.
 */
import { stemmer } from 'stemmer';
import { englishStopWords } from './stop-words.js';

/** How text becomes terms. */
export interface AnalysisOptions {
  /** Lower-case words left out of index and queries. Default: Lucene's English list and question words. */
  readonly stopWords?: ReadonlySet<string>;
  /** Cut words down to their Porter stem. Default true. */
  readonly stem?: boolean;
}

/** Text as terms. */
export interface Analysis {
  /** Words of a text, in order. */
  tokenize(text: string): string[];
  /** The index term of a word; null for a stop word. */
  processTerm(word: string): string | null;
}

/** Builds the analysis. Terms are remembered, because few distinct words make up most of a corpus. */
export function createAnalysis({ stopWords = englishStopWords, stem = true }: AnalysisOptions = {}): Analysis {
  const terms = new Map<string, string | null>();
  const analyzeWord = (word: string): string | null => {
    const folded = foldAccents(word.toLowerCase());
    if (stopWords.has(folded)) return null;
    return stem ? stemmer(folded) : folded;
  };
  return {
    tokenize: (text) => text.replace(POSSESSIVE, '').replace(APOSTROPHE, '').split(BETWEEN_WORDS).filter(Boolean),
    processTerm: (word) => {
      let term = terms.get(word);
      if (term === undefined) {
        term = analyzeWord(word);
        terms.set(word, term);
      }
      return term;
    },
  };
}

const POSSESSIVE = /['’]s(?![\p{L}\p{N}])/giu;
const APOSTROPHE = /['’]/g;
const BETWEEN_WORDS = /[^\p{L}\p{N}\p{M}]+/u;

/** NFKD without its combining marks; letters that do not decompose are mapped by hand as Lucene's ASCIIFoldingFilter does. */
function foldAccents(word: string): string {
  if (/^[a-z0-9]*$/.test(word)) return word;
  return word
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .replace(/[łøđðħıþßæœ]/g, (letter) => UNDECOMPOSED[letter] ?? letter);
}

const UNDECOMPOSED: Readonly<Record<string, string>> = {
  ł: 'l',
  ø: 'o',
  đ: 'd',
  ð: 'd',
  ħ: 'h',
  ı: 'i',
  þ: 'th',
  ß: 'ss',
  æ: 'ae',
  œ: 'oe',
};
