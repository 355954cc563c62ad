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

/** Reads and checks a notebook; throws with the file's name when it is none. */
export async function readNotebook(path: string): Promise<Notebook> {
  const text = await readFile(path, 'utf8');
  let notebook: Notebook;
  try {
    notebook = JSON.parse(text) as Notebook;
  } catch (error) {
    throw new Error(`${path}: expected a notebook (JSON), got a file that does not parse: ${(error as Error).message}`);
  }
  if (notebook?.nbformat !== 4 || !Array.isArray(notebook.cells)) {
    throw new Error(
      `${path}: expected nbformat 4 with cells, got nbformat ${notebook?.nbformat}. Open and save it in JupyterLab to convert it.`,
    );
  }
  return notebook;
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
