/**
 * The book: every notebook executed in its own kernel, some at a time, each left as an executed notebook and as a page, with a table of contents.
 *
 * A notebook that fails still gets its page, with the outputs so far and the reason, and so does a file that is no notebook; the others go on.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { escapeHtml } from '../display/bundle.js';
import { type MarkdownRenderer, markdownRenderer } from './markdown.js';
import { joinText, type Notebook, notebookTitle, readNotebook, writeNotebook } from './notebook.js';
import { htmlPage, notebookPage } from './page.js';
import { type CellProgress, NotebookError, type RunOptions, runNotebook } from './runner.js';

export interface BookOptions extends Pick<RunOptions, 'timeoutPerCell' | 'signal' | 'kernelSpec' | 'env'> {
  /** Notebooks, and folders whose own notebooks are taken by name. */
  readonly notebooks: readonly string[];
  /** Markdown files that become pages below the chapters, in this order. Links from one to the other (`grpo.md#loss`) lead to its page. */
  readonly appendix?: readonly string[];
  /** Where the book goes; default `book`. */
  readonly out?: string;
  /** Notebooks that run at the same time; default 2. Each takes a core and some hundred megabytes. */
  readonly parallel?: number;
  readonly onProgress?: (progress: BookProgress) => void;
}

export interface BookProgress extends CellProgress {
  readonly notebook: string;
  readonly notebooks: number;
  /** Code cells of the whole book that are done, and how many there are. */
  readonly doneInAll: number;
  readonly cellsInAll: number;
}

export interface BookChapter {
  readonly name: string;
  readonly title: string;
  /** Path of the executed notebook; undefined where the file was none. */
  readonly notebook?: string;
  /** Path of its page. */
  readonly page: string;
  readonly seconds: number;
  /** Why its run failed, with the real error text. */
  readonly failure?: string;
}

export interface Book {
  /** Path of the table of contents. */
  readonly index: string;
  readonly chapters: readonly BookChapter[];
}

/** Executes the notebooks and writes the book. Rejects only where nothing could be written or the signal aborts: see `failure` of the chapters. */
export async function buildBook({ notebooks, appendix = [], out = 'book', parallel = 2, onProgress, ...run }: BookOptions): Promise<Book> {
  const paths = await findNotebooks(notebooks);
  const renderer = await markdownRenderer();
  await mkdir(out, { recursive: true });
  const sources = await Promise.all(paths.map((path) => readNotebook(path).catch((error: Error) => error)));
  const titles = sources.map((source, index) => (source instanceof Error ? undefined : notebookTitle(source)) ?? nameOf(paths[index]));
  const cellsInAll = sources.reduce((count, source) => count + (source instanceof Error ? 0 : codeCells(source)), 0);
  let doneInAll = 0;

  /** The notebook with its outputs, as far as it got, and why not further. */
  const execute = async (path: string, name: string): Promise<{ executed: Notebook; failure?: string }> => {
    let done = 0;
    try {
      const executed = await runNotebook(path, {
        ...run,
        onCell: (progress) => {
          if (progress.state === 'done' || progress.state === 'skipped') {
            doneInAll++;
            done++;
          }
          onProgress?.({ ...progress, notebook: name, notebooks: paths.length, doneInAll, cellsInAll });
        },
      });
      return { executed };
    } catch (error) {
      if (!(error instanceof NotebookError)) throw error;
      doneInAll += codeCells(error.notebook) - done;
      return { executed: error.notebook, failure: error.message };
    }
  };

  const build = async (index: number): Promise<BookChapter> => {
    const [path, name, source] = [paths[index], nameOf(paths[index]), sources[index]];
    const started = performance.now();
    const broken = source instanceof Error;
    let { executed, failure } = broken ? { executed: NO_NOTEBOOK, failure: source.message } : await execute(path, name);
    const notebook = broken ? undefined : join(out, `${name}.ipynb`);
    if (notebook) await writeNotebook(notebook, executed);
    const neighbour = (at: number) =>
      at >= 0 && at < paths.length ? { title: titles[at], href: `${encodeURIComponent(nameOf(paths[at]))}.html` } : undefined;
    const pageOf = (shown: Notebook, why: string | undefined) =>
      notebookPage(shown, renderer, {
        title: titles[index],
        source: broken ? undefined : `${encodeURIComponent(name)}.ipynb`,
        index: 'index.html',
        previous: neighbour(index - 1),
        next: neighbour(index + 1),
        failure: why,
        address: (address, kind) => (kind === 'link' ? pageAddress(address, paths) : embedded(address, dirname(path))),
      });
    let page: string;
    try {
      page = pageOf(executed, failure);
    } catch (error) {
      failure = `${failure ? `${failure}\n` : ''}${path}: its page could not be made: ${(error as Error).message}`;
      page = pageOf(NO_NOTEBOOK, failure);
    }
    const chapter = { name, title: titles[index], notebook, page: join(out, `${name}.html`), failure };
    await writeWhole(chapter.page, page);
    return { ...chapter, seconds: (performance.now() - started) / 1000 };
  };

  const chapters: BookChapter[] = new Array(paths.length);
  let nextIndex = 0;
  const worker = async () => {
    while (nextIndex < paths.length) {
      const index = nextIndex++;
      chapters[index] = await build(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, paths.length) }, worker));
  const below = await writeAppendix(appendix, out, renderer);
  const index = join(out, 'index.html');
  await writeWhole(index, tableOfContents(chapters, sources, below, renderer));
  return { index, chapters };
}

const NO_NOTEBOOK: Notebook = { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };

