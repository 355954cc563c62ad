import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'tsdown';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Book, buildBook } from '../../src/notebooks/book.js';
import { markdownRenderer } from '../../src/notebooks/markdown.js';
import { type CodeCell, readNotebook } from '../../src/notebooks/notebook.js';
import { describeBook } from '../../src/notebooks/report-progress.js';
import { checkout, kernelSpec, notebookOf } from './checkout.js';

const DISPLAYS = `import { showPlot, table, tracked, liveOutput, interruptSignal } from 'search-e1/display';
table([{ set: '<script>alert(1)</script>', em: 0.5 }], { caption: 'EM (0 to 1)' });
await showPlot([{ y: [1, 2], name: 'a' }], { xaxis: 'step', yaxis: 'loss (nats)' });
for (const item of tracked([1, 2, 3], { label: 'Going' })) await new Promise((r) => setTimeout(r, item));`;

/** Nobody waits for these pictures. */
const UNAWAITED = `import { livePlot } from 'search-e1/display';
showPlot([{ y: [1, 2], name: 'b' }], { xaxis: 'step', yaxis: 'loss (nats)' });
const live = livePlot({ xaxis: 'step', yaxis: 'reward (0 to 1)' });
for (let i = 1; i < 2000; i++) live.update([{ y: [i] }]);
void live.finish();`;

/** A loop that was given the signal, in a cell of its own: tslab forgets what a failed cell declares. */
const LOOP = `import { interruptSignal } from 'search-e1/display';
let steps = 0;
const signal = interruptSignal();
const loop = (async () => { while (!signal.aborted) { steps++; await new Promise((r) => setTimeout(r, 5)); } return signal.reason.name; })();`;

/** The reader interrupts while a cell waits. */
const INTERRUPTED = `setTimeout(() => process.kill(process.pid, 'SIGINT'), 50);
await new Promise((r) => setTimeout(r, 60_000));`;

