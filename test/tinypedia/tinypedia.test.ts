import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { random } from '../../src/random.js';
import { createSearcher } from '../../src/search/minisearch.js';
import { MINI_SETS } from '../../src/tinypedia/questions.js';
import { CLASSROOM_SEARCH, tinypedia } from '../../src/tinypedia/tinypedia.js';
import { makeTrace, TRACE_KINDS } from '../../src/tinypedia/traces.js';
import { makePretrainingWorld } from '../../src/tinypedia/world.js';

const digest = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

describe('tinypedia()', () => {
  const world = tinypedia();

  it('is the whole classroom: passages, 800 training questions in turn, seven sets of 100', () => {
    expect(world.seed).toBe(1);
    expect(world.passages).toHaveLength(1188);
    expect(world.train).toHaveLength(800);
    expect(world.train.slice(0, 4).map((question) => question.metadata.hops)).toEqual([1, 2, 1, 2]);
    expect(Object.keys(world.sets)).toEqual([...MINI_SETS]);
    for (const set of MINI_SETS) expect(world.sets[set]).toHaveLength(100);
    expect(tinypedia(1, { questionsPerSet: 10, trainPerSet: 5 }).train).toHaveLength(10);
  });

  // The committed base policy, records and notebooks speak of this very world. Another digest means that they have to be made anew.
  it('is the world that the committed records speak of', () => {
    expect(digest(world.passages)).toBe('ea4957ee4a7321fb');
    expect(digest([world.train, world.sets])).toBe('11344c7ebf91f944');
    const traces = Array.from({ length: 200 }, (_, i) => makeTrace(makePretrainingWorld(i % 5), TRACE_KINDS, random(1, i)));
    expect(digest(traces)).toBe('fbdbfd4e284e43f4');
  });

  it('finds the right passage first for every clean query of the training questions and of the seven sets', async () => {
    const searcher = createSearcher(world.passages, CLASSROOM_SEARCH);
    const steps = [world.train, ...MINI_SETS.map((set) => world.sets[set])].flat().flatMap((question) => question.metadata.chain);
    const titles = new Map(steps.map((step) => [`${step.entity} ${step.relation}`, step.entity]));
    expect(titles.size).toBeGreaterThan(1500);
    const found = await searcher.search([...titles.keys()], 1);
    expect(found.map(([passage]) => passage.title)).toEqual([...titles.values()]);
  });
});
