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
});
