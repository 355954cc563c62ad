import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classroomProtocol } from '../../src/rollout/protocol.js';
import { isWoman, NAME_POOLS, NAME_WORDS, YEARS } from '../../src/tinypedia/names.js';
import { ENTITY_COUNTS, entityOf, lookUp, makePretrainingWorld, makeWorld, passageOf, RELATIONS } from '../../src/tinypedia/world.js';

const seeds = fc.integer({ min: 0, max: 1_000_000 });
const few = { numRuns: 8 };

describe('a Tinypedia world', () => {
  it('has 1,188 passages: two halves of 594 entities in the counts of the prototype', () => {
    const world = makeWorld(1);
    expect(world.passages).toHaveLength(1188);
    for (const half of ['train', 'eval']) {
      for (const [type, count] of Object.entries(ENTITY_COUNTS)) {
        expect(world.entities.filter((entity) => entity.half === half && entity.type === type)).toHaveLength(count);
      }
    }
    expect(Object.values(ENTITY_COUNTS).reduce((a, b) => a + b)).toBe(594);
  });

  it('gives every entity a name of two pool words that no other entity of either half bears', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { entities, byName } = makeWorld(seed);
        expect(byName.size).toBe(entities.length);
        const strange = entities.filter(({ name, type }) => {
          const [first, second, ...rest] = name.split(' ');
          return !NAME_POOLS[type][0].includes(first) || !NAME_POOLS[type][1].includes(second) || rest.length > 0;
        });
        expect(strange).toEqual([]);
      }),
      few,
    );
  });

  it('links within a half only, by relations of the right type, never to itself', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const world = makeWorld(seed);
        const relations = (type: string) => RELATIONS.filter((relation) => relation.of === type).map((relation) => relation.name as string);
        const wrong = world.entities.flatMap(({ name, type, half, facts }) => {
          const told = facts.map((fact) => fact.relation as string).sort();
          const bad = facts.filter(({ relation, value }) => {
            const to = RELATIONS.find((each) => each.name === relation)?.to;
            if (to === 'year') return !YEARS.includes(value);
            const target = entityOf(world, value);
            return target.half !== half || target.type !== to || value === name || (relation === 'mother' && !isWoman(value));
          });
          return told.join() === relations(type).sort().join() ? bad : [name, ...bad];
        });
        expect(wrong).toEqual([]);
      }),
      few,
    );
  });

  it('depends on its seed alone, and a half is the same made alone', () => {
    const whole = makeWorld(5);
    expect(makeWorld(5).passages).toEqual(whole.passages);
    expect(makeWorld(6).passages).not.toEqual(whole.passages);
    for (const half of ['train', 'eval'] as const) {
      const alone = makeWorld(5, { half });
      expect(alone.entities).toEqual(whole.entities.filter((entity) => entity.half === half));
      expect(alone.passages).toEqual(whole.passages.filter((passage) => entityOf(whole, passage.title).half === half));
    }
  });

  it('writes a passage as an infobox: type, then each relation directly before its value', () => {
    const world = makeWorld(1);
    const book = world.entities.find((entity) => entity.type === 'book');
    if (!book) throw new Error('no book');
    const [a, b] = book.facts;
    expect(String(classroomProtocol.observation([passageOf(world, book.name)]))).toBe(
      `<information> ${book.name} : a book . ${a.relation} ${a.value} . ${b.relation} ${b.value} .</information>`,
    );
    expect(new Set(world.passages.map((passage) => passage.id)).size).toBe(1188);
  });

  it('shuffles the facts, so that their place tells nothing', () => {
    const towns = makeWorld(1).entities.filter((entity) => entity.type === 'town');
    const orders = new Set(towns.map((town) => town.facts.map((fact) => fact.relation).join()));
    expect(orders.size).toBe(6);
  });

  it('answers what it knows and says what it has when asked for more', () => {
    const world = makeWorld(1);
    const [person] = world.entities;
    expect(lookUp(world, person.name, 'mother')).toBe(person.facts.find((fact) => fact.relation === 'mother')?.value);
    expect(() => lookUp(world, person.name, 'author')).toThrow(/is a person and has no author; it has .*mother/);
    expect(() => passageOf(world, 'No Body')).toThrow('No entity "No Body" in Tinypedia 1');
  });
});

describe('the words of names', () => {
  it('have no second use as a relation, a type or another name word, in any case of letters', () => {
    const used = [...NAME_WORDS, ...RELATIONS.map((relation) => relation.name), ...Object.keys(NAME_POOLS)].map((word) =>
      word.toLowerCase(),
    );
    expect(used.filter((word, i) => used.indexOf(word) !== i)).toEqual([]);
    expect(NAME_WORDS).toHaveLength(70 + 80 + 40 + 16 + 24 + 4 + 30 + 4 + 36 + 36 + 36 + 6);
  });
});

describe('pretraining worlds', () => {
  const worlds = Array.from({ length: 20 }, (_, i) => makePretrainingWorld(i));

  it('are halves that share no fact about an entity with the lesson world more often than chance', () => {
    const lesson = makeWorld(1);
    let same = 0;
    let met = 0;
    for (const { entities } of worlds) {
      for (const { name, facts } of entities) {
        const known = lesson.byName.get(name);
        if (known) met += facts.length;
        if (known)
          same += facts.filter((fact) =>
            known.facts.some((other) => other.relation === fact.relation && other.value === fact.value),
          ).length;
      }
      expect(entities).toHaveLength(594);
    }
    // A value is one of 14 (nations) to 260 (persons) candidates, most of which are named otherwise in another world.
    expect(met).toBeGreaterThan(1000);
    expect(same / met).toBeLessThan(0.02);
  });

  it('seldom use rare words, yet each of them at least once in the first 20', () => {
    const rare = worlds.map((world) => world.entities.filter((entity) => entity.tail));
    for (const entities of rare) expect(entities.length).toBeGreaterThan(0); // PopQA-mini's wording asks for these alone
    const share = rare.reduce((sum, { length }) => sum + length, 0) / (594 * worlds.length);
    expect(share).toBeGreaterThan(0.02); // 0.265 of the names hold a rare word; kept with 0.1: 0.265 * 0.1 / (0.735 + 0.0265) = 0.035
    expect(share).toBeLessThan(0.05);
    const tailWords = new Set(
      Object.values(NAME_POOLS).flatMap((pools) => pools.flatMap((pool) => pool.slice(pool.length - Math.floor(pool.length / 7)))),
    );
    for (const entity of rare.flat()) for (const word of entity.name.split(' ')) tailWords.delete(word);
    expect([...tailWords]).toEqual([]);
  });
});
