import { describe, expect, it } from 'vitest';
import { GPT2_SPLIT } from '../../src/policy/bpe-trainer.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { random } from '../../src/random.js';
import { tinypedia } from '../../src/tinypedia/tinypedia.js';
import { SPECIAL_TOKENS, TINYPEDIA_WORDS, trainTinypediaTokenizer } from '../../src/tinypedia/tokenizer.js';
import { makeTrace, TRACE_KINDS } from '../../src/tinypedia/traces.js';

const folder = 'datasets/tinypedia/tokenizer';

const tokenizer = await loadTokenizer(folder);

describe("Tinypedia's tokenizer", () => {
  // After a change of words: npx vitest run test/tinypedia/tokenizer.test.ts -u, and then train the base policy anew.
  it('is committed as the training function makes it', async () => {
    for (const [name, text] of Object.entries(trainTinypediaTokenizer())) await expect(text).toMatchFileSnapshot(`../../${folder}/${name}`);
  });

  it('has 1,322 entries: 256 bytes, 1,053 merges and 13 special tokens', () => {
    expect(tokenizer.size).toBe(1322);
    const { model } = JSON.parse(trainTinypediaTokenizer()['tokenizer.json']) as { model: { merges: unknown[] } };
    expect(model.merges).toHaveLength(1053);
    expect(SPECIAL_TOKENS).toHaveLength(13);
    expect([tokenizer.endIds, tokenizer.padId]).toEqual([[1309], 1309]);
  });

  it('makes one token of every word and every tag', () => {
    for (const word of [...TINYPEDIA_WORDS, ...SPECIAL_TOKENS]) expect(tokenizer.encode(word), word).toHaveLength(1);
  });

  it('knows every word that passages, questions and traces hold', () => {
    const world = tinypedia(3);
    const traces = Array.from({ length: 2000 }, (_, i) => makeTrace(world, TRACE_KINDS, random(3, i)));
    const texts = [
      ...world.passages.map((passage) => ` ${passage.title} : ${passage.text}`),
      ...[...world.train, ...Object.values(world.sets).flat()].map((question) => ` ${question.question}`),
      ...traces.flatMap((trace) => [trace.prompt, ...trace.segments.map((segment) => segment.text)]),
    ];
    const tags = new RegExp(SPECIAL_TOKENS.map((token) => token.replace('|', '\\|')).join('|'), 'g');
    for (const text of texts) {
      const words = text.split(tags).flatMap((piece) => piece.match(GPT2_SPLIT) ?? []);
      expect(tokenizer.encode(text).length, text).toBe(words.length + (text.match(tags)?.length ?? 0));
    }
  });

  it('keeps a passage to 25 tokens', () => {
    const lengths = tinypedia(1).passages.map((passage) => tokenizer.encode(` ${passage.title} : ${passage.text}`).length);
    expect(Math.max(...lengths)).toBe(25);
    expect(lengths.reduce((a, b) => a + b) / lengths.length).toBeCloseTo(19.2, 1); // the prototype's mean
  });
});
