/**
 * What can be read off English text without a model: names, dates, numbers, and the facts that encyclopedias put in set phrases.
 *
 * All of it is pattern matching on Wikipedia's habits ("directed by X", "Ada Stone (3 May 1901 – 7 June 1980) was an English ..."). It serves the
 * lexical agent, the floor under every learned policy.
 */
import { createAnalysis } from '../search/analyze.js';
import type { Passage } from '../search/passage.js';

const analysis = createAnalysis();

/** Index terms of a text: folded, stemmed, without stop words. */
export const termsOf = (text: string): string[] => analysis.tokenize(text).flatMap((word) => analysis.processTerm(word) ?? []);

/** Sentences, cut at a full stop before a capital; initials and titles do not end one. */
export const sentencesOf = (text: string): string[] => text.split(/(?<=[^\s.]{3}[.!?]["”)]?)\s+(?=[\p{Lu}"“(])/u);

const CAPITAL = String.raw`(?:(?:\p{Lu}\.)+|(?:Dr|Mr|Mrs|Ms|St|Jr|Sr|Lt|Gen)\.|\p{Lu}[\p{L}\p{M}\p{N}'’&-]*)`;
const LINK = String.raw`(?:of|the|de|del|della|der|den|di|da|do|dos|du|la|le|van|von|zu|bin|ibn|al|y|e|and\sthe|in)`;

/** A capitalised phrase: words in capitals, small linking words between them. */
export const NAME = String.raw`${CAPITAL}(?:\s+(?:${LINK}\s+){0,2}${CAPITAL})*`;

const MONTH = '(?:January|February|March|April|May|June|July|August|September|October|November|December)';

/** `7 January 1936`, `January 8, 1891`, or a year between 1000 and 2099. */
export const DATE = String.raw`(?:\d{1,2} ${MONTH} \d{3,4}|${MONTH} \d{1,2}, \d{3,4}|\b1\d{3}\b|\b20\d{2}\b)`;

/** All matches of a pattern source; the first group where there is one. */
export const allOf = (pattern: string, text: string): string[] =>
  [...text.matchAll(new RegExp(pattern, 'gu'))].map((match) => clean(match[1] ?? match[0]));

/** Names in order of appearance, without a sentence's opening function word. */
export const namesOf = (text: string): string[] =>
  allOf(NAME, text)
    .map((name) => name.replace(OPENING, ''))
    .filter((name) => name.length > 1 && !OPENING_ALONE.test(name));

/** Names, and pairs of names joined by a comma (`Springfield, Massachusetts`). */
export const placesOf = (text: string): string[] => [...namesOf(text), ...allOf(`${NAME}, ${NAME}`, text)];

const OPENING =
  /^(?:The|A|An|In|On|At|He|She|It|His|Her|Its|They|Their|This|That|These|As|After|Before|During|When|While|With|For|From|By|But|And|However|Although)\s+/;
const OPENING_ALONE =
  /^(?:The|A|An|In|On|At|He|She|It|His|Her|Its|They|Their|This|That|These|As|After|Before|During|When|While|With|For|From|By|But|And|However|Although|I|Who|What|Which|Where|How|Is|Are|Was|Were|Did|Do|Does)$/;

const clean = (text: string): string =>
  text
    .replace(/\s+/g, ' ')
    .replace(/['’]s$/u, '')
    .replace(/[.,'’]+$/u, '')
    .trim();

/** A relation a question may name, and the set phrases that state it on the page of its subject. */
export interface Relation {
  readonly name: string;
  readonly asked: RegExp;
  readonly stated: readonly string[];
}

/** Relations that lead from one page to the next. */
export const relations: readonly Relation[] = [
  {
    name: 'director',
    asked: /\bdirectors?\b/i,
    stated: [`directed (?:and \\w+ )?(?:and \\w+ )?by (${NAME})`, `(?:film|movie) by (${NAME})`, `(${NAME})['’]s? (?:\\w+ )?film`],
  },
  { name: 'composer', asked: /\bcomposer\b/i, stated: [`(?:music|score|composed|song)[^.]{0,30}? by (${NAME})`, `composer (${NAME})`] },
  {
    name: 'performer',
    asked: /\b(?:performer|singer)\b/i,
    stated: [`(?:performed|recorded|song|single|album|released)[^.]{0,40}? by (?:[\\w-]+ ){0,4}?(${NAME})`],
  },
  {
    name: 'author',
    asked: /\b(?:author|writer|screenwriter)\b/i,
    stated: [`(?:written|novel|book|authored|screenplay)[^.]{0,30}? by (?:[\\w-]+ ){0,3}?(${NAME})`],
  },
  { name: 'founder', asked: /\bfounder\b/i, stated: [`founded[^.]{0,30}? by (${NAME})`] },
  {
    name: 'father',
    asked: /\bfather\b(?!-in-law)/i,
    stated: [`(?:son|daughter|child) of (?:[a-z]+ ){0,3}?(${NAME})`, `father,? (?:was )?(${NAME})`],
  },
  {
    name: 'mother',
    asked: /\bmother\b(?!-in-law)/i,
    stated: [`(?:son|daughter|child) of [^.;]{3,80}? and (?:[a-z]+ ){0,4}?(${NAME})`, `mother,? (?:was )?(${NAME})`],
  },
  {
    name: 'spouse',
    asked: /\b(?:husband|wife|spouse)\b/i,
    stated: [
      `married (?:to )?(?:[a-z]+ ){0,2}?(${NAME})`,
      `(?:wife|husband|widow|consort|spouse),? (?:of |was |is )?(?:[a-z]+ )?(${NAME})`,
    ],
  },
  {
    name: 'child',
    asked: /\bchild\b/i,
    stated: [`(?:father|mother|parents?) of (?:[a-z]+ ){0,3}?(${NAME})`, `(?:son|daughter),? (${NAME})`],
  },
  {
    name: 'sibling',
    asked: /\b(?:sibling|brother|sister)\b/i,
    stated: [`(?:brother|sister|sibling)s? (?:of |was |is |to )?(?:[a-z]+ )?(${NAME})`],
  },
];

/** A thing that a page states about its own subject, and how a question asks for it. */
export interface Property {
  readonly name: string;
  readonly asked: RegExp;
  /** The value on a page; undefined where the page does not state it. */
  readonly read: (text: string) => string | undefined;
}

/** The first group of the first pattern that matches. */
export function firstOf(patterns: readonly string[], text: string): string | undefined {
  for (const pattern of patterns) {
    const [found] = allOf(pattern, text);
    if (found) return found;
  }
  return undefined;
}

const LIFE = String.raw`\(\s*(?:[^()]*?\b)??(${DATE})[^()]*?[–—-][^()]*?(${DATE})`;
const PLACE = String.raw`${CAPITAL}(?:(?:\s+(?:${LINK}\s+)?|,\s)${CAPITAL})*`;

/** When a page's subject was born. */
export const birthOf = (text: string): string | undefined => firstOf([`[Bb]orn (?:[^.()]{0,30}? )?(?:on )?(${DATE})`, LIFE], text);
/** When a page's subject died. */
export const deathOf = (text: string): string | undefined => {
  const life = new RegExp(LIFE, 'u').exec(text);
  return life ? clean(life[2]) : firstOf([`died (?:[^.()]{0,40}? )?(${DATE})`], text);
};
/** The nationality in "was an English painter". */
export const nationalityOf = (text: string): string | undefined =>
  firstOf([String.raw`\b(?:is|was) (?:an?|the) (?:[a-z-]+ ){0,3}?(\p{Lu}[\p{L}-]+)`], text);
/** The first year on a page: of a film, a book, a foundation. */
export const yearOf = (text: string): string | undefined => firstOf([String.raw`\b(1\d{3}|20\d{2})\b`], text);

export const properties: readonly Property[] = [
  {
    name: 'place of birth',
    asked: /\bwhere\b.*\bborn\b|place of birth|birthplace|\bcity\b.*\bborn\b/i,
    read: (text) => firstOf([`[Bb]orn (?:[^.()]{0,60}? )?(?:in|at) (${PLACE})`], text),
  },
  {
    name: 'place of death',
    asked: /\bwhere\b.*\b(?:die|died)\b|place of death/i,
    read: (text) => firstOf([`died (?:[^.()]{0,60}? )?(?:in|at) (${PLACE})`], text),
  },
  { name: 'date of birth', asked: /\bwhen\b.*\bborn\b|date of birth|birthday|\byear\b.*\bborn\b|\bborn\b.*\byear\b/i, read: birthOf },
  { name: 'date of death', asked: /\bwhen\b.*\b(?:die|died)\b|date of death/i, read: deathOf },
  { name: 'nationality', asked: /\bnationality\b|which country|what country/i, read: nationalityOf },
];

/** The year in a date. */
export const yearIn = (date: string | undefined): number | undefined => {
  const year = date && /\d{4}|\d{3}$/.exec(date)?.[0];
  return year ? Number(year) : undefined;
};

/** The page whose title has most of a name's words (and few others); undefined below two thirds. */
export function pageOf<P extends Passage>(name: string, passages: readonly P[]): P | undefined {
  const wanted = new Set(termsOf(name.replace(/\([^)]*\)/g, '')));
  let best: P | undefined;
  let bestScore = 2 / 3 - 1e-9;
  for (const passage of passages) {
    const title = new Set(termsOf(passage.title.replace(/\([^)]*\)/g, '')));
    const shared = [...title].filter((term) => wanted.has(term)).length;
    const score = (2 * shared) / (title.size + wanted.size || 1);
    if (score > bestScore) {
      best = passage;
      bestScore = score;
    }
  }
  return best;
}
