/** `npm run api`: what of a change the report of the public surface shows, on a package of two files. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';

const project = mkdtempSync(join(tmpdir(), 'search-e1-api-'));

function write(name: string, text: string): void {
  mkdirSync(dirname(join(project, name)), { recursive: true });
  writeFileSync(join(project, name), text);
}

function api(...args: string[]) {
  const script = join(__dirname, '..', '..', 'scripts', 'api-report.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    encoding: 'utf8',
    env: { ...process.env, SEARCH_E1_API_ROOT: project },
  });
  return { status, output: stdout + stderr };
}

const report = (name: string) => readFileSync(join(project, 'api', `${name}.md`), 'utf8');

const COUNT = `
import type { Unit } from './unit.js';
/** Counts. */
export function count(words: readonly string[], { unit }: CountOptions = {}): number { return words.length * (unit ? 2 : 1); }
export interface CountOptions { readonly unit?: Unit }
export class Counter { private total = 0; add(): void { this.total++; } }
export const internal = 1;
`;

beforeEach(() => {
  write('package.json', JSON.stringify({ name: 'counting', type: 'module', exports: { '.': './index.js', './words': './words.js' } }));
  write('tsconfig.json', JSON.stringify({ compilerOptions: { target: 'ES2022', module: 'NodeNext', strict: true, types: [] } }));
  write('src/index.ts', "export { count } from './words/count.js';\n");
  write('src/words/index.ts', "export { count, Counter, type CountOptions } from './count.js';\n");
  write('src/words/unit.ts', "export type Unit = 'word' | 'letter';\n");
  write('src/words/count.ts', COUNT);
  expect(api().status).toBe(0);
});

afterAll(() => rmSync(project, { recursive: true, force: true }));

describe('the report of the public surface', () => {
  it('holds each declaration once, in the report of its folder, and names it in the others', () => {
    expect(report('words')).toContain('export function count(words: readonly string[], { unit }?: CountOptions): number;');
    expect(report('index')).not.toContain('function count');
    expect(report('index')).toContain("export { count } from 'counting/words';");
  });

  it('holds what signatures name and nothing exports, and neither private members nor what no subpath exports', () => {
    expect(report('words')).toMatch(/exported nowhere:\n\n```ts\ntype Unit = 'word' \| 'letter';\n```/);
    expect(report('words')).toMatch(/export class Counter \{\n {2}add\(\): void;\n\}/);
    expect(report('words')).not.toContain('internal');
  });

  it('does not change with a docstring', () => {
    write('src/words/count.ts', COUNT.replace('/** Counts. */', '/** Counts words.\n * @returns how many there are\n */'));
    expect(api('--check')).toMatchObject({ status: 0 });
  });

  it.each([
    ['a signature', 'src/words/count.ts', COUNT.replace('): number {', '): number | undefined {')],
    ['a type that a signature names', 'src/words/unit.ts', "export type Unit = 'word' | 'sentence';\n"],
    ['an export', 'src/words/index.ts', "export { count, type CountOptions } from './count.js';\n"],
  ])('is stale, with what to run, after a change of %s', (_what, file, text) => {
    write(file, text);
    const { status, output } = api('--check');
    expect(status).toBe(1);
    expect(output).toMatch(/api\/words\.md:\n(.*\n)*.*npm run api/);
    expect(api().status).toBe(0);
    expect(api('--check').status).toBe(0);
  });
});
