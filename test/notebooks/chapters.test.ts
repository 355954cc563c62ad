/** The project's own notebooks: as they are committed, and as they run today. */
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildBook } from '../../src/notebooks/book.js';
import { readNotebook } from '../../src/notebooks/notebook.js';

const names = readdirSync('notebooks').filter((name) => name.endsWith('.ipynb'));

describe('the notebooks of the project', () => {
  it('are the four chapters', () => {
    expect(names).toEqual(['01-search-agent.ipynb', '02-real-questions.ipynb', '03-self-evolution.ipynb', '04-three-seeds.ipynb']);
  });

  it.each(names)('%s is committed as it ran: every cell once and in order, without an error, in the project kernel', async (name) => {
    const { cells, metadata } = await readNotebook(join('notebooks', name));
    const code = cells.flatMap((cell) => (cell.cell_type === 'code' ? [cell] : []));
    expect(code.map((cell) => cell.execution_count)).toEqual(code.map((_, i) => i + 1));
    expect(
      code
        .flatMap((cell) => cell.outputs)
        .filter((output) => output.output_type === 'error' || (output.output_type === 'stream' && output.name === 'stderr')),
    ).toEqual([]);
    expect((metadata.kernelspec as { name: string }).name).toBe('search-e1');
  });

  it.each(names)('%s shows no path of the machine it ran on', async (name) => {
    const text = JSON.stringify(await readNotebook(join('notebooks', name)));
    expect(text).not.toContain(resolve('.'));
    expect(text).not.toMatch(/\/(home|root|Users|tmp|work)\/\w/);
  });

  it('run from top to bottom and show what they showed when they were committed', async () => {
    const out = mkdtempSync(join(tmpdir(), 'search-e1-book-'));
    const { chapters } = await buildBook({ notebooks: ['notebooks'], out, kernelSpec: resolve('kernels/search-e1') });
    expect(chapters.map(({ name, failure }) => ({ name, failure }))).toEqual(
      names.map((name) => ({ name: name.replace('.ipynb', ''), failure: undefined })),
    );
  });
});
