/**
 * A policy without a model: it searches, reads by pattern and answers, in Search-R1's words. The floor under every learned policy, and a check that
 * questions, search, protocol and scoring fit together.
 *
 * Three plans, picked by the question's form: *compare* ("which film has the director who died earlier, A or B?"), *follow* ("where was the father of X born?")
 * and, for all others and wherever those fail, *rank* (search, search again for a name found, take the best-scored candidate of the asked type).
 * Deterministic, blind to gold answers. The patterns were written with development halves in view (`split.ts`).
 *
 * Most of what it gets right is *compare*, where a guess is right half the time: read its 2Wiki number with that in mind.
 */
import { checkObject, checkText } from '../arguments.js';
import { type Passage, SearchError, type Searcher } from '../search/passage.js';
import { rankCandidates } from './lexical-candidates.js';
import {
  birthOf,
  deathOf,
  firstOf,
  namesOf,
  nationalityOf,
  pageOf,
  properties,
  type Relation,
  relations,
  termsOf,
  yearIn,
  yearOf,
} from './lexical-reading.js';

/** One turn in the protocol's words: what the agent wrote, and what the search put in after it. */
export interface LexicalTurn {
  /** What it wrote: a thought and a query, or a thought and the answer. */
  readonly own: string;
  /** What the search brought; absent in the last turn. */
  readonly observation?: string;
}

/** What the agent did for one question. */
export interface LexicalEpisode {
  /** In order; the last answers. */
  readonly turns: readonly LexicalTurn[];
  /** The whole episode after the prompt: own text and observations in order. */
  readonly text: string;
  /** Searches that were asked for. */
  readonly searches: number;
  /** Of these, those that failed: an episode goes on without their passages. */
  readonly failedSearches: number;
  /** Its answer; empty where it found none. */
  readonly answer: string;
  /** Which plan gave the answer. */
  readonly plan: 'compare' | 'follow' | 'rank';
}

/** How far the agent goes. */
export interface LexicalAgentOptions {
  /** Searches before it must answer. Default 4 (Search-R1). */
  readonly maxSearches?: number;
  /** Passages a search. Default 3 (Search-R1). */
  readonly passagesPerSearch?: number;
  /** Ends a search that is under way, by throwing the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Answers one question.
 *
 * @example
 * ```ts
 * import { runLexicalAgent } from 'search-e1/benchmarks';
 * import { createSearcher } from 'search-e1/search';
 *
 * const searcher = createSearcher([{ id: '1', title: 'Eiffel Tower', text: 'The Eiffel Tower was designed by Gustave Eiffel in Paris.' }]);
 * const { answer, searches } = await runLexicalAgent('Who designed the Eiffel Tower?', searcher);
 * answer; // 'Gustave Eiffel in Paris'
 * searches > 0; // true
 * ```
 */
export async function runLexicalAgent(question: string, searcher: Searcher, options: LexicalAgentOptions = {}): Promise<LexicalEpisode> {
  checkText('runLexicalAgent', 'question', question);
  checkObject('runLexicalAgent', 'searcher', searcher, ['search']); // without one every search would count as failed
  const reader = openReader(searcher, options);
  const compared = await compare(question, reader);
  if (compared !== undefined) return reader.answer('compare', compared);
  const followed = await follow(question, reader);
  if (followed !== undefined) return reader.answer('follow', followed);
  return reader.answer('rank', await rank(question, reader));
}

/** The episode as it grows: searches within the budget, all passages seen so far. */
interface Reader {
  readonly seen: Passage[];
  /** Passages for a query; none once the budget is spent or the query was asked before. */
  search(thought: string, query: string): Promise<readonly Passage[]>;
  /** The page of a name: among those seen, else by a search. */
  page(name: string): Promise<Passage | undefined>;
  answer(plan: LexicalEpisode['plan'], answer: string): LexicalEpisode;
}

function openReader(searcher: Searcher, { maxSearches = 4, passagesPerSearch = 3, signal }: LexicalAgentOptions): Reader {
  const turns: LexicalTurn[] = [];
  const asked = new Set<string>();
  const seen: Passage[] = [];
  let failedSearches = 0;
  const found = async (query: string): Promise<readonly Passage[] | undefined> => {
    try {
      return (await searcher.search([query], passagesPerSearch, { signal }))[0];
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof SearchError)) throw error;
      failedSearches++;
      return undefined;
    }
  };
  const search = async (thought: string, query: string) => {
    if (asked.size >= maxSearches || asked.has(query) || query.trim() === '') return [];
    asked.add(query);
    const passages = await found(query);
    const shown = passages?.map(({ title, text }, i) => `Doc ${i + 1}(Title: ${title}) ${text}`).join('\n');
    turns.push({
      own: `<think> ${thought} </think>\n<search> ${query} </search>`,
      observation: `\n\n<information>${shown ?? 'The search failed.'}</information>\n\n`,
    });
    if (!passages) return [];
    for (const passage of passages) if (!seen.some(({ id }) => id === passage.id)) seen.push(passage);
    return passages;
  };
  return {
    seen,
    search,
    page: async (name) => pageOf(name, seen) ?? pageOf(name, await search(`I need the page of ${name}.`, name)),
    answer: (plan, answer) => {
      turns.push({ own: `<think> The passages point to ${answer}. </think>\n<answer> ${answer} </answer>` });
      return {
        turns,
        text: turns.map(({ own, observation = '' }) => own + observation).join(''),
        searches: asked.size,
        failedSearches,
        answer,
        plan,
      };
    },
  };
}

