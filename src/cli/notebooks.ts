/** `search-e1 notebooks`: what `npm start` runs. Executes notebooks in their kernel and leaves a book of pages. */
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { printable, printableJson } from '../display/printable.js';
import { buildBook, describeBook, reportProgress } from '../notebooks/index.js';
import { packageRoot } from '../platform/datasets.js';
import { Failed, givenBy, type Io, interruptible, UsageError } from './io.js';
import { addCommonOptions, type CommonFlags, examples, integer, positive } from './options.js';

interface Flags extends CommonFlags {
  readonly out: string;
  readonly appendix?: string;
  readonly timeout: number;
  readonly parallel: number;
}

export function defineNotebooks(command: Command, io: Io): void {
  command
    .description(
      'Executes notebooks through the tslab kernel, headless, and leaves each as an executed notebook and as an HTML page, with a table of contents. A notebook that fails keeps its page, with the reason.',
    )
    .argument('[files...]', 'notebooks and folders of notebooks (default: the notebooks of this project)')
    .option('--out <folder>', 'where the book goes', 'book')
    .option('--appendix <folder>', 'a folder whose Markdown files become pages below the chapters')
    .option('--timeout <seconds>', 'how long a cell may take', positive(), 600)
    .option('--parallel <n>', 'notebooks that run at the same time', integer(1), 2);
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'notebooks                            the whole book, into book/',
        'notebooks notebooks/01-*.ipynb --out draft',
        'notebooks --parallel 1 --json        one at a time, for a small machine',
      ]),
    )
    .action((files: string[], flags: Flags) => runNotebooks(files, flags, io));
}

async function runNotebooks(files: readonly string[], { out, appendix, timeout, parallel, backend, json }: Flags, io: Io): Promise<void> {
  const missing = [...files, ...(appendix === undefined ? [] : [appendix])].find((file) => !existsSync(file));
  if (missing !== undefined) throw new UsageError(`${missing}: there is no such notebook or folder`);
  const own = join(packageRoot(), 'notebooks');
  if (files.length === 0 && !existsSync(own)) {
    throw new UsageError('no notebooks given, and the installed package brings none: name some, or work in a clone of the project');
  }
  await givenBy('--out', () => mkdir(out, { recursive: true }));
  const book = await interruptible(
    io.signal,
    async () =>
      buildBook({
        notebooks: files.length ? files : [relative('.', own) || '.'],
        appendix: appendix === undefined ? [] : await markdownFiles(appendix),
        out,
        parallel,
        timeoutPerCell: timeout,
        signal: io.signal,
        env: backend === 'auto' ? {} : { SEARCH_E1_BACKEND: backend },
        onProgress: reportProgress(io.stderr as NodeJS.WriteStream),
      }),
    () => `the notebooks that were done are in ${out}; the others are run again from the start`,
  );
  io.stdout.write(json ? `${printableJson(book)}\n` : `${printable(describeBook(book))}\n`);
  const failed = book.chapters.filter(({ failure }) => failure !== undefined);
  if (failed.length)
    throw new Failed(`${failed.length} of ${book.chapters.length} notebooks failed: ${failed.map(({ name }) => name).join(', ')}`);
}

async function markdownFiles(folder: string): Promise<string[]> {
  const names = await givenBy('--appendix', () => readdir(folder));
  return names
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => join(folder, name));
}
