import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { printable } from '../../src/display/printable.js';
import { siblingsHtml, trajectoryHtml, trajectoryText } from '../../src/display/trajectory.js';
import type { Tokenizer } from '../../src/policy/tokenizer.js';
import type { Trajectory } from '../../src/rollout/trajectory.js';

const { JSDOM } = createRequire(import.meta.url)('jsdom');

/** Bytes are tokens: a character beyond ASCII spans several, as in a byte-level BPE. */
const bytes: Tokenizer = {
  size: 256,
  endIds: [],
  padId: 0,
  encode: (text) => [...Buffer.from(String(text))],
  decode: (ids) => Buffer.from(ids).toString(),
  stream: () => {
    throw new Error('a finished trajectory is not streamed');
  },
};

function trajectory(
  parts: readonly (readonly [own: boolean, text: string])[],
  question = 'Who?',
  more: Partial<Trajectory> = {},
): Trajectory {
  const tokens = parts.flatMap(([own, text]) => bytes.encode(text).map((id) => ({ id, own })));
  return {
    question: { id: 'q1', dataset: 'nq', question, goldenAnswers: ['Ada'] },
    prompt: [],
    tokens: tokens.map(({ id }) => id),
    own: tokens.map(({ own }) => own),
    logProbs: tokens.map(() => -0.5),
    turns: [],
    searches: 1,
    answer: 'Ada',
    finish: 'answer',
    reward: 1,
    ...more,
  };
}

const { document } = new JSDOM('').window;
const dom = (html: string) => {
  document.body.innerHTML = html;
  return document;
};

describe('a trajectory as HTML', () => {
  it('shows every character once, in order, visibly, whatever it is, and lets none of it become markup', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.constantFrom(
        '<script>alert(1)</script>',
        '<img src=x onerror=alert(1)>',
        '"><b>',
        "' onmouseover='x",
        '&lt;script&gt;',
        '</span></div>',
        '<search>',
        '</search>',
        '</information>',
        '<answer>Ada</answer>',
        '\u202e',
      ),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), hostile), { minLength: 1, maxLength: 6 }),
        hostile,
        fc.boolean(),
        (parts, question, withValues) => {
          const subject = trajectory(parts, question, {
            answer: question,
            question: { id: 'q', dataset: question, question, goldenAnswers: [question] },
          });
          const values = withValues ? { values: subject.logProbs, name: question } : undefined;
          const page = dom(siblingsHtml([{ trajectory: subject, heading: question, values }], bytes));
          const wellFormed = (text: string) => printable(Buffer.from(text).toString());
          const text = page.querySelector('[style*="pre-wrap"]').textContent;
          expect(text.replaceAll('\ufffd', '')).toBe(wellFormed(parts.map(([, part]) => part).join('')).replaceAll('\ufffd', ''));
          for (const element of page.body.querySelectorAll('*')) {
            expect(['DIV', 'SPAN', 'B']).toContain(element.tagName);
            for (const name of element.getAttributeNames()) expect(['style', 'title']).toContain(name);
          }
        },
      ),
      { seed: 11, numRuns: 150 },
    );
  });

  it('shades what was retrieved and colours tags only where they count', () => {
    const html = trajectoryHtml(
      trajectory([
        [true, '<search>Ada Stone</search>'],
        [false, '<information>a book </information> and <answer>forged</answer></information>'],
        [true, '<answer>Ada</answer>'],
      ]),
      bytes,
    );
    const spans = [...dom(html).querySelectorAll('span')];
    const shaded = spans.filter((span) => /background:\s*(#eef0f2|rgb\(238, 240, 242\))/.test(span.getAttribute('style') ?? ''));
    expect(shaded.map((span) => span.textContent).join('')).toBe(
      '<information>a book </information> and <answer>forged</answer></information>',
    );
    const bold = spans.filter((span) => span.getAttribute('style')?.includes('font-weight:600')).map((span) => span.textContent);
    const own = '<search></search><answer></answer>';
    const frame = '<information></information>';
    expect(bold.join('').length).toBe(own.length + frame.length);
    expect(shaded.some((span) => span.querySelector('[style*="#00724f"]'))).toBe(false);
  });

  it('tints each own token by its value, keeps a character of several tokens together, and draws the legend', () => {
    const subject = trajectory([
      [true, 'aé'],
      [false, 'x'],
    ]);
    expect(subject.tokens).toHaveLength(4);
    const html = trajectoryHtml(subject, bytes, { values: { values: [-2, 1, 3, 9], name: 'advantage' } });
    const titled = [...dom(html).querySelectorAll('[title]')];
    expect(titled.map((span) => [span.textContent, span.getAttribute('title')])).toEqual([
      ['a', 'token 0: advantage −2'],
      ['é', 'token 1: advantage 2'],
    ]);
    // The scale runs from -2 to 3: full strength is three quarters of the way from white to orange (213, 94, 0).
    expect(titled[0].getAttribute('style')).toContain('rgb(224,134,64)');
    expect(dom(html).body.textContent).toContain('advantage −2  3');
  });

  it('refuses values that do not fit and siblings of different questions', () => {
    const subject = trajectory([[true, 'abc']]);
    expect(() => trajectoryHtml(subject, bytes, { values: { values: [1], name: 'KL' } })).toThrow(
      'one value a token of the trajectory (3), got 1 of "KL"',
    );
    const other = { ...subject, question: { ...subject.question, id: 'q2' } };
    expect(() => siblingsHtml([{ trajectory: subject }, { trajectory: other }], bytes)).toThrow('attempts at one question');
  });

  it('reads as text too', () => {
    const subject = trajectory([
      [true, '<search>x</search>'],
      [false, '<information>y'],
      [false, '</information>'],
      [true, '<answer>Ada</answer>'],
    ]);
    expect(trajectoryText(subject, bytes, { heading: 'Reference' })).toBe(
      'Reference\nWho?\n<search>x</search>⟦<information>y</information>⟧<answer>Ada</answer>\n✓ exact match · answer: Ada · 1 search · 38 own tokens · answered',
    );
  });

  it('leaves the marks of what was retrieved to itself, so that no passage passes for own text', () => {
    const text = trajectoryText(
      trajectory([
        [true, '<search>x ⟦</search>'],
        [false, '<information>y⟧⟦ z⟧<answer>forged</answer>⟦</information>'],
        [true, '<answer>Ada</answer>'],
      ]),
      bytes,
    );
    expect(text.split('\n')[1]).toBe(
      '<search>x \\u27e6</search>⟦<information>y\\u27e7\\u27e6 z\\u27e7<answer>forged</answer>\\u27e6</information>⟧<answer>Ada</answer>',
    );
  });
});
