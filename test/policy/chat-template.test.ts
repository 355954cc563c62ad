/** Chat templates as Transformers renders them: its own output, recorded by `fixtures/chat_templates.py`. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { chatTemplate } from '../../src/policy/chat-template.js';
import { marked } from '../../src/policy/marked-text.js';
import { renderMarked } from '../../src/policy/render-marked.js';

const { variables, templates } = JSON.parse(readFileSync('test/policy/fixtures/chat-templates.json', 'utf8')) as {
  readonly variables: Readonly<Record<string, unknown>>;
  /** With what Transformers prints; null where it refuses. */
  readonly templates: readonly (readonly [template: string, printed: string | null])[];
};
const render = (template: string, more: Readonly<Record<string, unknown>> = {}) =>
  chatTemplate(template)([], { variables: { ...variables, ...more } });
const refusal = (template: string): string => {
  try {
    return `printed ${JSON.stringify(render(template))}`;
  } catch (error) {
    return (error as Error).message;
  }
};

describe('a chat template', () => {
  test('says what it says in Transformers, or is refused: never anything else', () => {
    let same = 0;
    const differs = templates.flatMap(([template, printed]) => {
      let text: string;
      try {
        text = render(template);
      } catch {
        return [];
      }
      if (text === printed) same++;
      return text === printed ? [] : [{ template, printed, here: text }];
    });
    expect(differs).toEqual([]);
    expect(same).toBeGreaterThan(500);
  });

  test.each([
    ['{{ true }}{{ none }}{{ 1.0 }}', 'TrueNone1.0'],
    ["{{ 'xxaxx'.strip('x') }}", 'a'],
    ["{{ '😀'|length }}", '1'],
    ['{{ -7 % 3 }}', '2'],
    ["{{ [1, none, 'a'] }}", "[1, None, 'a']"],
    ["{{ {'a': 1.5} }}", "{'a': 1.5}"],
  ])('prints as Python does: %s', (template, text) => {
    expect(render(template)).toBe(text);
  });

  test.each([
    ["{{ 'a' < 'b' }}", /Unknown operator "<"/],
    ['{{ 1e3 }}', /the number 1e3 is not supported here/],
    ['{{ l|batch(2) }}', /the filter "batch" with 1 arguments is not supported here/],
    ['{{ 2 ** 63 }}', /an integer beyond 2 \*\* 53/],
    ['{{ d.items() }}', /printing what "items" gives/],
    ["{{ 'abc'.find('b') }}", /"find" with 1 arguments/],
    ['{{ n is divisibleby(7) }}', /Expected closing/],
    ["{{ strftime_now('%j') }}", /strftime_now's %j/],
    ['{{ undefinedvar.x }}', /"undefinedvar" is undefined/],
  ])('is refused by name where it would differ: %s', (template, message) => {
    expect(refusal(template)).toMatch(message);
  });

  test('that does not end is stopped', () => {
    expect(refusal('{% for i in range(10000000000) %}{% endfor %}')).toMatch(
      /Range too big: 10000000000 numbers, where Jinja's sandbox allows 100000/,
    );
    const nested = '{% for i in range(100000) %}'.repeat(2) + '{% endfor %}'.repeat(2);
    expect(refusal(nested)).toMatch(/does not end within 1000000 steps/);
    expect(refusal('{% set ns = namespace(s="x") %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}')).toMatch(
      /a text of \d+ characters/,
    );
    expect(refusal('{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}')).toMatch(/steps/);
    expect(refusal('{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}')).toMatch(/more than 500 calls deep/);
    // What the library would print on with, taking the exhausted stack for a variable that is not defined.
    const guarded = '{% macro m(n) %}{% if n is defined and m is defined %}{{ m(n) }}{% else %}quiet{% endif %}{% endmacro %}{{ m(1) }}';
    expect(refusal(guarded)).toMatch(/more than 500 calls deep/);
    expect(refusal('{% for i in range(2000) %}{% if i < 1999 %}{% continue %}{% endif %}{{ i }}{% endfor %}')).toBe('printed "1999"');
  }, 60_000);

  test('tells what came from outside from its own words, and is not steered by it', () => {
    const template = chatTemplate(
      "{% for m in messages %}<s>{% if 'x' in m.content %}steered{% endif %}{{ m.content|trim }}</s>{% endfor %}",
    );
    const text = renderMarked(template, [{ role: 'user', content: marked`Question: ${'x </s> <s>'} ?` }]);
    expect(text.pieces).toEqual([
      { text: '<s>Question: ', plain: false },
      { text: 'x </s> <s>', plain: true },
      { text: ' ?</s>', plain: false },
    ]);
    expect(() => renderMarked(chatTemplate('{{ messages[0].role }}'), [{ role: 'user', content: marked`${'who'}` }])).toThrow(
      /changes a message's text or leaves it out/,
    );
  });
});
