/**
 * Builds `dist` when it is stale and links node_modules/search-e1 to the project, so that the notebooks import the package by its own name.
 *
 * npm runs this after `npm ci` or `npm install` has changed this project's node_modules (the script `dependencies`), and before `npm pack` (`prepack`), never
 * where the packed package is installed; for a script of the name `prepare` npm would ask those who install the tarball for approval. `--force` builds in any
 * case. `--or-fail` fails where it cannot build, so that nothing is packed without its code; an installation without development dependencies goes on without.
 * Everything is printed to stderr, because `npm pack --json` owns stdout.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const stamp = join(dist, '.built-from.json');
const kernelBuilder = join(root, 'scripts', 'build-kernels.mjs');
const kernels = join(root, 'src', 'tensors', 'simd');

/** Builds if needed. Returns false, with the reason printed, where the build tools are not installed. Throws where the build fails. */
export function prepare({ force = false } = {}) {
  const started = Date.now();
  const built = force || !existsSync(stamp) ? {} : JSON.parse(readFileSync(stamp, 'utf8'));
  const wanted = { kernels: fingerprint(kernelSources()), package: fingerprint(packageSources()) };
  const kernelsAreFresh = built.kernels === wanted.kernels && readdirSync(kernels).some(isGenerated);
  if (kernelsAreFresh && built.package === wanted.package) {
    linkToItself();
    return true;
  }
  const bundler = join(root, 'node_modules', 'tsdown', 'dist', 'run.mjs');
  if (!existsSync(bundler)) {
    say('dist was not built: the development dependencies are missing. Run `npm ci`, without --omit=dev, and try again.');
    return false;
  }
  if (!kernelsAreFresh) run('the kernels', [kernelBuilder]);
  const next = join(root, `dist.next-${process.pid}`);
  try {
    run('the package', [bundler, '--out-dir', relative(root, next)]);
    writeFileSync(join(next, 'NOTICES.txt'), notices());
    writeFileSync(join(next, '.built-from.json'), JSON.stringify(wanted));
    swapIn(next);
  } finally {
    rmSync(next, { recursive: true, force: true });
  }
  linkToItself();
  say(`built dist in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return true;
}

/** Packages that the bundle holds parts of (tsdown.config.ts), with their licences. */
function notices() {
  const packages = [
    '@tensorflow/tfjs-core',
    '@tensorflow/tfjs-backend-cpu',
    '@tensorflow/tfjs-backend-webgpu',
    'pure-rand',
    'simple-statistics',
    'stemmer',
  ];
  const parts = packages.map((name) => {
    const folder = join(root, 'node_modules', name);
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((each) => /^licen[cs]e(\.\w+)?$/i.test(each));
    return `${name} ${version} (${license})\n${file ? `\n${readFileSync(join(folder, file), 'utf8').trim()}\n` : ''}`;
  });
  return `Parts of these packages are in the files of this folder.\n\n${parts.join('\n---\n\n')}`;
}

/** What scripts/build-kernels.mjs reads: itself, the AssemblyScript sources, and installed packages. */
function kernelSources() {
  return [kernelBuilder, join(root, 'package-lock.json'), ...filesIn(join(kernels, 'assembly'))];
}

function packageSources() {
  const settings = ['package.json', 'tsconfig.json', 'tsdown.config.ts', 'scripts/tfjs-gradients.ts'].map((name) => join(root, name));
  return [...settings, ...kernelSources(), ...filesIn(join(root, 'src')).filter((path) => !isGenerated(path))];
}

function filesIn(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** A hash over names and contents; a few milliseconds. */
function fingerprint(paths) {
  const hash = createHash('sha256');
  for (const path of [...new Set(paths)].sort()) {
    hash.update(`${relative(root, path).split(sep).join('/')}\0`);
    hash.update(readFileSync(path)).update('\0');
  }
  return hash.digest('hex');
}

/** Written by scripts/build-kernels.mjs from the installed packages. */
function isGenerated(path) {
  return path.endsWith('.generated.ts');
}

/** Readers of the old `dist` see the old one or the new one, never half of it. Another process may be doing the same: then again, the last one wins. */
function swapIn(next) {
  const old = join(root, `dist.old-${process.pid}`);
  for (let attempt = 1; ; attempt++) {
    try {
      if (existsSync(dist)) renameSync(dist, old);
      renameSync(next, dist);
      break;
    } catch (error) {
      if (attempt === 5) throw error;
    } finally {
      rmSync(old, { recursive: true, force: true });
    }
  }
}

/** node_modules/search-e1 -> the project. tslab resolves as Node10 and does not know a package's references to itself. */
function linkToItself() {
  const link = join(root, 'node_modules', 'search-e1');
  try {
    if (lstatSync(link).isSymbolicLink() && existsSync(link) && realpathSync(link) === realpathSync(root)) return;
    rmSync(link, { recursive: true, force: true });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  mkdirSync(dirname(link), { recursive: true });
  try {
    symlinkSync(process.platform === 'win32' ? root : '..', link, process.platform === 'win32' ? 'junction' : 'dir');
  } catch (error) {
    if (error.code !== 'EEXIST') throw error; // another process was first
  }
}

function run(what, args) {
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
  const result = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (result.status === 0) return;
  const output = stripVTControlCharacters(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}`);
  throw new Error(`building ${what} failed (node ${args.join(' ')}):\n${output}`);
}

function say(text) {
  process.stderr.write(`search-e1: ${text}\n`);
}

if (process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  try {
    const ready = prepare({ force: process.argv.includes('--force') });
    if (!ready && process.argv.includes('--or-fail')) process.exitCode = 1;
  } catch (error) {
    say(error.message);
    process.exitCode = 1;
  }
}