describe('the book', () => {
  let book: Book;
  let out: string;

  beforeAll(async () => {
    const root = checkout();
    await build({
      config: false,
      entry: { display: 'src/display/index.ts' },
      format: 'cjs',
      dts: true,
      fixedExtension: false,
      outDir: join(root, 'dist'),
      clean: false,
      report: false,
      logLevel: 'silent',
    });
    const { version: _, ...map } = JSON.parse(readFileSync('package.json', 'utf8'));
    const { display } = map.typesVersions['*'];
    const exports = { '.': './dist/index.js', './display': './dist/display.cjs' };
    writeFileSync(
      join(root, 'package.json'),
      JSON.stringify({ name: 'search-e1', main: 'dist/index.js', types: 'dist/index.d.ts', typesVersions: { '*': { display } }, exports }),
    );
    writeFileSync(join(root, 'dist', 'package.json'), '{ "type": "commonjs" }');
    const folder = join(root, 'notebooks');
    mkdirSync(folder, { recursive: true });
    const write = (name: string, cells: Parameters<typeof notebookOf>[0]) =>
      writeFileSync(join(folder, `${name}.ipynb`), JSON.stringify(notebookOf(cells)));
    write('01-first', [
      {
        kind: 'markdown',
        source: '# The first\n\nWhat it is: $\\bar r$.\n\n[on](02-second.ipynb#more) and [out](https://example.org/a.ipynb)',
      },
      { kind: 'code', source: DISPLAYS },
      { kind: 'code', source: UNAWAITED },
      { kind: 'code', source: "console.log('the next cell')" },
    ]);
    write('02-second', [
      { kind: 'markdown', source: '# The second\n\n## More' },
      { kind: 'code', source: LOOP },
      { kind: 'code', source: INTERRUPTED, tags: ['raises-exception'] },
      {
        kind: 'code',
        source:
          'const before = steps; const how = await loop; await new Promise((r) => setTimeout(r, 50)); console.log(how, steps - before < 2);',
      },
      { kind: 'code', source: "throw new Error('<b>broken</b>');" },
    ]);
    out = join(root, 'book');
    const appendix = ['one', '01-first'].map((name) => join(root, `${name}.md`));
    writeFileSync(appendix[0], '# Module one\n\nWhat it has.\n\n[two](01-first.md#part) and [out](https://example.org/a.md)');
    writeFileSync(appendix[1], '# Module two\n\n## Part');
    book = await buildBook({ notebooks: [folder], appendix, out, kernelSpec, env: { SEARCH_E1_ROOT: root } });
  });

  it('leaves an executed notebook and a page for each, and says what failed', () => {
    expect(book.index).toBe(join(out, 'index.html'));
    expect(book.chapters.map(({ name, title }) => [name, title])).toEqual([
      ['01-first', 'The first'],
      ['02-second', 'The second'],
    ]);
    expect(book.chapters[0].failure).toBeUndefined();
    expect(book.chapters[1].failure).toContain('Error: <b>broken</b>');
    const page = readFileSync(book.chapters[1].page, 'utf8');
    expect(page).toContain('run failed');
    expect(page).not.toContain('<b>broken</b>');
  });

  it('has Markdown files as pages below the chapters, in contents, links and a folder of their own', () => {
    const contents = readFileSync(book.index, 'utf8');
    expect(contents).toMatch(
      /<a href="reference\/one\.html">Module one<\/a>\n<p>What it has\.<\/p>[\s\S]*<a href="reference\/01-first\.html">Module two<\/a>/,
    );
    const one = readFileSync(join(out, 'reference', 'one.html'), 'utf8');
    expect(one).toContain('<a href="01-first.html#part">two</a> and <a href="https://example.org/a.md">');
    expect(one).toContain('<a href="../index.html">Contents</a>');
    expect(one).toContain('<a href="01-first.html">Module two →</a>');
    expect(readFileSync(join(out, 'reference', '01-first.html'), 'utf8')).toContain('<h2 id="part">');
  });

  it('saves a plot as one output with text, picture and Plotly figure, and progress as its last state only', async () => {
    const cell = (await readNotebook(book.chapters[0].notebook as string)).cells[1] as CodeCell;
    const bundles = cell.outputs.map((output) => ('data' in output ? output.data : {}));
    expect(bundles.map((data) => Object.keys(data))).toEqual([
      ['text/html', 'text/plain'],
      ['text/plain', 'image/png', 'application/vnd.plotly.v1+json'],
      ['text/plain', 'text/html'],
    ]);
    expect(bundles[1]['application/vnd.plotly.v1+json']).toMatchObject({ data: [{ y: [1, 2], name: 'a' }], layout: { width: 720 } });
    expect(String(bundles[1]['image/png']).slice(0, 8)).toBe('iVBORw0K');
    expect(String(bundles[2]['text/plain'])).toMatch(/^Going: 3 of 3 steps, in /);
  });

  it('leaves every picture in its own cell, whole, also where nobody waits for it', async () => {
    const { cells } = await readNotebook(book.chapters[0].notebook as string);
    const [unawaited, next] = [cells[2] as CodeCell, cells[3] as CodeCell];
    const bundles = unawaited.outputs.map((output) => ('data' in output ? output.data : {}));
    expect(bundles.map((data) => 'image/png' in data)).toEqual([true, true]);
    expect(bundles.map((data) => (data['application/vnd.plotly.v1+json'] as { data: { y: unknown }[] }).data[0].y)).toEqual([
      [1999],
      [1, 2],
    ]);
    expect(next.outputs).toEqual([{ output_type: 'stream', name: 'stdout', text: ['the next cell\n'] }]);
  });

  it('stops a loop when the reader interrupts its cell', async () => {
    const cell = (await readNotebook(book.chapters[1].notebook as string)).cells[3] as CodeCell;
    expect(cell.outputs).toEqual([{ output_type: 'stream', name: 'stdout', text: ['AbortError true\n'] }]);
  });

  it('makes pages that need nothing else and let no script run but their own', () => {
    for (const { page } of book.chapters) {
      const html = readFileSync(page, 'utf8');
      expect(html.match(/<script/g)).toHaveLength(1);
      expect(html).toMatch(/Content-Security-Policy" content="default-src 'none'; .*script-src 'sha256-/);
      expect(html).not.toMatch(/(?:src|href)="(?:https?:)?\/\/(?!example\.org)/);
      expect(html).not.toMatch(/url\((?!data:)/);
    }
    const first = readFileSync(book.chapters[0].page, 'utf8');
    expect(first).toContain('src="data:image/png;base64,iVBORw0K');
    expect(first).toContain('font/woff2;base64,');
  });

  it('links its pages to each other, to their notebooks and to the contents', () => {
    const first = readFileSync(book.chapters[0].page, 'utf8');
    for (const address of ['02-second.html#more', 'https://example.org/a.ipynb', '01-first.ipynb', '02-second.html', 'index.html'])
      expect(first).toContain(`href="${address}"`);
    expect(readFileSync(book.index, 'utf8')).toMatch(/href="01-first.html">The first<\/a>\s*<p>What it is: /);
  });
});

describe('a batch with broken notebooks', () => {
  it('names each, goes on with the others and leaves a page for all', { timeout: 120_000 }, async () => {
    const root = checkout();
    const folder = join(root, 'notebooks');
    const write = (name: string, text: string) => writeFileSync(join(folder, `${name}.ipynb`), text);
    const cells = (source: string) => JSON.stringify(notebookOf([{ kind: 'markdown', source }, { kind: 'code', source: "console.log('ran')" }])); // biome-ignore format: one line
    write('1-torn', '{"cells": [<b>');
    write('2-old', '{"nbformat": 3, "worksheets": []}');
    write('3-good', cells('# Good\n\n[next](4-mathematics.ipynb) ![lost](100%.png)'));
    write('4-mathematics', cells('Broken: $\\frac{1}$'));
    write('5#good', cells('# Also good'));
    symlinkSync(join(folder, 'nowhere'), join(folder, '6-dangling.ipynb'));
    const out = join(root, 'book');
    const seen: number[] = [];
    const { chapters, index } = await buildBook({
      notebooks: [folder],
      out,
      kernelSpec,
      env: { SEARCH_E1_ROOT: root },
      onProgress: ({ doneInAll, cellsInAll }) => seen.push(doneInAll, cellsInAll),
    });
    const failures = chapters.map(({ failure }) => failure);
    expect(failures.map((failure) => failure !== undefined)).toEqual([true, true, false, true, false, true]);
    expect(failures[0]).toMatch(/1-torn\.ipynb: expected a notebook \(JSON\)/);
    expect(failures[1]).toMatch(/2-old\.ipynb: expected nbformat 4 with cells, got nbformat 3/);
    expect(failures[3]).toMatch(/4-mathematics\.ipynb: its page could not be made: KaTeX parse error/);
    expect(failures[5]).toMatch(/6-dangling\.ipynb: .* cannot be read/);
    expect(chapters.map(({ notebook }) => notebook !== undefined)).toEqual([false, false, true, true, true, false]);
    for (const { page, failure } of chapters) expect(readFileSync(page, 'utf8').includes('run failed')).toBe(failure !== undefined);
    expect(readFileSync(chapters[2].page, 'utf8')).toContain('<pre class="stdout">ran');
    expect(readFileSync(chapters[4].page, 'utf8')).toContain('href="5%23good.ipynb"');
    expect(readFileSync(index, 'utf8').match(/run failed/g)).toHaveLength(4);
    expect(readFileSync(index, 'utf8')).not.toContain('[<b>');
    expect(seen.at(-2)).toBe(seen.at(-1));
    const said = describeBook({ chapters, index });
    for (const name of ['1-torn', '2-old', '4-mathematics', '6-dangling']) expect(said).toContain(`${name}.ipynb: `);
  });
});

describe('Markdown', () => {
  it('knows mathematics from money', async () => {
    const { html } = await markdownRenderer();
    expect(html('$x$ and $$y$$').match(/class="katex"/g)).toHaveLength(2);
    expect(html('$$\nx\n$$\n\ntext')).toContain('katex-display');
    for (const text of ['costs $5 or $6', 'a \\$b\\$ c', '`$x$`', '```\n$x$\n```']) expect(html(text)).not.toContain('katex');
  });

  it('fails on broken mathematics, and escapes code', async () => {
    const { html, code } = await markdownRenderer();
    expect(() => html('$\\frac{1}$')).toThrow();
    expect(code("'<b>'", 'typescript')).not.toContain('<b>');
    expect(code('<b>', 'no-such-language')).toBe('&#60;b&#62;');
  });
});
