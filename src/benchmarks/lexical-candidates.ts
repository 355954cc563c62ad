/**
 * Answer candidates in passages, ranked by what surrounds them: phrases of the type the question asks for, in sentences that hold its rare words.
 */
import type { Passage } from '../search/passage.js';
import { allOf, DATE, namesOf, placesOf, sentencesOf, termsOf } from './lexical-reading.js';

export type AnswerType = 'person' | 'place' | 'date' | 'year' | 'number' | 'name';

export interface Candidate {
  readonly text: string;
  /** Higher is better; comparable within one question only. */
  readonly score: number;
}

/** What kind of thing is asked for, by the question's own words. */
export function answerTypeOf(question: string): AnswerType {
  if (/\b(?:what|which|in what|in which) year\b|\byears?\?*$/i.test(question)) return 'year';
  if (/\bwhen\b|\bwhat date\b|\bwhich date\b|\bdate of\b/i.test(question)) return 'date';
  if (/\bhow (?:many|much|old|long|far|tall|high|large|big)\b|\bwhat (?:number|percentage)\b|\bpopulation\b/i.test(question))
    return 'number';
  if (
    /\bwho\b|\bwhom\b|\b(?:which|what) (?:\w+ )?(?:actor|actress|singer|author|writer|director|composer|man|woman|person|player)\b/i.test(
      question,
    )
  )
    return 'person';
  if (
    /\bwhere\b|\b(?:what|which) (?:\w+ )?(?:city|country|state|county|town|place|island|river|region|continent|capital)\b/i.test(question)
  )
    return 'place';
  return 'name';
}

/** Candidates from the passages, best first; a phrase that only repeats the question is none. */
export function rankCandidates(question: string, passages: readonly Passage[]): Candidate[] {
  const type = answerTypeOf(question);
  const asked = new Set(termsOf(question));
  const weight = rarity(asked, passages);
  const scores = new Map<string, { text: string; score: number }>();
  for (const [place, passage] of passages.entries()) {
    const pageScore = sumOf(new Set(termsOf(`${passage.title} ${passage.text}`)), weight);
    for (const [line, sentence] of sentencesOf(passage.text).entries()) {
      const context = new Set([...termsOf(sentence), ...termsOf(passage.title)]);
      const score = (sumOf(context, weight) + 0.5 * pageScore) / (1 + 0.15 * place) / (1 + 0.05 * line);
      for (const text of phrases(type, sentence)) add(text, score * fitness(type, text, sentence, asked));
    }
    if (type === 'person' || type === 'name') add(passage.title.replace(/\s*\([^)]*\)$/, ''), pageScore / (1 + 0.15 * place));
  }
  return [...scores.values()].sort((x, y) => y.score - x.score);

  function add(text: string, score: number): void {
    const terms = termsOf(text);
    if (terms.length === 0 || terms.every((term) => asked.has(term))) return;
    if (terms.some((term) => asked.has(term))) score *= 0.6; // partly a repetition
    const key = terms.join(' ');
    const known = scores.get(key);
    // The best context counts; seeing the phrase again adds a little.
    if (known) scores.set(key, { text: known.text, score: Math.max(known.score, score) + 0.1 * Math.min(known.score, score) });
    else scores.set(key, { text, score });
  }
}

function phrases(type: AnswerType, sentence: string): string[] {
  if (type === 'year') return allOf(String.raw`\b(1\d{3}|20\d{2})\b`, sentence);
  if (type === 'date') return allOf(`(${DATE})`, sentence);
  if (type === 'number')
    return allOf(String.raw`(?<![\d,.])(\d[\d,.]*\d|\d|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(?![\d,])`, sentence);
  if (type === 'place') return placesOf(sentence);
  return namesOf(sentence);
}

/** How well a phrase fits the type, by its own form and the words before it, and how near a word of the question stands. */
function fitness(type: AnswerType, text: string, sentence: string, asked: ReadonlySet<string>): number {
  const at = Math.max(0, sentence.indexOf(text));
  return nearness(sentence, at, at + text.length, asked) * formOf(type, text, sentence.slice(0, at));
}

function formOf(type: AnswerType, text: string, before: string): number {
  const words = text.split(' ').length;
  if (type === 'number') return /^(?:1[89]|20)\d\d$/.test(text) ? 0.4 : 1;
  if (type === 'date' || type === 'year') return 1;
  if (DEMONYM_OR_MONTH.test(text)) return 0.3;
  if (type === 'person') return (words === 2 || words === 3) && !ORGANISATION.test(text) ? 1 : 0.4;
  if (type === 'place') return /\b(?:in|at|from|of|near|to)\s+(?:the\s+)?$/.test(before) ? 1 : 0.4;
  return 1;
}

/** 1 beside a question word, falling with the distance in words to the nearest. */
function nearness(sentence: string, start: number, end: number, asked: ReadonlySet<string>): number {
  const left = sentence.slice(0, start).split(/\s+/).filter(Boolean).reverse();
  const right = sentence.slice(end).split(/\s+/).filter(Boolean);
  const distance = (words: readonly string[]) => words.findIndex((word) => termsOf(word).some((term) => asked.has(term)));
  const nearest = [distance(left), distance(right)].filter((steps) => steps >= 0);
  return 1 / (1 + 0.08 * (nearest.length > 0 ? Math.min(...nearest) : 15));
}

const DEMONYM_OR_MONTH =
  /^(?:\p{Lu}\p{L}+(?:ish|ese|ian|ean|can|ch)|German|Dutch|Greek|Indian|Korean|January|February|March|April|May|June|July|August|September|October|November|December)$/u;
const ORGANISATION =
  /\b(?:University|College|School|Records|League|Association|Company|Award|Awards|Academy|Party|Club|Studios|Pictures|Street|City|County|River|Church|War|States|Kingdom|Hall|Museum|Band|Festival|Cup|Series|Show|House|Olympics)\b/;

/** Words of the question that few passages hold weigh more. */
function rarity(asked: ReadonlySet<string>, passages: readonly Passage[]): Map<string, number> {
  const sets = passages.map(({ title, text }) => new Set(termsOf(`${title} ${text}`)));
  return new Map([...asked].map((term) => [term, Math.log(1 + (sets.length + 1) / (0.5 + sets.filter((set) => set.has(term)).length))]));
}

const sumOf = (terms: ReadonlySet<string>, weight: ReadonlyMap<string, number>): number =>
  [...terms].reduce((sum, term) => sum + (weight.get(term) ?? 0), 0);