// --- compare: two named things and a property -------------------------------------------------------------------------------------

const CLOSED = /^(?:do|does|did|are|is|was|were|has|have|had|can)\b/i;

async function compare(question: string, reader: Reader): Promise<string | undefined> {
  const pair = pairOf(question);
  if (!pair) return undefined;
  const { left, right, choice } = pair;
  const pages = [await subjectOf(left, question, reader), await subjectOf(right, question, reader)];
  if (!choice) return sameOrNot(question, pages);
  const wanted = measureAsked(question);
  const [a, b] = pages.map((page) => page && wanted.measure(page.text));
  if (a !== undefined && b !== undefined && a !== b) return a > b === wanted.largest ? left : right;
  const overlap = pages.map((page) => sharedTerms(question, page?.text ?? ''));
  return overlap[0] >= overlap[1] ? left : right;
}

/** The two things a question sets side by side: to choose from (`A or B`), or to judge together (`Are A and B both ...?`). */
function pairOf(question: string): { left: string; right: string; choice: boolean } | undefined {
  const bare = question.trim().replace(/[?\s]+$/, '');
  const choice = /(?:,|\bout of|\bbetween)\s+((?:[^,]|,(?!\s+[^,]+ or )).*?),?\s+(?:or|and)\s+(.+)$/u.exec(bare);
  if (choice && /\bor\b|out of|between/.test(bare) && /\p{Lu}|\d/u.test(choice[2]))
    return { left: choice[1].trim(), right: choice[2].trim(), choice: true };
  const inFront =
    /^(?:who (?:is|was|were) (?:\w+ )?(?:older|younger|first|earlier|later),? |(?:is|was|are|were|did|does) )(.+?) or (.+?)(?=$|,| (?:a|an|the|born|first|older|located|released|public|in)\b)/iu.exec(
      bare,
    );
  if (inFront && /^\p{Lu}/u.test(inFront[2])) return { left: inFront[1].trim(), right: inFront[2].trim(), choice: true };
  if (!CLOSED.test(bare)) return undefined;
  const names =
    /^\w+\s+(?:both\s+)?(?:the\s+)?(?:films?\s+|director of film\s+|directors of films\s+)?(.+?),?\s+and\s+(?:director of film\s+)?(.+?)(?=,|\s+(?:[a-z]+(?:\s|$))|$)/u.exec(
      bare,
    );
  return names ? { left: names[1].trim(), right: names[2].trim(), choice: false } : undefined;
}

/** The page to measure: the thing's own, or its director's where the question asks about directors. */
async function subjectOf(name: string, question: string, reader: Reader): Promise<Passage | undefined> {
  const page = await reader.page(name);
  const role = relations.find(({ asked, name: relation }) => (relation === 'director' || relation === 'composer') && asked.test(question));
  if (!page || !role) return page;
  const person = firstOf(role.stated, page.text);
  return person ? await reader.page(person) : undefined;
}

function measureAsked(question: string): { measure: (text: string) => number | undefined; largest: boolean } {
  const lived = /\blived longer\b|\blonger\b.*\blife\b/i.test(question);
  const largest = /\b(?:later|younger|last|latest|newer|more recent(?:ly)?|youngest|longer)\b/i.test(question);
  if (lived) {
    const years = (text: string) => {
      const [born, died] = [yearIn(birthOf(text)), yearIn(deathOf(text))];
      return born !== undefined && died !== undefined ? died - born : undefined;
    };
    return { measure: years, largest: true };
  }
  const ofLife = /\b(?:died|dead|death)\b/i.test(question)
    ? deathOf
    : /\b(?:born|older|younger|oldest|youngest)\b/i.test(question)
      ? birthOf
      : yearOf;
  return { measure: (text) => timeOf(ofLife(text)), largest };
}

