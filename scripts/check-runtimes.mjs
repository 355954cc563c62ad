/** README's example under other runtimes, and every name of the package under other compilers, from the packed tarball in empty projects. See --help. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { pack, projectWith, root, run } from './empty-project.mjs';

const RUNTIMES = ['node@20', 'node@22', 'node@24', 'bun', 'deno'];
const COMPILERS = ['typescript@5.0', 'typescript@5.9', 'typescript@latest'];
const ALL = [...RUNTIMES, ...COMPILERS];

const HELP = `Usage: npm run check:runtimes -- [names] [options]

Packs the package and installs the tarball in empty projects. There README's example (five GRPO steps on the simd backend, two threads) runs as an ES module
and as CommonJS, and every name that the package exports is imported and compiled strictly. The rewards must be those of this Node, digit by digit.

  names     what npm is to bring, of ${ALL.join(', ')}; another version may be named (node@26),
            and a name without one is every version of the list (typescript). Default: all; half a gigabyte to download, some four minutes
  --keep    keep the temporary folder, and say where it is

Ends with 1 where something differs or fails, with 2 where only something could not be installed here.
`;

/** The TypeScript block under "As a package". @throws Error where README has none that trains */
export function readmeExample(readme) {
  const example = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code).find((code) => /steps: 5\b/.test(code));
  if (!example) throw new Error('README.md has no ```ts block with `steps: 5`: the example that is run under each runtime');
  return example;
}

/** The same program with `require`, which has no `await` at the top. */
export function asCommonJs(program) {
  const imports = /^import (\{[^}]*\}) from ('[^']*');\n/gm;
  const requires = [...program.matchAll(imports)].map(([, names, from]) => `const ${names.replaceAll(' as ', ': ')} = require(${from});\n`);
  return `${requires.join('')}(async () => {\n${program.replace(imports, '')}})();\n`;
}

/** What a run of the example must be: the rewards as printed, the backend, and the file that the runtime took for the package. */
export function resultOf(output) {
  const rewards = [...output.matchAll(/^(\d+) (\d\S*)$/gm)].map(([, step, reward]) => `${step}: ${reward}`);
  return { rewards, ...JSON.parse(/^took (\{.*\})$/m.exec(output)?.[1] ?? '{}') };
}

/** The first thing in which a result is not the expected one; undefined where there is none. */
export function difference(found, expected) {
  if (/[\\/]browser[\\/]/.test(found.file)) return `took the build for browsers, ${found.file}`;
  if (!/ 2 threads$/.test(found.description)) return `not on two threads of simd: ${found.description}`;
  const at = expected.rewards.findIndex((reward, step) => found.rewards[step] !== reward);
  if (at >= 0) return `reward of step ${found.rewards[at] ?? '(none)'}, with this Node ${expected.rewards[at]}`;
  return found.rewards.length > expected.rewards.length ? `${found.rewards.length} steps, not ${expected.rewards.length}` : undefined;
}

/** Added to the example: what it ran on and from which file. */
const took = (file) => `
const { description } = await startBackend();
console.log('took ' + JSON.stringify({ description, file: ${file} }));
`;

const PROGRAMS = {
  ESM: { file: 'example.mjs', text: (example) => example + took(`import.meta.resolve('search-e1')`) },
  CommonJS: { file: 'example.cjs', text: (example) => asCommonJs(example + took(`require.resolve('search-e1')`)) },
};

