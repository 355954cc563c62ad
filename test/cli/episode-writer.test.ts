import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeEpisode } from '../../src/cli/episode-writer.js';

/** A token a byte: every character beyond ASCII is spread over tokens, and every tag too. */
const bytes = {
  decode: (ids: readonly number[]) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(ids)),
  stream() {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return { push: (id: number) => decoder.decode(Uint8Array.of(id), { stream: true }), end: () => decoder.decode() };
  },
};
const encode = (text: string) => [...new TextEncoder().encode(text)];

function written(parts: readonly (string | { readonly shown: string })[], colour = false): string[] {
  const pieces: string[] = [];
  const writer = writeEpisode(bytes, (text) => void pieces.push(text), colour);
  for (const part of parts) {
    if (typeof part === 'string') for (const token of encode(part)) writer.own(token);
    else writer.shown(encode(part.shown));
  }
  writer.end();
  return pieces;
}

const EPISODE = [
  '<think> a thought</think><search> Ada</search>',
  { shown: '<information> Ada : a person .</information>' },
  '<answer> 1 < 2</answer>',
];

describe('writeEpisode()', () => {
  it('puts every action and what was found on lines of their own', () => {
    expect(written(EPISODE).join('')).toBe(
      '<think> a thought</think>\n<search> Ada</search>\n<information> Ada : a person .</information>\n<answer> 1 < 2</answer>\n',
    );
  });

  it('writes on while the policy does, and never half a tag or half a character', () => {
    const pieces = written(['<think> naïve 🙂</think>']);
    expect(pieces.length).toBeGreaterThan(8);
    expect(pieces.filter((piece) => piece.includes('<'))).toEqual(['<think>', '</think>']);
    expect(pieces.join('')).not.toContain('\ufffd');
  });

  it('colours tags in own text only, and dims what was found', () => {
    const shown = written(EPISODE, true);
    expect(stripVTControlCharacters(shown.join(''))).toBe(written(EPISODE).join(''));
    expect(shown.find((piece) => piece.includes('<search>'))).toContain('\u001b[36m'); // cyan
    const found = shown.filter((piece) => piece.includes('information'));
    expect(found).toEqual(['\u001b[2m<information> Ada : a person .</information>\u001b[22m']); // one piece, dim
  });

  it('lets neither policy nor passage steer the terminal', () => {
    const text = written(['\u001b[2J<answer>', { shown: '\u001b]0;x\u0007' }]).join('');
    expect(text).toBe('\\x1b[2J\n<answer>\n\\x1b]0;x\\x07\n');
  });

  it('loses nothing that the policy wrote', () => {
    const pieces = fc.constantFrom('<', '>', '/', '<think>', '</search>', '<ans', 'wer>', 'é', '🙂', ' a');
    fc.assert(
      fc.property(fc.array(pieces), (parts) => {
        expect(
          written([parts.join('')])
            .join('')
            .replaceAll('\n', ''),
        ).toBe(parts.join(''));
      }),
    );
  });
});
