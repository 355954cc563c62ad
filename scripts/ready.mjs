/** What `npm start` and `npm test` do first: check Node, install what is missing, build what is stale. Plain JavaScript, no dependency: nothing is installed yet. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Leaves an installed and built project, or exits with the reason. */
export async function ready() {
  checkNode();
  if (!installed()) {
    say('installing the dependencies (npm ci); the first time this takes a minute or two');
    timed('installed', () => npm('ci', '--no-audit', '--no-fund'));
  }
  const { prepare } = await import('./prepare.mjs');
  try {
    if (!prepare()) process.exit(1);
  } catch (error) {
    say(error.message);
    process.exit(1);
  }
}

/** Runs `node ...args` in the project's root with this terminal, and resolves to its exit code. */
export function node(...args) {
  return exitCode(spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }));
}

export function say(text) {
  console.log(`search-e1: ${text}`);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  say(
    `this is Node ${process.versions.node}; Node 20.19 or newer is needed. Get it from nodejs.org, or without installing: npx --package node@22 npm start`,
  );
  process.exit(1);
}

/** True if every package of the lock file is there in its version; optional ones may be absent (other platforms, hosts out of reach). */
function installed() {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record)) return false;
  const found = JSON.parse(readFileSync(record, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(([path, entry]) => path === '' || entry.optional || found[path]?.version === entry.version);
}

/** The npm that runs us, else the one on the path. */
function npm(...args) {
  const path = process.env.npm_execpath;
  const own = path && basename(path).startsWith('npm');
  const result = own
    ? spawnSync(process.execPath, [path, ...args], { cwd: root, stdio: 'inherit' })
    : spawnSync('npm', args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' });
  const code = exitCode(result);
  if (code === 0) return;
  say(`npm ${args[0]} failed (${code}); its messages are above`);
  process.exit(code);
}

function timed(what, action) {
  const started = Date.now();
  action();
  say(`${what} in ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

function exitCode(result) {
  if (result.error) say(result.error.message);
  return result.status ?? 1;
}
