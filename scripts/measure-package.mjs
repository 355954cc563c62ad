/** `npm run measure:package`: what the package costs who installs, imports and bundles it, from the packed tarball in an empty project. See --help. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus, loadavg, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { pack, projectWith, root, run } from './empty-project.mjs';

const HELP = `Usage: npm run measure:package -- [options]

Packs the package, installs the tarball in an empty project with an empty npm cache, and measures: packages, megabytes and seconds of the installation; of
every subpath the time and memory of its import (medians of fresh Node processes, taken in turn) and its bundle for a browser, minified, with all that it
loads at once.

  --rounds N   processes a subpath; default 7
  --readme     put the figures into README.md, between their marks
  --json       the figures as JSON: milliseconds, bytes, seconds
`;

/** What is imported of those that are to be light, and how light: milliseconds of importing the subpath, bytes of a bundle of these names. */
const LIGHT = {
  reward: ['exactMatch'],
  siblings: ['choosePair'],
  rollout: ['parseAction', 'classroomProtocol', 'searchR1Protocol'],
  benchmarks: ['compareSystems', 'summarize', 'wilson', 'mcNemar'],
};
const GOALS = { milliseconds: 20, bytes: 20_000 };

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Milliseconds and bytes of resident memory that an import adds, in a process of its own. */
async function importOf(specifier, project) {
  const program = `const before = process.memoryUsage.rss();
    const began = performance.now();
    await import('${specifier}');
    const milliseconds = performance.now() - began;
    console.log(JSON.stringify({ milliseconds, memory: process.memoryUsage.rss() - before }));`;
  writeFileSync(join(project, 'import.mjs'), program);
  return JSON.parse((await run(process.execPath, ['import.mjs'], { cwd: project })).stdout);
}

/** Bytes of a bundle for a browser: of what is loaded at once, minified and gzipped, and of what is loaded when it is asked for. */
async function bundleOf(code, project) {
  const ofVite = createRequire(createRequire(import.meta.url).resolve('vite/package.json'));
  const { rolldown } = await import(pathToFileURL(ofVite.resolve('rolldown')).href);
  const entry = join(project, 'entry.js');
  writeFileSync(entry, code);
  const bundle = await rolldown({ input: entry, cwd: project, platform: 'browser', logLevel: 'silent' });
  const { output } = await bundle.generate({ format: 'esm', minify: true });
  await bundle.close();
  return sizes(output.filter(({ type }) => type === 'chunk'));
}

/** Of chunks as a bundler makes them: the entry's with those that it imports, and the rest. */
export function sizes(chunks) {
  const byName = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
  const atOnce = new Set();
  const follow = (name) => {
    if (atOnce.has(name) || !byName.has(name)) return;
    atOnce.add(name);
    for (const imported of byName.get(name).imports) follow(imported);
  };
  for (const { isEntry, fileName } of chunks) if (isEntry) follow(fileName);
  const size = { minified: 0, gzipped: 0, later: 0 };
  for (const { fileName, code } of chunks) {
    if (!atOnce.has(fileName)) {
      size.later += Buffer.byteLength(code);
      continue;
    }
    size.minified += Buffer.byteLength(code);
    size.gzipped += gzipSync(code).length;
  }
  return size;
}

/** Packages, bytes on the disk, and those of TensorFlow.js, below a project's node_modules. */
function installed(project) {
  const modules = join(project, 'node_modules');
  const { packages } = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8'));
  return { packages: Object.keys(packages).length, bytes: bytesIn(modules), tensorFlow: bytesIn(join(modules, '@tensorflow')) };
}

/** As they lie on the disk, in whole blocks where the system tells of them. */
function bytesIn(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => {
    const { size, blocks } = statSync(join(parentPath, name));
    return sum + (blocks ? blocks * 512 : size);
  }, 0);
}

