/** Qwen2.5's tokenizer against Hugging Face's own library: at least 100,000 strings, without a difference. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../src/policy/tokenizer.js';
import { python, report, root, scratch, seed } from './python.js';

interface Recorded {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

const vocabulary = join(root, 'datasets/tokenizers/qwen2.5');
const out = scratch('tokenizer');
python('tokenizer.py', vocabulary, join(root, 'datasets'), out, String(seed));
const strings = readFileSync(join(out, 'strings.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded);
describe('the tokenizer of Qwen2.5', () => {
  test.each([
    ['vocab.json and merges.txt', vocabulary],
    ['the tokenizer.json that Hugging Face writes', out],
  ])('from %s gives the ids that Hugging Face gives', async (from, folder) => {
    const tokenizer = await loadTokenizer(folder, { cacheSize: 0 });
    expect(tokenizer.size).toBe(151_665);
    const differences = strings.filter(({ text, ids }) => tokenizer.encode(text).join() !== ids.join());
    report('tokenizer', `${strings.length} strings that differ, from ${from}`, differences.length);
    expect(differences.slice(0, 5)).toEqual([]);
    expect(strings.length).toBeGreaterThanOrEqual(100_000);
  });

  test('its Unicode tables are those that Hugging Face has', () => {
    const made = join(out, 'unicode-tables.ts');
    python('unicode_tables.py', made);
    expect(readFileSync(join(root, 'src/policy/unicode-tables.ts'), 'utf8')).toBe(readFileSync(made, 'utf8'));
  });

  test('decodes them as Hugging Face does, and to the text itself after NFC', async () => {
    const tokenizer = await loadTokenizer(vocabulary);
    const wrong = strings.filter(({ ids, decoded }) => tokenizer.decode(ids) !== decoded);
    expect(wrong.slice(0, 5)).toEqual([]);
    const changed = strings.filter(
      ({ text }) => tokenizer.decode(tokenizer.encode(text)).normalize('NFC') !== Buffer.from(text).toString().normalize('NFC'),
    );
    expect(changed.slice(0, 5)).toEqual([]);
  });

  test('streams them without a half character, and to the same text', async () => {
    const tokenizer = await loadTokenizer(vocabulary);
    const wrong = strings.filter((each) => !streamsWell(tokenizer, each));
    expect(wrong.slice(0, 5)).toEqual([]);
  });
});

function streamsWell(tokenizer: Tokenizer, { ids, decoded }: Recorded): boolean {
  const stream = tokenizer.stream();
  const pieces = [...ids.map((id) => stream.push(id)), stream.end()];
  // A U+FFFD in a piece would be half a character, unless the text itself holds one.
  return pieces.join('') === decoded && (decoded.includes('\ufffd') || !pieces.some((piece) => piece.includes('\ufffd')));
}