/** How each starts a file, in a folder that npm installed it in. */
const COMMANDS = {
  node: (folder) => [join(folder, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')],
  bun: (folder) => [join(folder, 'node_modules', 'bun', 'bin', 'bun.exe')], // on every system, by that name
  deno: (folder) => [process.execPath, join(folder, 'node_modules', 'deno', 'bin.cjs'), 'run', '--allow-all'],
};

async function example([program, ...args], project, { file }) {
  const env = { SEARCH_E1_BACKEND: 'simd', SEARCH_E1_THREADS: '2' };
  return resultOf((await run(program, [...args, file], { cwd: project, env })).output);
}

/** Runs both forms of the example. @returns text on success @throws Error naming what differs */
async function checkRuntime(name, folder, { project, expected }) {
  const [kind] = name.split('@');
  const command = COMMANDS[kind](folder);
  const version = JSON.parse(readFileSync(join(folder, 'node_modules', kind, 'package.json'), 'utf8')).version;
  const wrong = [];
  for (const [form, program] of Object.entries(PROGRAMS)) {
    try {
      const differs = difference(await example(command, project, program), expected);
      if (differs) wrong.push(`${form}: ${differs}`);
    } catch (error) {
      wrong.push(`${form}: ${error.message}`);
    }
  }
  if (wrong.length) throw new Error(`${version}\n${wrong.join('\n')}`);
  return `${version}: the same five rewards, as ESM and as CommonJS`;
}

/**
 * Every name of every subpath, none of which may have become `any` on the way: that is how a declaration fails that this compiler or this resolution cannot
 * read.
 */
export function everyName(project) {
  const require = createRequire(join(project, 'index.js'));
  const manifest = require('search-e1/package.json');
  const doors = Object.keys(manifest.exports).filter((path) => !path.endsWith('.json'));
  const declarations = doors.map((door) => join(project, 'node_modules', 'search-e1', manifest.exports[door].import.types));
  const program = ts.createProgram(declarations, { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, types: [] });
  const checker = program.getTypeChecker();
  const lines = ['type IsAny<T> = 0 extends 1 & T ? true : false;'];
  for (const [i, door] of doors.entries()) {
    const specifier = `search-e1${door.slice(1)}`;
    lines.push(`import * as door${i} from '${specifier}';`);
    for (const symbol of checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(declarations[i])))) {
      const declared = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      const name = `door${i}.${symbol.name}`;
      if (declared.flags & ts.SymbolFlags.Value) lines.push(`export const value${lines.length}: IsAny<typeof ${name}> = false;`);
      else if (!declared.declarations?.[0].typeParameters) lines.push(`export const type${lines.length}: IsAny<${name}> = false;`);
      else lines.push(`export type { ${symbol.name} as Type${lines.length} } from '${specifier}';`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Name to compiler options and the file that is compiled; its ending says whether it is an ES module. */
const RESOLUTIONS = {
  'node16 (ESM)': { module: 'node16', moduleResolution: 'node16', file: 'names.mts' },
  'node16 (CommonJS)': { module: 'node16', moduleResolution: 'node16', file: 'names.cts' },
  bundler: { module: 'esnext', moduleResolution: 'bundler', file: 'names.ts' },
  node10: { module: 'commonjs', moduleResolution: 'node', file: 'names.ts' },
};

/** What a program of Node's may name, and what one of a page: neither declares what the other has. */
const SURROUNDINGS = {
  'in Node': { lib: ['es2022'], types: ['node'] },
  'in a page': { lib: ['es2022', 'dom', 'dom.iterable'], types: [] },
};

/** The complaints of a compiler by whose file they are about: our users', ours, another package's. */
export function sorted(output) {
  const groups = { ours: [], others: new Map() };
  for (const line of output.split('\n').filter((text) => /error TS\d+/.test(text))) {
    const [, other] = /.*node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)/.exec(line.split(/\(\d+,\d+\)/)[0]) ?? [];
    if (!other || other === 'search-e1') groups.ours.push(line);
    else groups.others.set(other, (groups.others.get(other) ?? 0) + 1);
  }
  return groups;
}

async function checkCompiler(folder, { project, names }) {
  const compiler = join(folder, 'node_modules', 'typescript');
  const { version } = JSON.parse(readFileSync(join(compiler, 'package.json'), 'utf8'));
  const major = Number(version.split('.')[0]);
  const done = [];
  const wrong = [];
  const foreign = new Map();
  for (const [resolution, { module, moduleResolution, file }] of Object.entries(RESOLUTIONS)) {
    if (moduleResolution === 'node' && major >= 7) continue; // gone with that version
    writeFileSync(join(project, file), names);
    const before = wrong.length;
    for (const [where, surroundings] of Object.entries(SURROUNDINGS)) {
      const compilerOptions = {
        strict: true,
        skipLibCheck: false,
        noEmit: true,
        target: 'es2022',
        module,
        moduleResolution,
        ...surroundings,
        ...(moduleResolution === 'node' && major === 6 && { ignoreDeprecations: '6.0' }),
      };
      writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [file] }));
      const { code, output } = await run(process.execPath, [join(compiler, 'bin', 'tsc'), '--pretty', 'false'], { cwd: project }).then(
        (ended) => ({ code: 0, ...ended }),
        (error) => ({ code: 1, output: error.message }),
      );
      const { ours, others } = sorted(output);
      if (ours.length)
        wrong.push(`${resolution} ${where}:\n${ours.slice(0, 5).join('\n')}${ours.length > 5 ? `\n… ${ours.length} in all` : ''}`);
      else if (code && others.size === 0) wrong.push(`${resolution} ${where}: ${output}`);
      for (const [name, count] of others) foreign.set(name, Math.max(count, foreign.get(name) ?? 0));
    }
    if (wrong.length === before) done.push(resolution);
  }
  if (wrong.length) throw new Error(`${version}\n${wrong.join('\n')}`);
  const theirs = [...foreign].map(([name, count]) => `${name} (${count})`).join(', ');
  return `${version}: every name is there and none is any, with ${done.join(', ')}${major >= 7 ? ' (node10 is gone from it)' : ''}${theirs && `\nerrors in the declarations of other packages, not ours: ${theirs}`}`;
}

