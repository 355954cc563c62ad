import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exactMatch } from '../../src/reward/exact-match.js';
import { isTailName } from '../../src/tinypedia/names.js';
import {
  HELD_OUT_PAIRS,
  MINI_SETS,
  makeQuestions,
  PARAPHRASES,
  RELATION_PAIRS,
  SET_KINDS,
  type TinypediaQuestion,
} from '../../src/tinypedia/questions.js';
import { tinypedia } from '../../src/tinypedia/tinypedia.js';
import { entityOf, makeWorld, RELATIONS, type World } from '../../src/tinypedia/world.js';

const world = tinypedia(1);
const evaluation = MINI_SETS.flatMap((set) => world.sets[set]);
const pairsOf = ({ metadata: { kind, chain } }: TinypediaQuestion): string[] =>
  kind === 'comparison' ? [] : chain.slice(1).map((step, i) => `${chain[i].relation} ${step.relation}`);
const heldOut = HELD_OUT_PAIRS.map((pair) => pair.join(' '));

describe('Tinypedia questions', () => {
  it('have the answer that a reader of the passages finds who knows nothing but the text of the question', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), (seed) => {
        const other = tinypedia(seed, { questionsPerSet: 40, trainPerSet: 40 });
        const read = reader(other);
        for (const question of [...other.train, ...Object.values(other.sets).flat()]) {
          expect(question.goldenAnswers, question.question).toEqual([read(question.question)]);
        }
      }),
      { numRuns: 8 },
    );
  });

  it('carry the chain of look-ups that leads to the answer', () => {
    for (const { goldenAnswers, metadata } of [...world.train, ...evaluation]) {
      const { chain, hops, kind } = metadata;
      expect(hops).toBe(chain.length);
      for (const step of chain) expect(entityOf(world, step.entity).facts).toContainEqual({ relation: step.relation, value: step.value });
      if (kind === 'comparison') {
        expect(chain[0].value).not.toBe(chain[1].value);
        continue;
      }
      for (const [i, step] of chain.slice(1).entries()) expect(step.entity).toBe(chain[i].value);
      const visited = [chain[0].entity, ...chain.map((step) => step.value)];
      expect(new Set(visited).size).toBe(visited.length);
      expect(goldenAnswers).toEqual([chain[chain.length - 1].value]);
    }
  });

  it('are all different, within and across the sets', () => {
    const texts = [...world.train, ...evaluation].map((question) => question.question);
    expect(new Set(texts).size).toBe(texts.length);
    const ids = [...world.train, ...evaluation].map((question) => question.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('keep their ids whatever number of them, of the other sets or of training questions is asked for', () => {
    const few = fc.integer({ min: 0, max: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), few, few, few, few, (seed, n, more, trained, moreTrained) => {
        const small = tinypedia(seed, { questionsPerSet: n, trainPerSet: trained });
        const large = tinypedia(seed, { questionsPerSet: n + 2 * more, trainPerSet: trained + moreTrained });
        for (const set of MINI_SETS) {
          expect(large.sets[set].slice(0, n)).toEqual(small.sets[set]);
          expect(makeQuestions(small, set, 'eval', n)).toEqual(small.sets[set]);
        }
        expect(large.train.slice(0, 2 * trained)).toEqual(small.train);
      }),
      { numRuns: 10 },
    );
    const long = tinypedia(1, { questionsPerSet: 150 });
    for (const set of MINI_SETS) expect(long.sets[set].slice(0, 100)).toEqual(world.sets[set]);
  });

  it('repeat none in a long set, nor one of another set, nor a comparison with its names the other way round', () => {
    const long = MINI_SETS.filter((set) => set !== 'popqa-mini').flatMap((set) => makeQuestions(world, set, 'eval', 800));
    const asked = long.map(({ question, metadata: { kind, chain } }) =>
      kind === 'comparison'
        ? chain
            .map((step) => step.entity)
            .sort()
            .join()
        : question,
    );
    expect(new Set(asked).size).toBe(long.length);
  });

  it('ask each two-hop question in one set alone, which does not change the share of two hops', () => {
    const texts = (set: 'hotpotqa-mini' | '2wiki-mini') =>
      makeQuestions(world, set, 'eval', 800)
        .filter((question) => question.metadata.kind === 'twoHop')
        .map((question) => question.question);
    const [hotpot, wiki] = [texts('hotpotqa-mini'), texts('2wiki-mini')];
    expect(wiki.filter((text) => hotpot.includes(text))).toEqual([]);
    expect(Math.abs(wiki.length / 800 - 0.6)).toBeLessThan(0.055); // three standard errors
  });

  it('train and evaluate on facts of different halves', () => {
    const halves = (questions: readonly TinypediaQuestion[]) =>
      new Set(questions.flatMap(({ metadata }) => metadata.chain.map((step) => entityOf(world, step.entity).half)));
    expect(halves(world.train)).toEqual(new Set(['train']));
    expect(halves(evaluation)).toEqual(new Set(['eval']));
    const names = (questions: readonly TinypediaQuestion[]) =>
      questions.flatMap(({ metadata }) => metadata.chain.flatMap((step) => [step.entity, step.value])).filter((name) => /\D/.test(name));
    const trained = new Set(names(world.train));
    expect(names(evaluation).filter((name) => trained.has(name))).toEqual([]);
  });

  it('join relations in 62 ways, of which 8 are kept for Bamboogle-mini', () => {
    expect(RELATION_PAIRS).toHaveLength(62);
    expect(new Set(heldOut).size).toBe(8);
    for (const pair of HELD_OUT_PAIRS) expect(RELATION_PAIRS).toContainEqual(pair);
    for (const question of [...world.train, ...evaluation]) {
      const asked = pairsOf(question);
      if (question.dataset === 'bamboogle-mini') expect(heldOut).toContain(asked[0]);
      else
        expect(
          asked.filter((pair) => heldOut.includes(pair)),
          question.question,
        ).toEqual([]);
    }
    expect(new Set(world.sets['bamboogle-mini'].flatMap(pairsOf)).size).toBe(8);
    // Every relation is met in a pair that is not held out, so that only the joining is new.
    const met = new Set(RELATION_PAIRS.filter((pair) => !heldOut.includes(pair.join(' '))).flat());
    expect(met.size).toBe(RELATIONS.length);
  });

  it('take the forms that their sets are for', () => {
    const form: Record<string, RegExp> = {
      'nq-mini': /^(who|what) is the \w+ of \w+ \w+ \?$/,
      'triviaqa-mini': /^(tell me the \w+ for \w+ \w+ \.|name the \w+ , \w+ \w+ \.|\w+ \w+ [a-z ]+ \?)$/,
      'popqa-mini': /^(who|what) is \w+ \w+'s \w+ \?$/,
      'hotpotqa-mini': /^(who|what) is (the \w+ of ){2}\w+ \w+ \?$/,
      '2wiki-mini': /^((who|what) is (the \w+ of ){2}\w+ \w+ \?|who is born first , \w+ \w+ or \w+ \w+ \?)$/,
      'musique-mini': /^(who|what) is (the \w+ of ){3,4}\w+ \w+ \?$/,
      'bamboogle-mini': /^(who|what) is (the \w+ of ){2}\w+ \w+ \?$/,
    };
    for (const question of evaluation) expect(question.question).toMatch(form[question.dataset]);
    for (const question of world.sets['popqa-mini']) expect(isTailName(question.metadata.chain[0].entity)).toBe(true);
  });

  it('mix kinds as the prototype did: 2Wiki-mini 60 % two hops, MuSiQue-mini 60 % three', () => {
    const large = makeWorld(2);
    for (const [set, kind] of [
      ['2wiki-mini', 'twoHop'],
      ['musique-mini', 'threeHop'],
    ] as const) {
      const questions = makeQuestions(large, set, 'eval', 500);
      const share = questions.filter((question) => question.metadata.kind === kind).length / 500;
      expect(Math.abs(share - (SET_KINDS[set][kind] ?? 0))).toBeLessThan(0.07); // three standard errors
    }
  });

  it('give an answer that scores as an exact match with itself and with nothing else in the world', () => {
    const names = world.entities.map((entity) => entity.name);
    for (const { goldenAnswers } of evaluation) {
      expect(exactMatch(goldenAnswers[0], goldenAnswers)).toBe(1);
      expect(names.filter((name) => exactMatch(name, goldenAnswers) === 1)).toEqual(names.filter((name) => name === goldenAnswers[0]));
    }
  });

  it('say how many there are when more are asked for', () => {
    expect(() => makeQuestions(makeWorld(1), 'nq-mini', 'eval', 5000)).toThrow(
      /has fewer than 5000 questions for nq-mini \(eval\).*; ask for at most \d+/,
    );
    for (const n of [-1, 1.5, Number.NaN]) expect(() => makeQuestions(world, 'nq-mini', 'eval', n)).toThrow(/whole number of questions/);
  });
});

