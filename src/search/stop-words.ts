/**
 * English words that say nothing about which passage is meant.
 *
 * The first list is Lucene's (EnglishAnalyzer, and with it Pyserini's BM25). It was made for documents: the second adds what a
 * question is made of, since "which", "did" or "where" would otherwise reward passages that happen to hold them.
 */
const LUCENE =
  'a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with';

const QUESTION_WORDS =
  'who whom whose what which when where why how do does did has have had were been being am can could would should may might must from';

export const englishStopWords: ReadonlySet<string> = new Set(`${LUCENE} ${QUESTION_WORDS}`.split(' '));
