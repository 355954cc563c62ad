/** Notebooks on disk: nbformat 4, as much of it as is read and written here (https://nbformat.readthedocs.io/en/latest/format_description.html). */
import { readFile, rename, writeFile } from 'node:fs/promises';

/** nbformat keeps long text as one string or as lines that end in a newline. */
export type MultilineText = string | readonly string[];

/** Data by mime type: text as `MultilineText`, images in base64, `application/...+json` as the value itself. */
export type MimeBundle = Readonly<Record<string, unknown>>;

export type Output =
  | { readonly output_type: 'stream'; readonly name: 'stdout' | 'stderr'; readonly text: MultilineText }
  | { readonly output_type: 'display_data'; readonly data: MimeBundle; readonly metadata: Readonly<Record<string, unknown>> }
  | {
      readonly output_type: 'execute_result';
      readonly data: MimeBundle;
      readonly metadata: Readonly<Record<string, unknown>>;
      readonly execution_count: number | null;
    }
  | { readonly output_type: 'error'; readonly ename: string; readonly evalue: string; readonly traceback: readonly string[] };

export interface CodeCell {
  readonly cell_type: 'code';
  readonly id?: string;
  readonly metadata: CellMetadata;
  readonly source: MultilineText;
  readonly outputs: readonly Output[];
  readonly execution_count: number | null;
}

export interface TextCell {
  readonly cell_type: 'markdown' | 'raw';
  readonly id?: string;
  readonly metadata: CellMetadata;
  readonly source: MultilineText;
  readonly attachments?: Readonly<Record<string, MimeBundle>>;
}

export type Cell = CodeCell | TextCell;

export interface CellMetadata {
  readonly tags?: readonly string[];
  readonly [key: string]: unknown;
}

export interface Notebook {
  readonly cells: readonly Cell[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly nbformat: 4;
  readonly nbformat_minor: number;
}

/** Reads and checks a notebook; throws with the file's name and what is wrong when it is none. What nbformat lets a cell leave out is filled in. */
export async function readNotebook(path: string): Promise<Notebook> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new Error(`${path}: expected a notebook, got a file that cannot be read: ${(error as Error).message}`);
  }
  let notebook: Notebook;
  try {
    notebook = JSON.parse(text.replace(/^\ufeff/, '')) as Notebook;
  } catch (error) {
    throw new Error(`${path}: expected a notebook (JSON), got a file that does not parse: ${(error as Error).message}`);
  }
  if (notebook?.nbformat !== 4) {
    throw new Error(
      `${path}: expected nbformat 4 with cells, got ${notebook?.nbformat === undefined ? 'JSON without nbformat' : `nbformat ${JSON.stringify(notebook.nbformat)}`}. Open and save it in JupyterLab to convert it.`,
    );
  }
  if (!Array.isArray(notebook.cells)) throw new Error(`${path}: expected a notebook with a list of cells, got none.`);
  return {
    ...notebook,
    metadata: notebook.metadata ?? {},
    cells: notebook.cells.map((cell, index) => checked(cell, `${path}, cell ${index + 1} of all`)),
  };
}

function checked(cell: Cell, place: string): Cell {
  const expect = (holds: boolean, what: string, got: unknown) => {
    if (!holds) throw new Error(`${place}: expected ${what}, got ${JSON.stringify(got)?.slice(0, 80)}.`);
  };
  expect(typeof cell === 'object' && cell !== null, 'a cell', cell);
  const { cell_type: type, source, metadata = {} } = cell;
  expect(['code', 'markdown', 'raw'].includes(type), 'cell_type code, markdown or raw', type);
  expect(isText(source), 'source that is text or lines of text', source);
  expect(typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata), 'metadata that is an object', metadata);
  expect(metadata.tags === undefined || isLines(metadata.tags), 'tags that are a list of words', metadata.tags);
  if (cell.cell_type !== 'code') return { ...cell, metadata };
  const { outputs = [], execution_count = null } = cell;
  expect(Array.isArray(outputs) && outputs.every(isOutput), 'outputs of nbformat 4', outputs);
  return { ...cell, metadata, outputs, execution_count };
}

const isLines = (value: unknown): boolean => Array.isArray(value) && value.every((line) => typeof line === 'string');
const isText = (value: unknown): boolean => typeof value === 'string' || isLines(value);

function isOutput(output: Output): boolean {
  switch (output?.output_type) {
    case 'stream':
      return isText(output.text) && typeof output.name === 'string';
    case 'error':
      return isLines(output.traceback);
    case 'display_data':
    case 'execute_result':
      return typeof output.data === 'object' && output.data !== null;
    default:
      return false;
  }
}

/** Writes a notebook as Jupyter does (one space of indent, a newline at the end), so that a re-run shows only real changes. */
export async function writeNotebook(path: string, notebook: Notebook): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(notebook, null, 1)}\n`);
  await rename(temporary, path);
}

export const joinText = (text: MultilineText): string => (typeof text === 'string' ? text : text.join(''));

/** The lines of a text, each with its newline, as nbformat stores them. */
export const splitText = (text: string): string[] => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

/** The title: the first heading of the first Markdown cell that has one. */
export function notebookTitle(notebook: Notebook): string | undefined {
  for (const cell of notebook.cells) {
    const heading = cell.cell_type === 'markdown' ? /^#{1,2}\s+(.+?)\s*#*$/m.exec(joinText(cell.source)) : null;
    if (heading) return heading[1];
  }
  return undefined;
}
