import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coverMatch, exactMatch } from '../../src/reward/exact-match.js';
import { extractAnswer, extractAnswerSearchR1 } from '../../src/reward/extract-answer.js';
import { f1 } from '../../src/reward/f1.js';
import { normalizeAnswer, normalizeTriviaqa } from '../../src/reward/normalize.js';

/** Made by official/make_fixture.py, which writes out the official scorers' semantics with Python's own string operations. */
const fixture = JSON.parse(readFileSync(join(__dirname, 'fixtures', 'scores.json'), 'utf8')) as {
  scores: {
    prediction: string;
    golds: string[];
    normalized: string;
    triviaqa: string;
    em: number;
    f1: number;
    f1_hotpotqa: number;
    f1_triviaqa: number;
    popqa: number;
  }[];
  answers: { text: string; last: string | null; search_r1: string | null }[];
  spaces: number[];
  words: [number, number][];
};

describe('the scorers on 500 tricky pairs scored by Python', () => {
  const all = <T>(of: (pair: (typeof fixture.scores)[number]) => T) =>
    fixture.scores.map((pair) => ({ prediction: pair.prediction, golds: pair.golds, got: of(pair) }));

  it('normalise alike', () => {
    expect(all((pair) => normalizeAnswer(pair.prediction))).toEqual(all((pair) => pair.normalized));
  });
  it('normalise alike by TriviaQA’s own rule', () => {
    expect(all((pair) => normalizeTriviaqa(pair.prediction))).toEqual(all((pair) => pair.triviaqa));
  });
  it('agree on exact match, and the pairs hold matches and misses', () => {
    expect(all((pair) => exactMatch(pair.prediction, pair.golds))).toEqual(all((pair) => pair.em));
    const matches = fixture.scores.filter((pair) => pair.em === 1).length;
    expect(matches).toBeGreaterThan(100);
    expect(matches).toBeLessThan(400);
  });
  it('agree on F1 to the last bit', () => {
    expect(all((pair) => f1(pair.prediction, pair.golds))).toEqual(all((pair) => pair.f1));
  });
  it('agree on F1 with HotpotQA’s yes, no and noanswer', () => {
    expect(all((pair) => f1(pair.prediction, pair.golds, { rule: 'hotpotqa' }))).toEqual(all((pair) => pair.f1_hotpotqa));
  });
  it('agree on F1 with TriviaQA’s normal form', () => {
    expect(all((pair) => f1(pair.prediction, pair.golds, { rule: 'triviaqa' }))).toEqual(all((pair) => pair.f1_triviaqa));
  });
  it('agree on PopQA’s substring accuracy', () => {
    expect(all((pair) => coverMatch(pair.prediction, pair.golds))).toEqual(all((pair) => pair.popqa));
  });
  it('take the same answer from a text, by the plain rule and by Search-R1’s', () => {
    expect(fixture.answers.map(({ text }) => extractAnswer(text))).toEqual(fixture.answers.map(({ last }) => last));
    expect(fixture.answers.map(({ text }) => extractAnswerSearchR1(text))).toEqual(fixture.answers.map(({ search_r1 }) => search_r1));
  });
});

