import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAnalysis } from '../../src/search/analyze.js';
import { createSearcher } from '../../src/search/minisearch.js';

const passage = (id: string, title: string, text: string) => ({ id, title, text });
const terms = (text: string) => {
  const { tokenize, processTerm } = createAnalysis();
  return tokenize(text).flatMap((word) => processTerm(word) ?? []);
};

describe('the analysis of English text', () => {
  it('drops stop words and question words and stems the rest', () => {
    expect(terms('In which city were the Amber Falcons directed?')).toEqual(['citi', 'amber', 'falcon', 'direct']);
  });
  it('treats accents, capitals, possessives and curly apostrophes alike', () => {
    expect(terms('MAŁGORZATA’s Café')).toEqual(terms("Malgorzata's cafe"));
    expect(terms("O'Brien")).toEqual(terms('O’Brien'));
  });
  it('keeps digits and splits at hyphens', () => {
    expect(terms('1994–95 co-founder')).toEqual(['1994', '95', 'co', 'founder']);
  });
});

describe('a searcher', () => {
  const searcher = createSearcher([
    passage('lind', 'Eva Lind', 'Eva Lind is a painter. Her mother is Ada Stone.'),
    passage('stone', 'Ada Stone', 'Ada Stone is the author of Amber Falcon.'),
    passage('falcon', 'Amber Falcon', 'A book about birds.'),
  ]);

  it('ranks the page of the named entity before pages that mention it', async () => {
    const [hits] = await searcher.search(['Who is the mother of Ada Stone?'], 3);
    expect(hits.map((hit) => hit.id)).toEqual(['stone', 'lind']);
    expect(hits[0].score).toBeGreaterThan(hits[1].score);
    expect(hits[0]).toMatchObject({ title: 'Ada Stone', text: 'Ada Stone is the author of Amber Falcon.' });
  });

  it('answers each query apart, with nothing for words it does not know and for stop words alone', async () => {
    const found = await searcher.search(['falcons', 'zebra', 'who is the', ''], 1);
    expect(found.map((hits) => hits.map((hit) => hit.id))).toEqual([['falcon'], [], [], []]);
  });

  it('scores one field as BM25+ does by hand', async () => {
    const only = createSearcher([passage('a', 'falcon falcon stone', ''), passage('b', 'stone', '')], {
      titleBoost: 0,
      k1: 1.2,
      b: 0.7,
      delta: 0.5,
    });
    const [[hit]] = await only.search(['falcon'], 1);
    // N = 2, one match: idf = ln(1 + (2 - 1 + 0.5) / (1 + 0.5)) = ln 2. tf = 2; MiniSearch's field length counts distinct words: 2, average 1.5.
    expect(hit.id).toBe('a');
    expect(hit.score).toBeCloseTo(Math.log(2) * (0.5 + (2 * 2.2) / (2 + 1.2 * (0.3 + (0.7 * 2) / 1.5))), 12);
  });

  it('returns at most topK, best first, whatever the passages', async () => {
    const word = fc.constantFrom('amber', 'falcon', 'stone', 'ada', 'the', 'painting');
    const text = fc.array(word, { maxLength: 8 }).map((words) => words.join(' '));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(text, text), { maxLength: 8 }),
        text,
        fc.integer({ min: 1, max: 5 }),
        async (pages, query, topK) => {
          const made = createSearcher(pages.map(([title, body], i) => passage(String(i), title, body)));
          const [hits] = await made.search([query], topK);
          expect(hits.length).toBeLessThanOrEqual(topK);
          expect(hits.map((hit) => hit.score)).toEqual(hits.map((hit) => hit.score).sort((x, y) => y - x));
          expect(new Set(hits.map((hit) => hit.id)).size).toBe(hits.length);
        },
      ),
    );
  });

  it('refuses duplicate ids, settings out of range and a topK that is no count', async () => {
    expect(() => createSearcher([passage('a', '', ''), passage('a', '', '')])).toThrow(/two passages have the id "a"/);
    for (const wrong of [{ k1: -1 }, { b: -0.1 }, { delta: -1 }, { titleBoost: Number.NaN }])
      expect(() => createSearcher([], wrong)).toThrow(`${Object.keys(wrong)[0]} must lie in [0, `);
    expect(() => createSearcher([], { k: 1 } as object)).toThrow(/options it knows, got k/);
    expect(() => createSearcher([], { b: 1.5 })).toThrow(/b must lie in \[0, 1\], got 1.5/);
    await expect(searcher.search(['x'], 0)).rejects.toThrow(/positive integer, got 0/);
  });

  it('refuses what is no passage, as JavaScript may give it, and says how a line of a corpus becomes one', () => {
    const given = (value: unknown) => () => createSearcher([passage('a', '', ''), value as ReturnType<typeof passage>]);
    expect(given({ id: 'b', contents: '"Title"\ntext' })).toThrow(/passage 1 has no text as its title.*splitContents/);
    expect(given({ id: 7, title: 'x', text: 'y' })).toThrow(
      /passage 1 has no text as its id: expected \{ id, title, text \}, got \{"id":7/,
    );
    expect(given({ id: 'b', title: 'x' })).toThrow(/no text as its text/);
    for (const value of [null, undefined, 'text', 7]) expect(given(value)).toThrow(/passage 1 has no text as its id/);
  });

  it('takes a list of texts and stops at a signal', async () => {
    await expect(searcher.search('falcon' as unknown as string[], 1)).rejects.toThrow(/list of texts/);
    await expect(searcher.search([undefined as unknown as string], 1)).rejects.toThrow(/list of texts/);
    for (const topK of [1.5, -1, Number.NaN, Number.POSITIVE_INFINITY, '3' as unknown as number])
      await expect(searcher.search(['x'], topK)).rejects.toThrow(/positive integer/);
    const reason = new Error('stop');
    await expect(searcher.search(['x'], 1, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
