/**
 * Questions about a Tinypedia world: one way of asking for each of the seven benchmarks, in miniature.
 *
 * A question is drawn as a chain of steps through the world; its text is made from the chain, and the chain stays in its metadata, so that
 * every answer can be checked and every mistake explained. Eight of the 62 ways of joining two relations are held out of everything but
 * Bamboogle-mini.
 */
import { type Random, random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { type Entity, type EntityType, type Half, lookUp, RELATIONS, type Relation, type World } from './world.js';

/** How a question is asked. `threeHop` and `fourHop` nest as `twoHop` does; `heldOut` is a `twoHop` over a held-out pair. */
export type QuestionKind = 'oneHop' | 'paraphrase' | 'possessive' | 'twoHop' | 'comparison' | 'threeHop' | 'fourHop' | 'heldOut';

/** One look-up: what `relation` of `entity` is. */
export interface Step {
  /** Whose page. */
  readonly entity: string;
  /** What is looked up on it. */
  readonly relation: Relation;
  /** What it says. */
  readonly value: string;
}

/** `Question.metadata` of every Tinypedia question. */
export interface TinypediaMetadata {
  /** How the question was made. */
  readonly kind: QuestionKind;
  /** Searches that a perfect agent needs. */
  readonly hops: number;
  /** In the order of the searches: each step starts at the value of the one before it. Of a comparison: the two births. */
  readonly chain: readonly Step[];
}

/** A question with the chain of facts that answers it. */
export interface TinypediaQuestion extends Question {
  readonly metadata: TinypediaMetadata & Readonly<Record<string, unknown>>;
}

/** The mini sets in the order of the paper's tables. */
export const MINI_SETS = [
  'nq-mini',
  'triviaqa-mini',
  'popqa-mini',
  'hotpotqa-mini',
  '2wiki-mini',
  'musique-mini',
  'bamboogle-mini',
] as const;
/** One of the classroom's seven sets. */
export type MiniSet = (typeof MINI_SETS)[number];

/** The shares of the kinds in each set (the classroom prototype's). */
export const SET_KINDS: Readonly<Record<MiniSet, Readonly<Partial<Record<QuestionKind, number>>>>> = {
  'nq-mini': { oneHop: 1 },
  'triviaqa-mini': { paraphrase: 1 },
  'popqa-mini': { possessive: 1 },
  'hotpotqa-mini': { twoHop: 1 },
  '2wiki-mini': { twoHop: 0.6, comparison: 0.4 },
  'musique-mini': { threeHop: 0.6, fourHop: 0.4 },
  'bamboogle-mini': { heldOut: 1 },
};

/** Pairs of relations, first look-up first, that only Bamboogle-mini asks for. */
export const HELD_OUT_PAIRS: readonly (readonly [Relation, Relation])[] = [
  ['author', 'birthplace'],
  ['director', 'spouse'],
  ['mayor', 'employer'],
  ['founder', 'mother'],
  ['president', 'birthyear'],
  ['spouse', 'employer'],
  ['publisher', 'base'],
  ['birthplace', 'river'],
];

/** All 62 pairs of relations that can follow each other. */
export const RELATION_PAIRS: readonly (readonly [Relation, Relation])[] = RELATIONS.flatMap((first) =>
  RELATIONS.filter((second) => second.of === first.to).map((second) => [first.name, second.name] as const),
);

/**
 * The first `n` questions of one mini set about one half of `world`, all different.
 *
 * A set's questions are one sequence, drawn without a look at any other set: question 7 is the same question whatever `n` is and whatever else
 * is asked for, so an id names one question of a world. What two sets could both ask (two hops: HotpotQA-mini and 2Wiki-mini) belongs to one of
 * them by a draw from the question's own words, so sets share no question however long they are.
 *
 * @throws RangeError where `n` is no count, or the world has fewer such questions.
 *
 * @example
 * ```ts
 * import { makeQuestions, makeWorld } from 'search-e1/tinypedia';
 *
 * makeQuestions(makeWorld(1), 'hotpotqa-mini', 'eval', 2).map(({ metadata }) => metadata.hops); // [ 2, 2 ]
 * ```
 */
export function makeQuestions(world: World, set: MiniSet, half: Half, n: number): TinypediaQuestion[] {
  if (!Number.isInteger(n) || n < 0) throw new RangeError(`makeQuestions: expected a whole number of questions for ${set}, got ${n}`);
  const source = random(world.seed, 'tinypedia', 'questions', set, half);
  const asked = new Set<string>();
  const questions: TinypediaQuestion[] = [];
  while (questions.length < n) {
    const kind = drawKind(SET_KINDS[set], source); // once a question, not once a try: what is refused must not change the shares of the kinds
    const drawn = drawNew(kind);
    if (!drawn)
      throw new RangeError(
        `Tinypedia ${world.seed} has fewer than ${n} questions for ${set} (${half}): 4,000 draws in a row gave no new ${kind}; ask for at most ${questions.length}`,
      );
    questions.push({ ...drawn, id: `${half}-${set}-${questions.length}`, dataset: set });
  }
  return questions;

  function drawNew(kind: QuestionKind): TinypediaQuestion | null {
    for (let tries = 0; tries < 4000; tries++) {
      const drawn = drawQuestion(world, kind, source, { half });
      const key = sameQuestion(drawn);
      if (asked.has(key) || ownerOf(world, kind, key) !== set) continue;
      asked.add(key);
      return drawn;
    }
    return null;
  }
}

/** Equal for questions that ask the same: a comparison's two names may stand in either order. */
const sameQuestion = ({ question, metadata: { kind, chain } }: TinypediaQuestion): string =>
  kind === 'comparison'
    ? chain
        .map((step) => step.entity)
        .sort()
        .join(' or ')
    : question;

/** The one set that may ask it, of those that ask questions of its kind. */
function ownerOf(world: World, kind: QuestionKind, key: string): MiniSet {
  const sets = MINI_SETS.filter((set) => SET_KINDS[set][kind] !== undefined);
  return sets.length === 1 ? sets[0] : random(world.seed, 'tinypedia', 'owner', key).pick(sets);
}

/** One kind, with the probability that its share gives. */
export function drawKind<K extends string>(shares: Readonly<Partial<Record<K, number>>>, source: Random): K {
  const kinds = Object.entries(shares) as [K, number][];
  let left = source.uniform() * kinds.reduce((sum, [, share]) => sum + share, 0);
  for (const [kind, share] of kinds) {
    left -= share;
    if (left < 0) return kind;
  }
  return kinds[kinds.length - 1][0];
}

/** One question of a kind, its relations drawn evenly. A possessive question asks for an entity with a rare name. */
export function drawQuestion(world: World, kind: QuestionKind, source: Random, { half }: { readonly half?: Half } = {}): TinypediaQuestion {
  for (let tries = 0; tries < 1000; tries++) {
    const chain = kind === 'comparison' ? drawBirths(world, source, half) : drawChain(world, kind, source, half);
    if (!chain) continue;
    const answer = kind === 'comparison' ? earlier(chain).entity : chain[chain.length - 1].value;
    return {
      id: kind,
      dataset: 'tinypedia',
      question: wording(kind, chain, source),
      goldenAnswers: [answer],
      metadata: { kind, hops: chain.length, chain },
    };
  }
  throw new RangeError(`Tinypedia ${world.seed} has no ${kind} question${half ? ` in its ${half} half` : ''}`);
}

/** Of a comparison's two steps the one with the earlier year. */
export const earlier = ([a, b]: readonly Step[]): Step => (a.value < b.value ? a : b);

/** `the mother of the author of Amber Falcon` for the steps author, mother from Amber Falcon. */
export const nounPhrase = (chain: readonly Step[]): string =>
  `${chain
    .map((step) => `the ${step.relation} of `)
    .reverse()
    .join('')}${chain[0].entity}`;

/** Whether only Bamboogle-mini may look up `second` of what `first` led to. */
export const isHeldOut = (first: Relation, second: Relation): boolean => HELD_OUT_PAIRS.some(([a, b]) => a === first && b === second);

/** Every run of `length` relations that can follow each other, without the held-out pairs. */
function relationChains(length: number): readonly (readonly Relation[])[] {
  if (length === 1) return RELATIONS.map((relation) => [relation.name]);
  const next = (chain: readonly Relation[]) =>
    RELATION_PAIRS.filter(([a, b]) => a === chain[chain.length - 1] && !isHeldOut(a, b)).map(([, b]) => b);
  return relationChains(length - 1).flatMap((chain) => next(chain).map((relation) => [...chain, relation]));
}

const CHAINS: Readonly<Record<Exclude<QuestionKind, 'comparison'>, readonly (readonly Relation[])[]>> = {
  oneHop: relationChains(1),
  paraphrase: relationChains(1),
  possessive: relationChains(1),
  twoHop: relationChains(2),
  threeHop: relationChains(3),
  fourHop: relationChains(4),
  heldOut: HELD_OUT_PAIRS,
};

/** Steps from a random entity, or null where they come back to an entity already named. */
function drawChain(world: World, kind: Exclude<QuestionKind, 'comparison'>, source: Random, half: Half | undefined): Step[] | null {
  const relations = source.pick(CHAINS[kind]);
  const type = RELATIONS.find((relation) => relation.name === relations[0])?.of;
  const starts = candidates(world, type, half).filter((entity) => kind !== 'possessive' || entity.tail);
  if (starts.length === 0) return null;
  const chain: Step[] = [];
  let entity = source.pick(starts).name;
  for (const relation of relations) {
    const value = lookUp(world, entity, relation);
    if (value === entity || chain.some((step) => step.entity === value)) return null;
    chain.push({ entity, relation, value });
    entity = value;
  }
  return chain;
}

function drawBirths(world: World, source: Random, half: Half | undefined): Step[] | null {
  const persons = candidates(world, 'person', half);
  const births = [0, 1].map(() => {
    const entity = source.pick(persons).name;
    return { entity, relation: 'birthyear' as const, value: lookUp(world, entity, 'birthyear') };
  });
  return births[0].value === births[1].value ? null : births;
}

const candidatesOf = new WeakMap<World, Map<string, readonly Entity[]>>();

/** The entities of a type, remembered for each world: pretraining draws tens of thousands of questions from it. */
function candidates(world: World, type: EntityType | undefined, half: Half | undefined): readonly Entity[] {
  const known = candidatesOf.get(world) ?? new Map<string, readonly Entity[]>();
  candidatesOf.set(world, known);
  const key = `${type} ${half}`;
  const entities = known.get(key) ?? world.entities.filter((entity) => entity.type === type && (!half || entity.half === half));
  known.set(key, entities);
  return entities;
}

function wording(kind: QuestionKind, chain: readonly Step[], source: Random): string {
  const { entity, relation } = chain[0];
  if (kind === 'comparison') return `who is born first , ${entity} or ${chain[1].entity} ?`;
  const asked = chain[chain.length - 1].relation;
  const pronoun = RELATIONS.find((each) => each.name === asked)?.to === 'person' ? 'who' : 'what';
  if (kind === 'possessive') return `${pronoun} is ${entity}'s ${relation} ?`;
  if (kind === 'paraphrase')
    return source.pick([
      `tell me the ${relation} for ${entity} .`,
      `name the ${relation} , ${entity} .`,
      `${entity} ${PARAPHRASES[relation]} ?`,
    ]);
  return `${pronoun} is ${nounPhrase(chain)} ?`;
}

/** TriviaQA-mini's third wording does not name the relation. */
export const PARAPHRASES: Readonly<Record<Relation, string>> = {
  birthplace: 'was born where',
  mother: 'is child of who',
  spouse: 'is married to who',
  employer: 'earns money where',
  birthyear: 'was born when',
  country: 'lies in which nation',
  river: 'lies on which stream',
  mayor: 'is led by who',
  author: 'was written by who',
  publisher: 'was printed by who',
  director: 'was filmed by who',
  composer: 'was scored by who',
  founder: 'was started by who',
  base: 'has its seat where',
  capital: 'is ruled from where',
  president: 'is ruled by who',
  mouth: 'ends where',
  source: 'begins where',
};
