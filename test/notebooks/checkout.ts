/** A checkout as the kernel's launcher expects one, in a temporary folder: it borrows the installed packages and brings a package of its own. */
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Notebook, splitText } from '../../src/notebooks/notebook.js';

export interface CheckoutOptions {
  readonly installed?: boolean;
  readonly built?: boolean;
}

export function checkout({ installed = true, built = true }: CheckoutOptions = {}): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'search-e1-checkout-')));
  writeFileSync(join(root, 'package.json'), JSON.stringify({ name: 'search-e1', main: 'dist/index.js', types: 'dist/index.d.ts' }));
  mkdirSync(join(root, 'node_modules'));
  mkdirSync(join(root, 'notebooks'));
  if (installed) {
    const packages = resolve('node_modules');
    for (const name of readdirSync(packages)) {
      if (!name.startsWith('.') && name !== 'search-e1') symlinkSync(join(packages, name), join(root, 'node_modules', name), 'junction');
    }
  }
  if (built) {
    mkdirSync(join(root, 'dist'));
    writeFileSync(join(root, 'dist', 'index.js'), 'exports.greeting = "from the package";');
    writeFileSync(join(root, 'dist', 'index.d.ts'), 'export declare const greeting: string;');
  }
  return root;
}

/** Writes a notebook of code cells (a string, or a string with tags) into the checkout and returns its path. */
export function writeCells(root: string, name: string, cells: readonly (string | { source: string; tags: string[] })[]): string {
  const path = join(root, 'notebooks', `${name}.ipynb`);
  const notebook = notebookOf(cells.map((cell) => ({ kind: 'code', ...(typeof cell === 'string' ? { source: cell } : cell) })));
  writeFileSync(path, JSON.stringify(notebook, null, 1));
  return path;
}

export const kernelSpec = resolve('kernels/search-e1');

/** A notebook of these cells, for writing one from code. */
export function notebookOf(
  cells: readonly { readonly kind: 'code' | 'markdown'; readonly source: string; readonly tags?: readonly string[] }[],
): Notebook {
  return {
    cells: cells.map(({ kind, source, tags }, index) => {
      const shared = { id: `cell-${index}`, metadata: tags ? { tags } : {}, source: splitText(source) };
      return kind === 'code' ? { cell_type: 'code', ...shared, outputs: [], execution_count: null } : { cell_type: 'markdown', ...shared };
    }),
    metadata: {
      kernelspec: { name: 'search-e1', display_name: 'TypeScript (search-e1)', language: 'typescript' },
      language_info: { name: 'typescript', file_extension: '.ts', mimetype: 'text/typescript' },
    },
    nbformat: 4,
    nbformat_minor: 5,
  };
}