describe('Python’s character classes, over all of Unicode', () => {
  it('white space is what str.isspace() says', () => {
    const spaces: number[] = [];
    for (let code = 0; code <= 0x10ffff; code++) if (normalizeAnswer(`x${String.fromCodePoint(code)}y`) === 'x y') spaces.push(code);
    expect(spaces).toEqual(fixture.spaces);
  });
  it('an article beside a character stands alone exactly where re’s \\b says', () => {
    const wrong: string[] = [];
    for (const [first, last] of fixture.words) {
      for (const code of new Set([first, last])) {
        const char = String.fromCodePoint(code).toLowerCase();
        if (normalizeAnswer(`the${char}`) !== `the${char}`) wrong.push(`U+${code.toString(16)} should belong to the word`);
      }
      for (const code of [first - 1, last + 1]) {
        const char = String.fromCodePoint(code);
        if (/[\p{L}\p{N}]/u.test(char) && unicodeAge(char)) continue; // assigned after the fixture's Unicode version
        if (/[!-~\s]/.test(char)) continue; // deleted before articles are looked for
        if (normalizeAnswer(`the${char}`).startsWith('the')) wrong.push(`U+${code.toString(16)} should not belong to the word`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

/** True for letters and numbers that the fixture's Python did not know. */
function unicodeAge(char: string): boolean {
  const code = char.codePointAt(0) as number;
  return !fixture.words.some(([first, last]) => code >= first && code <= last);
}

describe('exact match', () => {
  it.each([
    ['Malgorzata', 'Małgorzata', 0],
    ['1994-95', '1994–95', 0],
    ['co-founder', 'co founder', 0],
    ['co-founder', 'Cofounder', 1],
    ['the', '...', 1],
  ])('%s against %s is %i', (answer, gold, expected) => {
    expect(exactMatch(answer, [gold])).toBe(expected);
  });

  it('is 0 without an answer, even where the gold answer is empty', () => {
    expect(exactMatch(null, [''])).toBe(0);
    expect(f1(null, [''])).toBe(0);
  });

  it('does not see case, ASCII punctuation and articles', () => {
    const words = fc.array(fc.stringMatching(/^[b-z]{3,6}\d?$/), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(words, fc.constantFrom('a', 'An', 'THE'), fc.constantFrom('.', '!', "'", '"', ','), (gold, article, mark) => {
        const disguised = `${article} ${gold.join(`  ${mark}`).toUpperCase()}${mark}`;
        expect(exactMatch(disguised, ['other', gold.join(' ')])).toBe(1);
        expect(exactMatch(`${gold.join(' ')} more`, [gold.join(' ')])).toBe(0);
      }),
    );
  });

  it('is symmetric, and 1 only where F1 is 1', () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.constantFrom('the', 'a b', 'B, a', 'yes', ''));
    fc.assert(
      fc.property(text, text, (x, y) => {
        expect(exactMatch(x, [y])).toBe(exactMatch(y, [x]));
        expect(exactMatch(x, [x])).toBe(1);
        const score = f1(x, [y]);
        expect(score).toBeGreaterThanOrEqual(0);
        expect(score).toBeLessThanOrEqual(1);
        if (exactMatch(x, [y]) === 1) expect(score).toBe(1);
        expect(f1(y, [x])).toBeCloseTo(score, 12);
      }),
    );
  });
});

describe('the answer of a text', () => {
  const prompt = 'For example, <answer> Beijing </answer>. Question: who?\n';
  it('by Search-R1’s rule needs the prompt’s example before it', () => {
    expect(extractAnswerSearchR1(`${prompt}<answer> Ada </answer>`)).toBe('Ada');
    expect(extractAnswerSearchR1('<answer> Ada </answer>')).toBeNull();
    expect(extractAnswerSearchR1(prompt)).toBeNull();
  });
  it('by the plain rule is the last complete one of the own text', () => {
    expect(extractAnswer('<answer> Ada </answer> no, <answer>\nEva\n</answer> <answer> cut')).toBe('Eva');
    expect(extractAnswer('<answer></answer>')).toBe('');
    expect(extractAnswer('Ada')).toBeNull();
  });
});

describe('what a scorer is given', () => {
  it.each([
    [() => exactMatch(3 as never, ['a']), TypeError, 'exactMatch: the answer (null: none): expected a text, got 3'],
    [() => exactMatch('a', 'a' as never), TypeError, 'exactMatch: goldenAnswers: expected a list of texts, got "a"'],
    [() => coverMatch(undefined as never, ['a']), TypeError, 'coverMatch: the answer (null: none): expected a text, got undefined'],
    [() => f1(3 as never, ['a']), TypeError, 'f1: the answer (null: none): expected a text, got 3'],
    [() => f1('a', ['a'], { rul: 'squad' } as never), TypeError, 'f1: there is no option rul; expected rule'],
    [() => f1('a', ['a'], { rule: 'x' as never }), RangeError, 'f1: rule: expected squad, hotpotqa, triviaqa; got "x"'],
    [() => extractAnswer(null as never), TypeError, 'extractAnswer: the sequence: expected a text, got null'],
  ])('is looked at: case %#', (score, kind, message) => {
    expect(score).toThrow(new kind(message));
  });
});

describe('PopQA’s accuracy', () => {
  it('gives no answer nothing, and finds what is empty in every other', () => {
    expect([coverMatch(null, ['']), coverMatch('x', ['']), coverMatch('x', [])]).toEqual([0, 1, 0]);
  });

  // What Python's capitalize() makes of these: a digraph and a ligature have a title case of their own.
  it.each([
    ['ǆungla', 'ǅungla'],
    ['ǉubav', 'ǈubav'],
    ['ǌega', 'ǋega'],
    ['ǳ', 'ǲ'],
    ['ßEN', 'Ssen'],
    ['ﬁnd', 'Find'],
    ['aDA', 'Ada'],
  ])('capitalises %s to %s', (gold, capitalized) => {
    expect(coverMatch(`the ${capitalized}.`, [gold])).toBe(1);
    expect(coverMatch(`the ${capitalized.toUpperCase()}.`, [gold])).toBe(0);
    expect(coverMatch([...capitalized].slice(1).join(''), [gold])).toBe(0); // without its first letter
  });
});

it('HotpotQA’s F1 shares no word with yes, no or noanswer but where they are the whole', () => {
  for (const closed of ['yes', 'no', 'noanswer']) {
    expect(f1(`${closed} they are`, [closed], { rule: 'hotpotqa' })).toBe(0);
    expect(f1(closed, [`${closed} they are`], { rule: 'hotpotqa' })).toBe(0);
    expect(f1(closed, [closed], { rule: 'hotpotqa' })).toBe(1);
    expect(f1(`${closed} they are`, [closed])).toBeCloseTo(0.5, 12);
  }
});
