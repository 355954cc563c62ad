import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { printable, printableJson } from '../../src/display/printable.js';

/** Written apart from the implementation's own classes: C0, DEL and C1, the characters that order text, half surrogate pairs, what XML refuses. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const STEERS = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]/u;

describe('printable()', () => {
  it('leaves ordinary text, line feeds and tabs alone', () => {
    const text = 'Stanisław 中国 🙂 naïve\n\t<answer> 42</answer>';
    expect(printable(text)).toBe(text);
  });

  it('shows escapes, carriage returns and turned text as what they are', () => {
    expect(printable('a\u001b[31mb\rc\u009b2Jd\u202ee')).toBe('a\\x1b[31mb\\x0dc\\x9b2Jd\\u202ee');
  });

  it('shows half a surrogate pair and what is no character, and leaves whole pairs', () => {
    expect(printable('\ud83d \ude42 \u{1f642} \uffff')).toBe('\\ud83d \\ude42 🙂 \\uffff');
  });

  it('lets no control character through, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(printable(text).replace(/[\n\t]/g, '')).not.toMatch(STEERS);
      }),
    );
  });
});

describe('printableJson()', () => {
  it('means the same as JSON, without a control character but line feeds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const written = printableJson({ [text]: [text] });
        expect(JSON.parse(written)).toEqual(JSON.parse(JSON.stringify({ [text]: [text] })));
        expect(written.replaceAll('\n', '')).not.toMatch(STEERS);
      }),
    );
  });
});
