/** The package as its users get it: packed, installed in an empty project, imported as ESM and CommonJS, type-checked, and run as a command. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(__dirname, '..', '..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  name: string;
  peerDependencies: Record<string, string>;
};
const peer = manifest.peerDependencies['@tensorflow/tfjs-node-gpu'];
const project = mkdtempSync(join(tmpdir(), 'search-e1-consumer-'));
const installed = join(project, 'node_modules', 'search-e1');
let packed: readonly string[] = [];
let installOutput = '';

/** Runs a program in the consumer's project; throws with both of its streams where it fails. */
function run(program: string, ...args: string[]): string {
  try {
    return execFileSync(program, args, {
      cwd: project,
      encoding: 'utf8',
      stdio: 'pipe',
      env: { ...process.env, FORCE_COLOR: undefined, NO_COLOR: '1' },
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${basename(program)} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** The npm that runs the tests, else the one on the path. */
function npm(...args: string[]): string {
  const own = process.env.npm_execpath;
  if (own && basename(own).startsWith('npm')) return run(process.execPath, own, ...args);
  return process.platform === 'win32' ? run('cmd', '/c', 'npm', ...args) : run('npm', ...args);
}

const node = (...args: string[]): string => run(process.execPath, ...args);

function write(name: string, text: string): string {
  writeFileSync(join(project, name), text);
  return name;
}

beforeAll(() => {
  execFileSync(process.execPath, [join(root, 'scripts', 'prepare.mjs')], { stdio: 'inherit' });
  write('package.json', JSON.stringify({ name: 'consumer', private: true, type: 'module' }));
  const [tarball] = JSON.parse(npm('pack', root, '--json', '--ignore-scripts')) as [{ filename: string; files: { path: string }[] }];
  packed = tarball.files.map(({ path }) => path);
  installOutput = npm('install', `./${tarball.filename}`, '--no-audit', '--no-fund', '--prefer-offline', '--foreground-scripts');
});

afterAll(() => rmSync(project, { recursive: true, force: true }));

describe('the tarball', () => {
  it('holds the built package, its data, its readme and its licence, and nothing else', () => {
    const tops = new Set(packed.map((path) => path.split('/')[0]));
    expect([...tops].sort()).toEqual(
      ['CHANGELOG.md', 'LICENSE', 'README.md', 'datasets', 'dist', 'package.json'].filter((top) => existsSync(join(root, top))),
    );
    expect(packed).toContain('dist/index.js');
    expect(packed).toContain('dist/cli.js');
    expect(packed).not.toContain('dist/.built-from.json');
  });

  it('installs without building anything or pulling in the notebooks’ tools', () => {
    expect(installOutput).not.toMatch(/prepare|prepack|approve|allow-?scripts/i);
    const { scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    // What npm asks those who install a tarball to approve.
    expect(Object.keys(scripts).filter((name) => ['preinstall', 'install', 'postinstall', 'prepare'].includes(name))).toEqual([]);
    for (const tool of [
      'tslab',
      'danfojs-node',
      'jsdom',
      'typescript',
      'webgpu',
      '@tensorflow/tfjs-node-gpu',
      '@tensorflow/tfjs-backend-webgpu',
    ])
      expect(existsSync(join(project, 'node_modules', tool))).toBe(false);
  });

  it('brings some fifty packages, none of which has a script to run at its installation', () => {
    const lock = JSON.parse(readFileSync(join(project, 'node_modules', '.package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const entries = Object.entries(lock.packages);
    expect(entries.length).toBeLessThanOrEqual(60);
    expect(entries.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path)).toEqual([]);
  });
});

describe('a clone that was never installed', () => {
  it('is not packed without its code: packing fails and says what to run', () => {
    const clone = mkdtempSync(join(tmpdir(), 'search-e1-clone-'));
    try {
      for (const name of ['package.json', 'package-lock.json', 'tsconfig.json', 'tsdown.config.ts', 'scripts', 'src'])
        cpSync(join(root, name), join(clone, name), { recursive: true });
      expect(() => npm('pack', clone)).toThrow(/dist was not built: the development dependencies are missing. Run `npm ci`/);
      expect(readdirSync(project).filter((name) => name.endsWith('.tgz'))).toHaveLength(1); // the one that was installed above
    } finally {
      rmSync(clone, { recursive: true, force: true });
    }
  });
});

/** The same few lines for both module systems: seeded chance, the protocol's words, and the displays' door. */
const USE = `
  const draw = random(7, 'package').uniform();
  const action = parseAction('<think> x</think><search> Amber Falcon author</search>');
  console.log(JSON.stringify({ draw, action, version, display: Object.keys(display).length > 0 }));
`;

describe('an importing project', () => {
  const expected = (output: string) => {
    const { draw, action, version, display } = JSON.parse(output) as Record<string, unknown>;
    expect(draw).toBeGreaterThanOrEqual(0);
    expect(draw).toBeLessThan(1);
    expect(action).toEqual({ kind: 'search', content: 'Amber Falcon author' });
    expect(version).toBe(manifest.version);
    expect(display).toBe(true);
    return draw;
  };
  const esm = () =>
    node(
      write('use.mjs', `import { parseAction, random, version } from 'search-e1';\nimport * as display from 'search-e1/display';\n${USE}`),
    );
  const cjs = () =>
    node(
      write(
        'use.cjs',
        `const { parseAction, random, version } = require('search-e1');\nconst display = require('search-e1/display');\n${USE}`,
      ),
    );

  it('uses it as ESM and as CommonJS, with the same draws', () => {
    expect(expected(esm())).toBe(expected(cjs()));
  });

  it('finds the data that the package ships', () => {
    expect(existsSync(join(installed, 'datasets', 'benchmarks', 'nq.jsonl'))).toBe(true);
  });

  it.each([
    ['NodeNext', 'NodeNext'],
    ['Node10', 'CommonJS'],
    ['Bundler', 'ESNext'],
  ])('type-checks strictly with %s resolution, declarations and all, and a wrong use does not', (moduleResolution, module) => {
    const settings = {
      strict: true,
      noEmit: true,
      target: 'ES2022',
      module,
      moduleResolution,
      // As a project has them that names none: Node's, and those that come with the tensor library.
      types: ['node', 'long'],
      typeRoots: [join(root, 'node_modules', '@types'), join(project, 'node_modules', '@types')],
    };
    const check = (file: string, text: string) => {
      write(`tsconfig.${moduleResolution}.json`, JSON.stringify({ compilerOptions: settings, files: [write(file, text)] }));
      return node(join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', `tsconfig.${moduleResolution}.json`);
    };
    const good = `import { type Action, parseAction, type Random, random } from 'search-e1';
import type * as display from 'search-e1/display';
export const chance: Random = random(1, 'a', 2);
export const action: Action = parseAction('<answer> x</answer>');
export type Displays = keyof typeof display;
`;
    check('good.ts', good);
    expect(() => check('bad.ts', `${good}export const wrong: number = parseAction('x');\n`)).toThrow(/bad\.ts\(6,14\): error TS2322/);
  });

  it('is told what to install for TensorFlow, and of no script that only a clone has', () => {
    const program = `import { startBackend } from 'search-e1';
      startBackend({ backend: 'tensorflow' }).catch(({ message, remedy }) => console.log(JSON.stringify([message, remedy ?? null])));`;
    expect(JSON.parse(node(write('remedy.mjs', program)))).toEqual([
      'not installed',
      ['linux', 'win32'].includes(process.platform) && process.arch === 'x64' ? `npm install @tensorflow/tfjs-node-gpu@${peer}` : null,
    ]);
  });

  it('runs the command', () => {
    const command = join(project, 'node_modules', '.bin', process.platform === 'win32' ? 'search-e1.cmd' : 'search-e1');
    expect(existsSync(command)).toBe(true);
    expect(node(join(installed, 'dist', 'cli.js'), '--version').trim()).toBe(manifest.version);
    expect(node(join(installed, 'dist', 'cli.js'), '--help')).toMatch(/Usage: search-e1/);
  });
});
