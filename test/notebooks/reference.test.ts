/** The pages of the book on the package's modules, as they are made of the docstrings. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { markdownRenderer } from '../../src/notebooks/markdown.js';

const root = join(__dirname, '..', '..');
const out = mkdtempSync(join(tmpdir(), 'search-e1-reference-'));
const subpaths = Object.keys((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object }).exports)
  .filter((path) => path !== '.' && !path.endsWith('.json'))
  .map((path) => path.slice(2));

beforeAll(() => {
  execFileSync(process.execPath, [join(root, 'scripts', 'reference.mjs'), out], { stdio: 'pipe' });
});
afterAll(() => rmSync(out, { recursive: true, force: true }));

describe('the reference', () => {
  const read = (name: string) => readFileSync(join(out, `${name}.md`), 'utf8');

  it('has a page for each subpath', () => {
    expect(readdirSync(out).sort()).toEqual(subpaths.map((name) => `${name}.md`).sort());
    for (const name of subpaths) expect(read(name)).toMatch(new RegExp(`^# search-e1/${name}\\n`));
  });

  it('begins with what there is to call, each in a sentence, and says below with what and what comes out', () => {
    const page = read('siblings');
    expect(page.slice(0, page.indexOf('\n## '))).toMatch(
      /- \[`choosePair`\]\(#choosepair\): The pair of one group, .*\n- \[`distance`\]\(#distance\): /,
    );
    expect(page).toContain('function choosePair(group: Group, options?: SiblingOptions): Pair | NoPair;');
    expect(page).toContain('    distance = 1 - 2 M / (|a| + |b|)'); // the formula
    expect(page).not.toMatch(/#### Throws\n[^#]*#### Throws/);
  });

  it('links to nothing that is not there', async () => {
    const renderer = await markdownRenderer();
    const pages = new Map(
      subpaths.map((name) => {
        const html = renderer.html(read(name), { headings: [] }); // which makes their ids unique
        return [
          name,
          { links: [...html.matchAll(/href="([\w-]+\.md)?#([^"]+)"/g)], ids: [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id) },
        ] as const;
      }),
    );
    const broken = [...pages].flatMap(([name, { links }]) =>
      links.filter(([, file, id]) => !pages.get(file?.replace('.md', '') ?? name)?.ids.includes(id)).map(([link]) => `${name}: ${link}`),
    );
    expect([...pages.values()].flatMap(({ links }) => links).length).toBeGreaterThan(500);
    expect(broken).toEqual([]);
  });
});