/** Answers a question from its words and the passages' words alone: none of the code under test. */
function reader({ passages }: World): (question: string) => string {
  const facts = new Map<string, string>();
  for (const { title, text } of passages) {
    for (const clause of text.split(' .').slice(1)) {
      const [relation, ...value] = clause.trim().split(' ');
      if (relation) facts.set(`${title}/${relation}`, value.join(' '));
    }
  }
  const value = (entity: string, relation: string): string => {
    const found = facts.get(`${entity}/${relation}`);
    if (!found) throw new Error(`no passage tells the ${relation} of "${entity}"`);
    return found;
  };
  const resolve = (phrase: string): string => {
    const nested = /^the (\w+) of (.*)$/.exec(phrase);
    return nested ? value(resolve(nested[2]), nested[1]) : phrase;
  };
  return (question) => {
    const born = /^who is born first , (.*) or (.*) \?$/.exec(question);
    if (born) return value(born[1], 'birthyear') < value(born[2], 'birthyear') ? born[1] : born[2];
    const possessive = /^(?:who|what) is (.*)'s (\w+) \?$/.exec(question);
    if (possessive) return value(possessive[1], possessive[2]);
    const told = /^(?:tell me|name) the (\w+) (?:for|,) (.*) \.$/.exec(question);
    if (told) return value(told[2], told[1]);
    const nested = /^(?:who|what) is (the .*) \?$/.exec(question);
    if (nested) return resolve(nested[1]);
    const paraphrase = Object.entries(PARAPHRASES).find(([, words]) => question.endsWith(` ${words} ?`));
    if (!paraphrase) throw new Error(`cannot read "${question}"`);
    return value(question.slice(0, -` ${paraphrase[1]} ?`.length), paraphrase[0]);
  };
}
