/** How what was measured of the package is summed and written down; the measuring itself is `npm run measure:package`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';

const root = join(__dirname, '../..');

/** The script's own functions: JavaScript, which has no types. */
const { sizes, table, withFigures } = await import(join(root, 'scripts', 'measure-package.mjs') as string);

const bundle = { minified: 1234, gzipped: 600, later: 0 };
const figures = {
  date: '2026-01-02',
  version: '1.2.3',
  node: '20.0.0',
  rounds: 7,
  machine: { cpu: 'A processor', cores: 2, platform: 'linux x64', load: 0.5 },
  goals: { milliseconds: 20, bytes: 20_000 },
  install: { tarball: 9.7e6, seconds: 6.24, packages: 44, bytes: 81.6e6, tensorFlow: 53e6 },
  subpaths: [
    { specifier: 'search-e1/display', milliseconds: 147.2, memory: 42e6, bundle: null, light: null },
    {
      specifier: 'search-e1/reward',
      milliseconds: 4.31,
      memory: 1.4e6,
      bundle: { ...bundle, minified: 31_234 },
      light: { names: ['exactMatch'], bundle },
    },
  ],
};

it('counts a bundle’s entry with the chunks that it loads at once, and apart from them what is loaded later', () => {
  const chunk = (fileName: string, code: string, imports: string[], isEntry = false) => ({ fileName, code, imports, isEntry });
  const chunks = [
    chunk('entry.js', 'aaa', ['shared.js', 'node:fs'], true),
    chunk('shared.js', 'ébb', ['entry.js']),
    chunk('later.js', 'ccccc', []),
  ];
  expect(sizes(chunks)).toEqual({ minified: 7, gzipped: gzipSync('aaa').length + gzipSync('ébb').length, later: 5 });
});

it('says what installing, importing and bundling cost, where and when it was measured, and which goals are met', () => {
  expect(table(figures).split('\n')).toEqual([
    'search-e1 1.2.3, A processor, 2 cores, linux x64, node 20.0.0, 2026-01-02.',
    '`npm i` of the tarball (9.7 MB) with an empty cache: 44 packages, 82 MB, 53 MB of them TensorFlow.js, in 6.2 s.',
    expect.stringMatching(/^Time and memory: .* medians of 7\. .* ✓: below 20 ms, below 20 kB\.$/),
    '',
    expect.stringMatching(/^\| import +\| time +\| memory \|/),
    expect.stringMatching(/^\| -+ \|/),
    expect.stringMatching(/^\| `search-e1\/display` \| 147 ms +\| 42 MB +\| Node only +\| +\|$/),
    expect.stringMatching(/^\| `search-e1\/reward` +\| 4\.3 ms ✓ \| 1\.4 MB \| 31 kB \(0\.6\) +\| 1\.2 kB \(0\.6\) ✓: `exactMatch` +\|$/),
    '',
  ]);
});

it('marks what misses its goal, and a machine that had other work', () => {
  const [, reward] = figures.subpaths;
  const slow = { ...reward, milliseconds: 20, light: { names: ['exactMatch'], bundle: { ...bundle, minified: 20_000 } } };
  const text = table({ ...figures, machine: { ...figures.machine, load: 3 }, subpaths: [slow] });
  expect(text).toMatch(/\| 20 ms ✗ +\|/);
  expect(text).toContain('20 kB (0.6) ✗: `exactMatch`');
  expect(text).toContain('2026-01-02; busy with other work: load 3.0 at the start.');
});

it('puts them between their marks in README and leaves the rest', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const written = withFigures(readme, figures) as string;
  expect(written).toContain(`-- --readme\` -->\n\n${table(figures)}\n<!-- end -->`);
  expect(withFigures(written, figures)).toBe(written);
  const around = (text: string) => text.split(/<!-- made by `npm run measure:package -- --readme` -->[\s\S]*?<!-- end -->/);
  expect(around(written)).toEqual(around(readme));
  expect(() => withFigures('# nothing', figures)).toThrow('README.md has no <!-- made by `npm run measure:package -- --readme` -->');
});