async function measure(rounds) {
  const folder = mkdtempSync(join(tmpdir(), 'search-e1-measure-'));
  try {
    const tarball = await pack(folder);
    const load = loadavg()[0];
    const began = performance.now();
    const project = await projectWith(join(folder, 'project'), [tarball, '--cache', join(folder, 'cache')]);
    const install = { tarball: statSync(tarball).size, seconds: (performance.now() - began) / 1000, ...installed(project) };
    const { name, version, exports } = JSON.parse(readFileSync(join(project, 'node_modules', 'search-e1', 'package.json'), 'utf8'));
    const doors = Object.keys(exports).filter((path) => !path.endsWith('.json'));
    const specifiers = doors.map((path) => name + path.slice(1));
    const imports = new Map(specifiers.map((specifier) => [specifier, []]));
    for (const specifier of specifiers) await importOf(specifier, project); // so that each is read from the disk's cache
    for (let round = 0; round < rounds; round++)
      for (const specifier of specifiers) imports.get(specifier).push(await importOf(specifier, project));
    const subpaths = [];
    for (const [i, specifier] of specifiers.entries()) {
      const names = LIGHT[doors[i].slice(2)];
      const inBrowser = 'browser' in exports[doors[i]].import;
      subpaths.push({
        specifier,
        milliseconds: median(imports.get(specifier).map(({ milliseconds }) => milliseconds)),
        memory: median(imports.get(specifier).map(({ memory }) => memory)),
        bundle: inBrowser ? await bundleOf(`export * from '${specifier}';`, project) : null,
        light: names ? { names, bundle: await bundleOf(`export { ${names.join(', ')} } from '${specifier}';`, project) } : null,
      });
    }
    const machine = {
      cpu: cpus()[0]?.model.trim().replace(/\s+/g, ' ') ?? 'unknown CPU',
      cores: cpus().length,
      platform: `${platform()} ${arch()}`,
      load,
    };
    return {
      date: new Date().toISOString().slice(0, 10),
      version,
      node: process.versions.node,
      rounds,
      machine,
      goals: GOALS,
      install,
      subpaths,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const kilobytes = ({ minified, gzipped }) => `${thousands(minified)} kB (${thousands(gzipped)})`;
const thousands = (bytes) => (bytes / 1000).toFixed(bytes < 10_000 ? 1 : 0);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const mark = (holds) => (holds ? ' ✓' : ' ✗');

/** The figures as Markdown. */
export function table({ date, version, node, machine, goals, install, subpaths, rounds }) {
  const rows = [['import', 'time', 'memory', 'bundle, minified (gzipped)', 'of it the names that are mostly wanted']];
  for (const { specifier, milliseconds, memory, bundle, light } of subpaths)
    rows.push([
      `\`${specifier}\``,
      `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms${light ? mark(milliseconds < goals.milliseconds) : ''}`,
      megabytes(memory),
      bundle ? kilobytes(bundle) : 'Node only',
      light
        ? `${kilobytes(light.bundle)}${mark(light.bundle.minified < goals.bytes)}: ${light.names.map((name) => `\`${name}\``).join(', ')}`
        : '',
    ]);
  const widths = rows[0].map((_, column) => Math.max(3, ...rows.map((row) => row[column].length)));
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  const busy = machine.load > machine.cores / 2 ? `; busy with other work: load ${machine.load.toFixed(1)} at the start` : '';
  return `search-e1 ${version}, ${machine.cpu}, ${machine.cores} cores, ${machine.platform}, node ${node}, ${date}${busy}.
\`npm i\` of the tarball (${megabytes(install.tarball)}) with an empty cache: ${install.packages} packages, ${megabytes(install.bytes)}, ${megabytes(install.tensorFlow)} of them TensorFlow.js, in ${install.seconds.toFixed(1)} s.
Time and memory: what importing adds to a Node that has just started, medians of ${rounds}. Bundle: for a browser, all names, with what is loaded at once. ✓: below ${goals.milliseconds} ms, below ${goals.bytes / 1000} kB.

${line(rows[0])}
${line(widths.map((width) => '-'.repeat(width)))}
${rows.slice(1).map(line).join('\n')}
`;
}

const BEGIN = '<!-- made by `npm run measure:package -- --readme` -->';
const END = '<!-- end -->';

/** README's text with the figures between their marks. @throws Error where it has no marks */
export function withFigures(readme, figures) {
  const from = readme.indexOf(BEGIN);
  const to = readme.indexOf(END, from);
  if (from < 0 || to < 0) throw new Error(`README.md has no ${from < 0 ? BEGIN : END}: the figures have no place`);
  return `${readme.slice(0, from + BEGIN.length)}\n\n${table(figures)}\n${readme.slice(to)}`;
}

async function main() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '7' },
      readme: { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return process.stdout.write(HELP);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) {
    console.error(`measure:package: --rounds: expected a whole number of at least 1, got ${values.rounds}`);
    process.exitCode = 2;
    return;
  }
  const figures = await measure(rounds);
  if (values.readme) {
    const readme = join(root, 'README.md');
    writeFileSync(readme, withFigures(readFileSync(readme, 'utf8'), figures));
  }
  process.stdout.write(values.json ? `${JSON.stringify(figures, null, 2)}\n` : table(figures));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
