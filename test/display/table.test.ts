import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { tableHtml, tableText } from '../../src/display/table.js';

const rows = [
  { set: 'NQ', n: 3610, em: 0.34567 },
  { set: 'HotpotQA', n: 7405, em: -0.5 },
  { set: 'MuSiQue', em: null },
];

describe('a table', () => {
  it('aligns numbers at the right and text at the left', () => {
    expect(tableText(rows, { caption: 'Exact match (0 to 1)' })).toBe(
      [
        'Exact match (0 to 1)',
        'set          n      em',
        '--------  ----  ------',
        'NQ        3610   0.346',
        'HotpotQA  7405  −0.500',
        'MuSiQue',
      ].join('\n'),
    );
  });

  it('says how many rows it leaves out, and chooses columns', () => {
    expect(tableText(rows, { columns: ['n'], maxRows: 1 })).toBe('n\n----\n3610\n2 more rows'.replace('n\n', '   n\n'));
    expect(() => tableText([])).toThrow('no rows');
    expect(tableText([], { columns: ['n'] })).toBe('n\n-');
  });

  it('escapes every cell, heading and caption', () => {
    const html = tableHtml([{ '<i>': '<script>x</script>' }], { caption: '<b>' });
    expect(html).not.toMatch(/<(i|b|script)>/);
    expect(html).toContain('&#60;script&#62;x&#60;/script&#62;');
  });

  it('takes a danfo.js data frame', () => {
    const { DataFrame } = createRequire(import.meta.url)('danfojs-node');
    expect(tableText(new DataFrame([{ a: 'x', b: 1.5 }]))).toBe(tableText([{ a: 'x', b: 1.5 }]));
  });

  it('takes a danfo.js series, one value a row', () => {
    const { DataFrame, Series } = createRequire(import.meta.url)('danfojs-node');
    expect(tableText(new DataFrame({ em: [0.25, 0.5] }).em)).toBe('em\n-----\n0.250\n0.500'.replace('em\n', '   em\n'));
    expect(
      tableText(new Series(['x', 'y']))
        .split('\n')
        .slice(2),
    ).toEqual(['x', 'y']);
  });

  it('shows a row without values as a row, in text as on the page', () => {
    const { Series } = createRequire(import.meta.url)('danfojs-node');
    for (const gaps of [new Series(['x', '', null, 'y']), [{ 0: 'x' }, { 0: '' }, {}, { 0: 'y' }]]) {
      expect(tableText(gaps)).toBe('0\n-\nx\n\n\ny');
      expect(tableHtml(gaps).match(/<tr><td/g)).toHaveLength(4);
    }
  });

  it('keeps the order of columns whose names are numbers, and two columns of one name', () => {
    const frame = { columns: ['10', '2', '2'], values: [['a', 'b', 'c']] };
    expect(tableText(frame)).toBe('10  2  2\n--  -  -\na   b  c');
    expect(tableText([new Map([['10', 'a'], ['2', 'b']])])).toBe('10  2\n--  -\na   b'); // biome-ignore format: one line
    expect(tableText([{ 10: 'a', 2: 'b' }], { columns: ['10', '2'] })).toBe('10  2\n--  -\na   b');
  });

  it('shows whatever a cell holds', () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const values = [
      [new Map([['a', 1]]), '{"a":1}'],
      [new Set([1, 2]), '[1,2]'],
      [{ deep: [{ n: 1n, x: Number.NaN }] }, '{"deep":[{"n":"1","x":"NaN"}]}'],
      [Float32Array.of(1, 2), '[1,2]'],
      [12345678901234567890n, '12345678901234567890'],
      [new Date(2026, 0, 2, 3, 4, 5), '2026-01-02 03:04:05'],
      [circle, '[object Object]'],
      [true, 'true'],
      [Symbol('s'), 'Symbol(s)'],
      ['a\u001b[31m\nb\u202e', 'a\\x1b[31m b\\u202e'],
    ] as const;
    for (const [value, text] of values) {
      expect(
        tableText([{ v: value }])
          .split('\n')[2]
          .trim(),
      ).toBe(text);
      expect(tableHtml([{ v: value }])).not.toContain('\u001b');
    }
    expect(tableText([{ v: null, w: undefined, x: 1 }], { columns: ['v', 'w', 'x'] })).toMatch(/ {2}1$/);
  });

  it('shows a number that its digits would make nought', () => {
    expect(tableText([{ rate: 0.000001 }, { rate: -0.25 }, { rate: 0 }]).split('\n').slice(2).map((line) => line.trim())).toEqual(['1.00e−6', '−0.250', '0.000']); // biome-ignore format: one line
  });

  it('has rows whose columns differ, a thousand of them, and shows a hundred', () => {
    const many = Array.from({ length: 1000 }, (_, index) => (index % 2 ? { odd: index } : { even: index }));
    const lines = tableText(many).split('\n');
    expect(lines[0].split(/ +/).filter(Boolean)).toEqual(['even', 'odd']);
    expect(lines).toHaveLength(103);
    expect(lines.at(-1)).toBe('900 more rows');
    expect(tableText(many, { maxRows: 1000 }).split('\n')).toHaveLength(1002);
  });

  it('says which options are none, where it would show nothing or another number of rows', () => {
    for (const [options, text] of [
      [{ maxRows: Number.NaN }, 'table: maxRows: expected a whole number from 0, got NaN'],
      [{ maxRows: -1 }, 'table: maxRows: expected a whole number from 0, got -1'],
      [{ digits: -1 }, 'table: digits: expected a whole number from 0 to 100, got -1'],
      [{ digits: '2' }, 'table: digits: expected a whole number from 0 to 100, got "2"'],
      [{ columns: 'set' }, 'table: columns: expected a list of texts, got "set"'],
      [{ maxrows: 1 }, 'table: there is no option maxrows'],
      [null, 'table: options: expected an object, got null'],
    ] as const)
      expect(() => tableText(rows, options as never)).toThrow(text);
    expect(tableText(rows, { maxRows: Number.POSITIVE_INFINITY })).not.toContain('more rows');
  });

  it('says what is no table', () => {
    for (const [data, text] of [
      [[1, 2], 'got number 1 as row 1'],
      [[null], 'got null as row 1'],
      [undefined, 'got undefined'],
      [{ a: 1 }, 'got an object'],
    ] as const)
      expect(() => tableText(data as never)).toThrow(text);
    expect(() => tableText(rows, { columns: ['sett'] })).toThrow('expected columns of the rows (set, n, em), got "sett"');
  });
});
