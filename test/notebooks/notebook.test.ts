import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readNotebook } from '../../src/notebooks/notebook.js';

const folder = mkdtempSync(join(tmpdir(), 'notebooks-'));
const read = (text: string) => {
  const path = join(folder, 'a.ipynb');
  writeFileSync(path, text);
  return readNotebook(path);
};
const withCell = (cell: unknown) => JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells: [cell] });
const stream = { output_type: 'stream', name: 'stdout', text: 'x' };

describe('a notebook that is read', () => {
  it('has what nbformat lets its cells leave out, and may begin with a byte order mark', async () => {
    const text = `\ufeff${JSON.stringify({ nbformat: 4, cells: [{ cell_type: 'code', source: '1' }] })}`;
    expect((await read(text)).cells[0]).toEqual({ cell_type: 'code', source: '1', metadata: {}, outputs: [], execution_count: null });
  });

  it.each([
    ['{"cells": [', 'expected a notebook (JSON), got a file that does not parse'],
    ['', 'expected a notebook (JSON)'],
    ['null', 'got JSON without nbformat'],
    ['[]', 'got JSON without nbformat'],
    ['{"nbformat": 3, "worksheets": []}', 'expected nbformat 4 with cells, got nbformat 3. Open and save it in JupyterLab'],
    ['{"nbformat": 4}', 'expected a notebook with a list of cells'],
    [withCell(null), 'cell 1 of all: expected a cell, got null'],
    [withCell({ cell_type: 'heading', source: 'x' }), 'cell 1 of all: expected cell_type code, markdown or raw, got "heading"'],
    [withCell({ cell_type: 'code' }), 'expected source that is text or lines of text, got undefined'],
    [withCell({ cell_type: 'code', source: [1] }), 'expected source that is text or lines of text, got [1]'],
    [withCell({ cell_type: 'code', source: '', metadata: { tags: 'x' } }), 'expected tags that are a list of words'],
    [withCell({ cell_type: 'code', source: '', outputs: [stream, { output_type: 'pyout' }] }), 'expected outputs of nbformat 4'],
    [withCell({ cell_type: 'code', source: '', outputs: [{ ...stream, text: 7 }] }), 'expected outputs of nbformat 4'],
  ])('is named with what is wrong: %s', async (text, reason) => {
    await expect(read(text)).rejects.toThrow(`${join(folder, 'a.ipynb')}`);
    await expect(read(text)).rejects.toThrow(reason);
  });

  it('is named where it cannot be read at all', async () => {
    await expect(readNotebook(folder)).rejects.toThrow(`${folder}: expected a notebook, got a file that cannot be read`);
  });
});
