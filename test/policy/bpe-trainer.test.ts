import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BYTE_ALPHABET, countWords, GPT2_SPLIT, toByteText, trainBpe } from '../../src/policy/bpe-trainer.js';

/** Made by test/tinypedia/fixtures/hugging-face.py. */
const { training } = JSON.parse(readFileSync('test/tinypedia/fixtures/hugging-face.json', 'utf8')) as {
  training: { words: Record<string, number>; merges: [string, string][] };
};

describe('trainBpe', () => {
  it("learns the merges that Hugging Face's BpeTrainer learns from the same word counts", () => {
    expect(trainBpe(new Map(Object.entries(training.words))).merges).toEqual(training.merges);
  });

  it('merges the most frequent pair first, ties by the lower ids, as done by hand', () => {
    // " ab" twice, " b" three times. Counts: (Ġ,b) 3, (Ġ,a) 2, (a,b) 2. Ġ is U+0120 and comes after the letters: (a,b) before (Ġ,a).
    const { merges } = trainBpe(
      new Map([
        [' ab', 2],
        [' b', 3],
      ]),
    );
    expect(merges).toEqual([
      ['Ġ', 'b'],
      ['a', 'b'],
      ['Ġ', 'ab'],
    ]);
  });

  it('stops when each word is one token, and not before', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^ ?[a-e]{1,8}$/), { maxLength: 30 }), (texts) => {
        const words = new Map(texts.map((text) => [text, 1]));
        const { tokens, merges } = trainBpe(words);
        for (const word of words.keys()) expect(tokens).toContain(toByteText(word));
        const made = new Set(merges.map(([a, b]) => a + b));
        expect(tokens.slice(256)).toEqual([...made]);
      }),
    );
  });

  it('refuses a word that the split would cut', () => {
    expect(() => trainBpe(new Map([['two words', 1]]))).toThrow('"two words" is not one pre-token of GPT-2\'s split');
    expect(() => trainBpe(new Map([['', 1]]))).toThrow('"" is not one pre-token');
  });
});

describe("GPT-2's bytes and split", () => {
  it('stand for each byte with another character, printable ones with themselves', () => {
    expect(new Set(BYTE_ALPHABET).size).toBe(256);
    // openai/gpt-2, encoder.py, bytes_to_unicode: space is Ġ (U+0120), newline Ċ (U+010A), 0xAD is the last one, U+0143.
    expect([toByteText(' '), toByteText('\n'), BYTE_ALPHABET[0xad], toByteText('Az~é')]).toEqual(['Ġ', 'Ċ', '\u0143', 'Az~Ã©']);
  });

  it('keep a space with the word after it, and a possessive apart', () => {
    expect(" Falcon's 1923 ?  x".match(GPT2_SPLIT)).toEqual([' Falcon', "'s", ' 1923', ' ?', ' ', ' x']);
    expect([...countWords([' a b a', ' b a'])]).toEqual([
      [' a', 3],
      [' b', 2],
    ]);
  });
});
