/**
 * Tinypedia: a seeded encyclopedia small enough for a classroom, in which every question can be answered by following links.
 *
 * Two halves of 594 entities share no name and never link to each other: the agent is trained on questions about one and evaluated on the
 * other. A passage is an infobox: name, type, then `relation value` clauses in shuffled order, with the relation directly before its value
 * and no word shared between relations and types. Wordings that share prepositions ("written by", "directed by") cost a small policy
 * several times the pretraining.
 */
import { type Random, random } from '../random.js';
import type { Passage } from '../search/passage.js';
import { type EntityType, isTailName, isWoman, NAME_POOLS, YEARS } from './names.js';

export type { EntityType } from './names.js';
export type Half = 'train' | 'eval';
export type Relation = (typeof RELATIONS)[number]['name'];

/** What each type of entity has, and what it leads to. */
export const RELATIONS = [
  { name: 'birthplace', of: 'person', to: 'town' },
  { name: 'mother', of: 'person', to: 'person' },
  { name: 'spouse', of: 'person', to: 'person' },
  { name: 'employer', of: 'person', to: 'firm' },
  { name: 'birthyear', of: 'person', to: 'year' },
  { name: 'country', of: 'town', to: 'nation' },
  { name: 'river', of: 'town', to: 'stream' },
  { name: 'mayor', of: 'town', to: 'person' },
  { name: 'author', of: 'book', to: 'person' },
  { name: 'publisher', of: 'book', to: 'firm' },
  { name: 'director', of: 'film', to: 'person' },
  { name: 'composer', of: 'film', to: 'person' },
  { name: 'founder', of: 'firm', to: 'person' },
  { name: 'base', of: 'firm', to: 'town' },
  { name: 'capital', of: 'nation', to: 'town' },
  { name: 'president', of: 'nation', to: 'person' },
  { name: 'mouth', of: 'stream', to: 'town' },
  { name: 'source', of: 'stream', to: 'nation' },
] as const satisfies readonly { name: string; of: EntityType; to: EntityType | 'year' }[];

/** Entities of each type in one half: 594. */
export const ENTITY_COUNTS: Readonly<Record<EntityType, number>> = {
  person: 260,
  town: 60,
  nation: 14,
  stream: 25,
  book: 110,
  film: 80,
  firm: 45,
};

/** One true sentence: `value` is the name of another entity, or a year. */
export interface Fact {
  readonly relation: Relation;
  readonly value: string;
}

export interface Entity {
  readonly name: string;
  readonly type: EntityType;
  readonly half: Half;
  /** True where the name holds a rare word. */
  readonly tail: boolean;
  /** In the order in which the passage tells them. */
  readonly facts: readonly Fact[];
}

/** An encyclopedia: entities, their facts, and a page on each. */
export interface World {
  /** What it was drawn from. */
  readonly seed: number;
  /** People, places, works and firms. */
  readonly entities: readonly Entity[];
  /** Names are unique. */
  readonly byName: ReadonlyMap<string, Entity>;
  /** One an entity, in the order of `entities`; its title is the entity's name. */
  readonly passages: readonly Passage[];
  /** The page on an entity. */
  readonly passageByName: ReadonlyMap<string, Passage>;
}

export interface WorldOptions {
  /** Only one half of the world, with the same names and facts as in the whole; default both. */
  readonly half?: Half;
  /** Share of the names with a rare word that are kept when names are drawn; default 1. Worlds of pretraining: 0.1. */
  readonly tailShare?: number;
}

/**
 * The encyclopedia of `seed`: 1,188 passages, or 594 for one half. The same seed gives the same world.
 *
 * @example
 * ```ts
 * import { makeWorld } from 'search-e1/tinypedia';
 *
 * const { entities, passageByName } = makeWorld(1);
 * passageByName.get(entities[0].name)?.title === entities[0].name; // true
 * ```
 */