/** `typescript` is every TypeScript of the list, `node@26` that one. @throws RangeError for what is no runtime and no compiler here */
export function chosen(names) {
  if (names.length === 0) return ALL;
  return names.flatMap((name) => {
    const kinds = [...new Set(ALL.map((each) => each.split('@')[0]))];
    if (!kinds.includes(name.split('@')[0])) throw new RangeError(`${name}: expected ${kinds.join(', ')}, with or without @version`);
    return name.includes('@') ? [name] : ALL.filter((each) => each.split('@')[0] === name);
  });
}

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { keep: { type: 'boolean' }, help: { type: 'boolean' } } });
  if (values.help) return process.stdout.write(HELP);
  const wanted = chosen(positionals);
  const folder = mkdtempSync(join(tmpdir(), 'search-e1-runtimes-'));
  const say = (state, name, text, started) =>
    console.log(
      `${state.padEnd(8)}${name.padEnd(18)} ${text.replaceAll('\n', '\n        ')} (${((Date.now() - started) / 1000).toFixed(0)} s)`,
    );
  const failed = [];
  const missing = [];
  try {
    const started = Date.now();
    const tarball = await pack(folder);
    const project = await projectWith(join(folder, 'project'), [tarball, '@types/node@20']);
    const given = { project };
    if (wanted.some((name) => !name.startsWith('typescript'))) {
      const code = readmeExample(readFileSync(join(root, 'README.md'), 'utf8'));
      for (const { file, text } of Object.values(PROGRAMS)) writeFileSync(join(project, file), text(code));
      given.expected = await example([process.execPath], project, PROGRAMS.ESM);
      say('', 'this Node', `${process.version}: ${given.expected.rewards.join(', ')}; ${given.expected.description}`, started);
    }
    if (wanted.some((name) => name.startsWith('typescript'))) given.names = everyName(project);
    for (const name of wanted) {
      const began = Date.now();
      const place = join(folder, name);
      try {
        await projectWith(place, [name]);
      } catch (error) {
        missing.push(name);
        say('not run', name, `cannot be installed here: ${error.message}`, began);
        continue;
      }
      try {
        const text = name.startsWith('typescript') ? await checkCompiler(place, given) : await checkRuntime(name, place, given);
        say('ok', name, text, began);
      } catch (error) {
        failed.push(name);
        say('FAILED', name, error.message, began);
      }
    }
  } finally {
    if (values.keep) console.log(`kept in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }
  const passed = wanted.length - failed.length - missing.length;
  console.log(
    `${passed} passed, ${failed.length} failed${missing.length ? `, ${missing.length} not installed: ${missing.join(', ')}` : ''}`,
  );
  process.exitCode = failed.length ? 1 : missing.length ? 2 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
