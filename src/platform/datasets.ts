/**
 * Where the shipped data lies: `datasets/` beside the package's own package.json.
 *
 * The same code runs from `src` (tests), from the bundle in `dist` and from a notebook, so the root is found by walking up.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const PACKAGE = 'search-e1';
let root: string | undefined;
let moved: string | undefined;

/** The folder that holds this package's package.json. Throws where there is none above this file. */
export function packageRoot(): string {
  root ??= findRoot(__dirname);
  return root;
}

/**
 * Says where the package's `datasets` folder is: another folder than beside its package.json, as for a program that was bundled into one file, or in a browser
 * tab the address at which the page serves it.
 *
 * @example
 * ```ts
 * import { dirname } from 'node:path';
 * import { datasetPath, datasetsAt } from 'search-e1';
 *
 * // In a browser tab an address, such as '/datasets'.
 * datasetsAt(dirname(datasetPath('benchmarks')));
 * ```
 */
export function datasetsAt(location: string): void {
  moved = location;
}

/**
 * The absolute path of a shipped file, such as `datasetPath('benchmarks', 'nq.jsonl')`.
 *
 * Throws when it is not there, naming the path and what to do.
 *
 * @example
 * ```ts
 * import { basename } from 'node:path';
 * import { datasetPath } from 'search-e1';
 *
 * basename(datasetPath('benchmarks', 'nq.jsonl')); // 'nq.jsonl'
 * ```
 */
export function datasetPath(...parts: readonly string[]): string {
  const path = join(moved ?? join(packageRoot(), 'datasets'), ...parts);
  if (!existsSync(path)) {
    throw new Error(`no data at ${path}: expected a file or folder shipped with ${PACKAGE}; datasets/README.md lists them all`);
  }
  return path;
}

function findRoot(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (namesPackage(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) {
      throw new Error(`no package.json named "${PACKAGE}" in ${start} or above it: the data lies beside it, so keep the package whole`);
    }
  }
}

function namesPackage(path: string): boolean {
  if (!existsSync(path)) return false;
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as { name?: unknown }).name === PACKAGE;
  } catch {
    return false; // someone else's broken package.json is not ours
  }
}
