/** Unicode as Hugging Face's tokenizers 0.23.3 has it; this engine's own is newer, and later ones will be newer still. */
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../src/policy/tokenizer.js';
import { normalizeAsLibrary, withFixedClasses } from '../../src/policy/unicode.js';

let qwen: Tokenizer;
beforeAll(async () => {
  qwen = await loadTokenizer('datasets/tokenizers/qwen2.5');
});

const text = fc.string({ unit: 'binary', maxLength: 20 });

test.each([
  ['marks of Unicode 14, which stay behind one of a higher class', 'a\u0345\u0898b', [64, 137, 227, 156, 95, 246, 65]],
  ['and of 16, which let nothing past', 'a\u0334\u0897\u0323', [64, 136, 112, 156, 95, 245, 136, 96]],
  ['a letter of Unicode 17', '\u{10ecc} x', [123934, 119, 234, 856]],
  [
    'letters of Unicode 16, one with a mark that now composes',
    '\u{16d40}\u{105c9}\u0307 1',
    [125427, 113, 222, 123934, 245, 231, 136, 229, 220, 16],
  ],
  ['a letter of Unicode 16 and a digit of 13', "\u1c89n't \u{1fbf0}", [128233, 231, 77, 944, 220, 9284, 107, 108]],
])('Qwen2.5 cuts %s as Hugging Face does', (_, given, ids) => {
  // Recorded from Qwen2Tokenizer over the same vocabulary.
  expect(qwen.encode(given)).toEqual(ids);
});

test('NFC is that of any Unicode for what the library knows', () => {
  for (const known of ['e\u0301', 'A\u030a\u0323', '\u1112\u1161\u11ab', '\u212b', '\u0915\u093c', '\u2260', 'plain, 東京 🦊'])
    expect(normalizeAsLibrary(known)).toBe(known.normalize('NFC'));
});

test('it leaves what it does not know where it is, and goes no further than that', () => {
  fc.assert(
    fc.property(text, text, fc.constantFrom('\u0898', '\u0897', '\u{10ecc}', '\u{e000}', '\u{10ffff}'), (a, b, unknown) => {
      expect(normalizeAsLibrary(a + unknown + b)).toBe(normalizeAsLibrary(a) + unknown + normalizeAsLibrary(b));
    }),
  );
});

test('it changes nothing that NFC would tell apart, and nothing the second time', () => {
  fc.assert(
    fc.property(text, (given) => {
      const once = normalizeAsLibrary(given);
      expect(once.normalize('NFC')).toBe(given.normalize('NFC'));
      expect(normalizeAsLibrary(once)).toBe(once);
    }),
  );
});

test('letters and numbers of a pattern become ranges, in a class and outside one; the rest stays', () => {
  const matches = (pattern: string, char: string) => new RegExp(`^(?:${withFixedClasses(pattern)})$`, 'u').test(char);
  expect(['A', 'é', '東', '\u{10ecc}', '1'].map((char) => matches('\\p{L}', char))).toEqual([true, true, true, false, false]);
  expect(['A', '\u{10ecc}', '1'].map((char) => matches('\\P{L}', char))).toEqual([false, true, true]);
  expect(['A', '1', '½', '.'].map((char) => matches('[^\\p{L}\\p{N}]', char))).toEqual([false, false, false, true]);
  for (const other of ['\\\\p{L}', 'a[bc]\\s+', '\\p{Script=Han}', '\\[']) expect(withFixedClasses(other)).toBe(other);
});
