/**
 * Qwen2.5's tokenizer against Hugging Face's own library: at least 100,000 strings, without a difference.
 *
 * The library's Unicode tables are older than Node's. A string that holds a code point which the two class differently, or which the library's NFC
 * leaves alone, is compared all the same and may differ; such code points are counted and printed.
 */
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
interface Tables {
  readonly classes: readonly (readonly [from: number, name: string])[];
  /** Code points that the library's NFC moves or replaces. */
  readonly nfc: readonly number[];
}

const vocabulary = join(root, 'datasets/tokenizers/qwen2.5');
const out = scratch('tokenizer');
python('tokenizer.py', vocabulary, join(root, 'datasets'), out, String(seed));
const strings = readFileSync(join(out, 'strings.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded);
const tables = JSON.parse(readFileSync(join(out, 'tables.json'), 'utf8')) as Tables;
const differing = differingCodePoints(tables);
const foreign = ({ text }: Recorded) => [...text].some((char) => differing.has(char.codePointAt(0) as number));

describe('the tokenizer of Qwen2.5', () => {
  test.each([
    ['vocab.json and merges.txt', vocabulary],
    ['the tokenizer.json that Hugging Face writes', out],
  ])('from %s gives the ids that Hugging Face gives', (_, folder) => {
    const tokenizer = loadTokenizer(folder, { cacheSize: 0 });
    expect(tokenizer.size).toBe(151_665);
    const differences = strings.filter(({ text, ids }) => tokenizer.encode(text).join() !== ids.join());
    const unexplained = differences.filter((each) => !foreign(each));
    report(
      'tokenizer',
      `${strings.length} strings, ${strings.filter(foreign).length} of them with one of ${differing.size} code points of other Unicode tables: ${differences.length} differences`,
      unexplained.length,
    );
    expect(unexplained.slice(0, 5)).toEqual([]);
    expect(strings.length).toBeGreaterThanOrEqual(100_000);
    expect(strings.filter((each) => !foreign(each)).length).toBeGreaterThanOrEqual(100_000);
  });

  test('decodes them as Hugging Face does, and to the text itself after NFC', () => {
    const tokenizer = loadTokenizer(vocabulary);
    const wrong = strings.filter(({ ids, decoded }) => tokenizer.decode(ids) !== decoded);
    expect(wrong.slice(0, 5)).toEqual([]);
    const changed = strings.filter(
      ({ text }) => tokenizer.decode(tokenizer.encode(text)) !== Buffer.from(text).toString().normalize('NFC'),
    );
    expect(changed.slice(0, 5)).toEqual([]);
  });

  test('streams them without a half character, and to the same text', () => {
    const tokenizer = loadTokenizer(vocabulary);
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

/** Code points that Node's regular expressions class otherwise than the library's, or that its NFC treats otherwise. */
function differingCodePoints({ classes, nfc }: Tables): Set<number> {
  const found = new Set<number>();
  const moved = new Set(nfc);
  classes.forEach(([from, name], i) => {
    const to = classes[i + 1]?.[0] ?? 0x110000;
    for (let code = from; code < to; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const char = String.fromCodePoint(code);
      const here = /\p{L}/u.test(char) ? 'L' : /\p{N}/u.test(char) ? 'N' : /\p{White_Space}/u.test(char) ? 'S' : '-';
      const moves = [char, `a\u0345${char}`, `a${char}\u0334`].some((probe) => probe !== probe.normalize('NFC'));
      if (here !== name || moves !== moved.has(code)) found.add(code);
    }
  });
  return found;
}