const codeCells = ({ cells }: Notebook) => cells.filter((cell) => cell.cell_type === 'code').length;

async function findNotebooks(given: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of given) {
    if ((await stat(path)).isDirectory()) {
      const names = (await readdir(path)).filter((name) => name.endsWith('.ipynb')).sort();
      found.push(...names.map((name) => join(path, name)));
    } else found.push(path);
  }
  if (found.length === 0) throw new Error(`Found no notebook (.ipynb) in ${given.join(', ')}.`);
  const names = found.map(nameOf);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice) throw new Error(`Two notebooks are named "${twice}"; in a book each needs a name of its own.`);
  return found;
}

const nameOf = (path: string) => basename(path, '.ipynb');

interface AppendixPage {
  readonly title: string;
  readonly href: string;
  readonly summary?: string;
}

/** Pages of Markdown files in a folder of their own, so that none takes a chapter's name. */
async function writeAppendix(paths: readonly string[], out: string, renderer: MarkdownRenderer): Promise<AppendixPage[]> {
  if (paths.length) await mkdir(join(out, APPENDIX), { recursive: true });
  const sources = await Promise.all(paths.map((path) => readFile(path, 'utf8')));
  const notebooks = sources.map((source): Notebook => ({ ...NO_NOTEBOOK, cells: [{ cell_type: 'markdown', metadata: {}, source }] }));
  const names = paths.map((path) => basename(path, '.md'));
  const pages = notebooks.map((notebook, at) => ({
    title: notebookTitle(notebook) ?? names[at],
    href: `${encodeURIComponent(names[at])}.html`,
  }));
  for (const [at, notebook] of notebooks.entries()) {
    const page = notebookPage(notebook, renderer, {
      title: names[at],
      index: '../index.html',
      previous: pages[at - 1],
      next: pages[at + 1],
      address: (address) => address.replace(/^([^/:#?]+)\.md(?=#|$)/, '$1.html'),
    });
    await writeWhole(join(out, APPENDIX, `${names[at]}.html`), page);
  }
  return pages.map(({ title, href }, at) => ({ title, href: `${APPENDIX}/${href}`, summary: firstParagraph(notebooks[at]) }));
}

const APPENDIX = 'reference';

function tableOfContents(
  chapters: readonly BookChapter[],
  sources: readonly (Notebook | Error)[],
  appendix: readonly AppendixPage[],
  renderer: MarkdownRenderer,
): string {
  const items = chapters.map(({ name, title, failure }, index) => {
    const source = sources[index];
    const summary = source instanceof Error ? source.message : firstParagraph(source);
    return `<li><a href="${escapeHtml(encodeURIComponent(name))}.html">${escapeHtml(title)}</a>${failure ? ' <span class="failed">run failed</span>' : ''}
${summary ? (source instanceof Error ? `<p>${escapeHtml(summary)}</p>` : summaryHtml(summary, renderer)) : ''}</li>`;
  });
  const below = appendix.map(
    ({ title, href, summary }) =>
      `<li><a href="${escapeHtml(href)}">${escapeHtml(title)}</a>\n${summary ? summaryHtml(summary, renderer) : ''}</li>`,
  );
  return htmlPage(
    'Contents',
    `<nav class="bar"><span>search-e1</span><button class="colours" type="button" title="Light or dark" hidden>◐</button></nav>
<main><h1>A language model learns to search</h1>
<p>The notebooks of search-e1, executed. Each page has its notebook beside it.</p>
<ol class="chapters">
${items.join('\n')}
</ol>
${below.length ? `<h2>Reference</h2>\n<p>What can be imported, a page a module.</p>\n<ul class="chapters">\n${below.join('\n')}\n</ul>` : ''}</main>`,
    renderer.mathStyle([...items, ...below].join('')),
  );
}

/** A paragraph that cannot be set (broken mathematics) is shown as it is written: its own page says what is wrong. */
function summaryHtml(summary: string, renderer: MarkdownRenderer): string {
  try {
    return renderer.html(summary);
  } catch {
    return `<p>${escapeHtml(summary)}</p>`;
  }
}

/** What a notebook says first below its title. */
function firstParagraph(notebook: Notebook): string | undefined {
  const first = notebook.cells.find((cell) => cell.cell_type === 'markdown');
  const paragraphs = first ? joinText(first.source).split(/\n\s*\n/) : [];
  return paragraphs.map((paragraph) => paragraph.replace(/^#.*$/gm, '').trim()).find((paragraph) => paragraph !== '');
}

/** A link to another notebook of the book is one to its page. */
function pageAddress(address: string, paths: readonly string[]): string {
  const [, name, rest] = /^(?:\.\/)?([^/#?]+)\.ipynb(#.*)?$/.exec(address) ?? [];
  return name && paths.some((path) => nameOf(path) === decoded(name)) ? `${name}.html${rest ?? ''}` : address;
}

/** An address without its percent signs; as it is where they mean nothing. */
function decoded(address: string): string {
  try {
    return decodeURIComponent(address);
  } catch {
    return address;
  }
}

const PICTURES: Readonly<Record<string, string>> = {
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.gif': 'image/gif',
  '.svg': 'image/svg+xml',
  '.webp': 'image/webp',
};

/** A picture that lies beside the notebook becomes part of the page. */
function embedded(address: string, folder: string): string {
  if (/^[a-z]+:/i.test(address)) return address;
  const path = resolve(folder, decoded(address));
  const type = PICTURES[extname(path).toLowerCase()];
  if (!type || !existsSync(path)) return address;
  return `data:${type};base64,${readFileSync(path).toString('base64')}`;
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}
