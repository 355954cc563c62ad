/** Imports run one way, from a step of the method to what it stands on. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, root, type Source, sources, target, trackedFiles } from './sources.js';

/** From what everything stands on to what stands on everything. A folder may import from lower layers, and beside itself if that makes no circle. */
const LAYERS = [
  ['(root)'], // arguments.ts, number-setting.ts, random.ts, version.ts
  ['platform'],
  ['tensors'],
  ['policy'],
  ['engines', 'search'],
  ['rollout', 'reward', 'grpo', 'siblings', 'ofsd', 'benchmarks', 'tinypedia'],
  ['evolution'],
  ['runs'],
  ['display', 'notebooks'],
  ['cli'],
];

/** The package's doors, its own and a folder's: nothing in the package goes through them. */
const isDoor = (path: string): boolean => /^src\/([a-z]+\/)?index\.ts$/.test(path) && path !== 'src/notebooks/index.ts';

/** Data has one shape everywhere: a question is defined with the rollout that answers it, and its type may be named from below (recall, datasets). */
const SHARED_TYPES = ['src/rollout/question.ts'];

const folderOf = (path: string): string => (path.split('/').length > 2 ? path.split('/')[1] : '(root)');
const layerOf = (path: string): number => LAYERS.findIndex((folders) => folders.includes(folderOf(path)));

function upward(all: readonly Source[]): string[] {
  return edges(all)
    .filter(({ from, to }) => isDoor(to) || (!isDoor(from) && layerOf(to) > layerOf(from)))
    .map(({ from, to }) => `${from} imports ${to}`);
}

/** Circles among `nodes`, each once, as "a > b > a". */
function circles(next: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (node: string, path: readonly string[]): void => {
    const start = path.indexOf(node);
    if (start >= 0) {
      found.push([...path.slice(start), node].join(' > '));
      return;
    }
    if (done.has(node)) return;
    for (const neighbour of next.get(node) ?? []) visit(neighbour, [...path, node]);
    done.add(node);
  };
  for (const node of next.keys()) visit(node, []);
  return found;
}

const itself = (path: string): string => path;

function graph(
  all: readonly Source[],
  name: (path: string) => string,
  keep: (edge: Edge) => boolean = () => true,
): Map<string, Set<string>> {
  const next = new Map<string, Set<string>>();
  for (const edge of edges(all).filter(keep)) {
    const [from, to] = [name(edge.from), name(edge.to)];
    if (from !== to) next.set(from, (next.get(from) ?? new Set()).add(to));
  }
  return next;
}

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function edges(all: readonly Source[]): Edge[] {
  return all
    .flatMap((source) =>
      source.imports
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ specifier, typeOnly }) => ({ from: source.path, to: target(source, specifier), typeOnly })),
    )
    .filter(({ to, typeOnly }) => !(typeOnly && SHARED_TYPES.includes(to)));
}

describe('imports', () => {
  const all = sources();

  it('find every folder of src in the layers', () => {
    const folders = [...new Set(all.filter(({ path }) => !isDoor(path)).map(({ path }) => folderOf(path)))];
    expect(folders.filter((folder) => !LAYERS.flat().includes(folder))).toEqual([]);
  });

  it('never go up, types included', () => {
    expect(upward(all)).toEqual([]);
  });

  it('make no circle of folders, types included', () => {
    expect(circles(graph(all, folderOf, ({ from }) => !isDoor(from)))).toEqual([]);
  });

  it('make no circle of files, types included', () => {
    expect(circles(graph(all, itself))).toEqual([]);
  });

  it('name files that exist, with the .js ending that Node wants', () => {
    const wrong = all.flatMap((source) =>
      source.imports
        .filter(({ specifier }) => specifier.startsWith('.'))
        .filter(
          ({ specifier }) =>
            !specifier.endsWith('.js') || !(existsSync(join(root, target(source, specifier))) || /\.generated\.js$/.test(specifier)),
        )
        .map(({ specifier }) => `${source.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it('name the package never: src is the package', () => {
    expect(
      all.flatMap(({ path, imports }) => imports.filter(({ specifier }) => /^search-e1(\/|$)/.test(specifier)).map(() => path)),
    ).toEqual([]);
  });
});

describe('notebooks', () => {
  const notebooks = trackedFiles().filter((path) => /^notebooks\/.*\.ipynb$/.test(path));

  it('import packages by name, never a file of this checkout', () => {
    const relative = notebooks.flatMap((path) => {
      const { cells } = JSON.parse(readFileSync(join(root, path), 'utf8')) as { cells: { cell_type: string; source: string | string[] }[] };
      const code = cells.filter((cell) => cell.cell_type === 'code').map(({ source }) => [source].flat().join(''));
      const specifiers = code.flatMap((text) => parse(path, text).imports.map(({ specifier }) => specifier));
      return specifiers.filter((specifier) => /^[./]/.test(specifier)).map((specifier) => `${path} imports ${specifier}`);
    });
    expect(relative).toEqual([]);
  });
});

describe('the check itself', () => {
  it('sees an import that goes up', () => {
    const low = parse('src/tensors/a.ts', "import { grpo } from '../grpo/grpo.js';");
    expect(upward([low])).toEqual(['src/tensors/a.ts imports src/grpo/grpo.ts']);
  });

  it('sees a type import, a re-export and a dynamic import', () => {
    const low = parse(
      'src/policy/a.ts',
      "import type { E } from '../engines/b.js'; export * from '../search/c.js'; const d = () => import('../cli/d.js');",
    );
    expect(upward([low])).toHaveLength(3);
  });

  it('lets the shared types be named from below, but not run', () => {
    const types = parse('src/search/a.ts', "import type { Question } from '../rollout/question.js';");
    const runs = parse('src/search/a.ts', "import { ask } from '../rollout/question.js';");
    expect(upward([types])).toEqual([]);
    expect(upward([runs])).toHaveLength(1);
  });

  it.each([
    "import { a } from './a.js';",
    "import { type A } from './a.js';",
    "import type { A } from './a.js';",
    "export type { A } from './a.js';",
    "export * from './a.js';",
    "type A = import('./a.js').A;",
    "const a = () => import('./a.js');",
  ])('sees the circle that %s closes', (back) => {
    const a = parse('src/grpo/a.ts', "import { b } from './b.js';");
    expect(circles(graph([a, parse('src/grpo/b.ts', back)], itself))).toEqual(['src/grpo/a.ts > src/grpo/b.ts > src/grpo/a.ts']);
  });

  it('sees a circle of three, whichever of its files comes first', () => {
    const three = [
      parse('src/cli/a.ts', "import { b } from './b.js';"),
      parse('src/cli/b.ts', "import type { C } from './c.js';"),
      parse('src/cli/c.ts', "import { a } from './a.js';"),
    ];
    for (const order of [three, [...three].reverse()]) expect(circles(graph(order, itself))).toHaveLength(1);
  });
});