export function makeWorld(seed: number, { half, tailShare = 1 }: WorldOptions = {}): World {
  const taken = new Set<string>();
  const makeEntities = (each: Half) => makeHalf(each, random(seed, 'tinypedia', each), taken, tailShare);
  // The eval half avoids the names of the train half, so it cannot be drawn alone.
  const train = makeEntities('train');
  const halves = half === 'train' ? [train] : half === 'eval' ? [makeEntities('eval')] : [train, makeEntities('eval')];
  const entities = halves.flat();
  const passages = halves.flatMap((each) =>
    each.map((entity, i) => ({ id: `${entity.half}-${i}`, title: entity.name, text: infobox(entity) })),
  );
  return {
    seed,
    entities,
    byName: new Map(entities.map((entity) => [entity.name, entity])),
    passages,
    passageByName: new Map(passages.map((passage) => [passage.title, passage])),
  };
}

/**
 * World number `index` for training a base policy: one half, with one name in 40 that holds a rare word.
 *
 * Their seeds count up from 1000; lessons use smaller ones. Every rare word occurs in the first 20: a word that never does has no embedding.
 *
 * @example
 * ```ts
 * import { makePretrainingWorld } from 'search-e1/tinypedia';
 *
 * makePretrainingWorld(0).passages.length > 100; // true
 * ```
 */
export const makePretrainingWorld = (index: number): World => makeWorld(1000 + index, { half: 'train', tailShare: 0.1 });

/** The entity called `name`. @throws RangeError where the world has none. */
export function entityOf(world: World, name: string): Entity {
  const entity = world.byName.get(name);
  if (!entity) throw new RangeError(`No entity "${name}" in Tinypedia ${world.seed}; names are those of world.entities`);
  return entity;
}

/** What `relation` of the entity called `name` is. @throws RangeError where the entity is unknown or has no such relation. */
export function lookUp(world: World, name: string, relation: Relation): string {
  const entity = entityOf(world, name);
  const fact = entity.facts.find((each) => each.relation === relation);
  if (!fact)
    throw new RangeError(
      `"${name}" is a ${entity.type} and has no ${relation}; it has ${entity.facts.map((each) => each.relation).join(', ')}`,
    );
  return fact.value;
}

/** The passage about the entity called `name`. @throws RangeError where the world has none. */
export const passageOf = (world: World, name: string): Passage => world.passageByName.get(entityOf(world, name).name) as Passage;

/** `a book . author Ada Stone . publisher Red Mill .` */
const infobox = (entity: Entity): string =>
  `a ${entity.type} . ${entity.facts.map(({ relation, value }) => `${relation} ${value} .`).join(' ')}`;

function makeHalf(half: Half, source: Random, taken: Set<string>, tailShare: number): Entity[] {
  const names = new Map<EntityType, string[]>();
  for (const [type, count] of Object.entries(ENTITY_COUNTS) as [EntityType, number][]) {
    names.set(type, drawNames(type, count, source.fork('names', type), taken, tailShare));
  }
  const facts = source.fork('facts');
  const draw = (name: string, { name: relation, to }: (typeof RELATIONS)[number]): string => {
    if (to === 'year') return facts.pick(YEARS);
    for (;;) {
      const other = facts.pick(names.get(to) as string[]);
      if (other !== name && (relation !== 'mother' || isWoman(other))) return other;
    }
  };
  return [...names].flatMap(([type, those]) =>
    those.map((name) => ({
      name,
      type,
      half,
      tail: isTailName(name),
      facts: facts.shuffle(
        RELATIONS.filter((relation) => relation.of === type).map((relation) => ({ relation: relation.name, value: draw(name, relation) })),
      ),
    })),
  );
}

/** Distinct names of one type that nothing else in the world bears. */
function drawNames(type: EntityType, count: number, source: Random, taken: Set<string>, tailShare: number): string[] {
  const [first, second] = NAME_POOLS[type];
  const names: string[] = [];
  while (names.length < count) {
    const name = `${source.pick(first)} ${source.pick(second)}`;
    if (taken.has(name) || (isTailName(name) && source.uniform() >= tailShare)) continue;
    taken.add(name);
    names.push(name);
  }
  return names;
}