/** A date as one number, for dates of the same year. */
function timeOf(date: string | undefined): number | undefined {
  const year = yearIn(date);
  if (year === undefined || date === undefined) return undefined;
  const time = /[A-Z]/.test(date) ? Date.parse(`${date} UTC`) : Number.NaN;
  return Number.isNaN(time) ? year : year + new Date(time).getUTCMonth() / 12 + new Date(time).getUTCDate() / 400;
}

function sameOrNot(question: string, pages: readonly (Passage | undefined)[]): string {
  const [left, right] = pages.map((page) => page?.text ?? '');
  if (/\bnationality|\bcountry\b/i.test(question)) {
    const [a, b] = [nationalityOf(left), nationalityOf(right)];
    return a !== undefined && b !== undefined && a !== b ? 'no' : 'yes';
  }
  const asked = termsOf(question).filter(
    (term) => !['both', 'same'].includes(term) && !pages.some((page) => page && termsOf(page.title).includes(term)),
  );
  const [l, r] = [new Set(termsOf(left)), new Set(termsOf(right))];
  return asked.filter((term) => l.has(term) === r.has(term)).length >= asked.length / 2 ? 'yes' : 'no';
}

// --- follow: from the named page along the asked relations to the asked property --------------------------------------------------

async function follow(question: string, reader: Reader): Promise<string | undefined> {
  const property = properties.find(({ asked }) => asked.test(question));
  const inQuestion = relations.flatMap((relation) => {
    const match = relation.asked.exec(question);
    return match ? [{ relation, at: match.index }] : [];
  });
  if (!property && ((inQuestion.length === 0 && !compoundSteps(question)) || !/^(?:who|what|which)\b/i.test(question))) return undefined;
  const found = await reader.search('I look for what the question names.', question);
  const start = namedPage(question, found) ?? found[0];
  if (!start) return undefined;
  const at = Math.max(0, question.toLowerCase().indexOf(start.title.toLowerCase().slice(0, 8)));
  const after = inQuestion.filter((step) => step.at > at).sort((x, y) => x.at - y.at);
  const before = inQuestion.filter((step) => step.at <= at).sort((x, y) => y.at - x.at);
  const steps = compoundSteps(question) ?? [...after, ...before].map(({ relation }) => relation);
  let page: Passage | undefined = start;
  let name: string | undefined;
  for (const step of steps) {
    name = page && firstOf(step.stated, page.text);
    if (!name) return undefined;
    if (property || step !== steps[steps.length - 1]) page = await reader.page(name);
  }
  return property ? page && property.read(page.text) : name;
}

/** Two steps in one word: a father-in-law is the spouse's father, a paternal grandmother the father's mother. */
function compoundSteps(question: string): Relation[] | undefined {
  const match = /\b(father|mother)-in-law\b|\b(paternal|maternal) grand(father|mother)\b/i.exec(question);
  if (!match) return undefined;
  const names = match[1] ? ['spouse', match[1]] : [match[2].toLowerCase() === 'paternal' ? 'father' : 'mother', match[3]];
  return names.map((wanted) => relations.find(({ name }) => name === wanted.toLowerCase()) as Relation);
}

/** The found page whose title stands in the question, the longest such title. */
function namedPage(question: string, passages: readonly Passage[]): Passage | undefined {
  const words = new Set(termsOf(question));
  return passages
    .filter(({ title }) => termsOf(title).length > 0 && termsOf(title.replace(/\([^)]*\)/g, '')).every((term) => words.has(term)))
    .sort((x, y) => termsOf(y.title).length - termsOf(x.title).length)[0];
}

// --- rank: two searches, then the best candidate ------------------------------------------------------------------------------------

async function rank(question: string, reader: Reader): Promise<string> {
  await reader.search('I look for what the question names.', question);
  const bridge = bridgeName(question, reader.seen);
  if (bridge) await reader.search(`${bridge} may be the link.`, `${bridge} ${question}`);
  return rankCandidates(question, reader.seen)[0]?.text ?? reader.seen[0]?.title ?? 'unknown';
}

/** The name in the passages found that is not in the question and stands in the sentence most like it. */
function bridgeName(question: string, passages: readonly Passage[]): string | undefined {
  const words = new Set(termsOf(question));
  let best: string | undefined;
  let bestScore = 0;
  for (const [place, passage] of passages.entries()) {
    const score = sharedTerms(question, `${passage.title} ${passage.text}`) / (1 + place);
    const fresh = namesOf(passage.text).find((name) => name.includes(' ') && termsOf(name).every((term) => !words.has(term)));
    if (fresh && score > bestScore) {
      best = fresh;
      bestScore = score;
    }
  }
  return best;
}

function sharedTerms(left: string, right: string): number {
  const words = new Set(termsOf(right));
  return new Set(termsOf(left).filter((term) => words.has(term))).size;
}
