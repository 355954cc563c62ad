/** The package as its users get it: packed, and installed in empty projects outside this folder. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/**
 * Runs a program to its end.
 *
 * @returns what it wrote, on both streams together as `output`
 * @throws Error with both streams where it fails or takes longer than `minutes`
 */
export function run(program, args, { cwd, env = {}, minutes = 5 }) {
  return new Promise((done, fail) => {
    const options = {
      cwd,
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, ...env },
      timeout: minutes * 60_000,
      maxBuffer: 2 ** 27,
    };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (!error) return done({ stdout, output: stdout + stderr });
      const why = error.killed ? `took longer than ${minutes} minutes` : `ended with ${error.code ?? error.signal}`;
      fail(new Error(`${basename(program)} ${args.join(' ')} ${why}:\n${stdout}${stderr}`));
    }).stdin.end();
  });
}

/** The npm that runs this script, else the one on the path. */
export function npm(args, options) {
  const own = process.env.npm_execpath;
  if (own && basename(own).startsWith('npm')) return run(process.execPath, [own, ...args], options);
  return process.platform === 'win32' ? run('cmd', ['/c', 'npm', ...args], options) : run('npm', args, options);
}

/** Packs the package into a folder, built anew where that is needed. @returns the path of the tarball */
export async function pack(folder) {
  await run(process.execPath, [join(root, 'scripts', 'prepare.mjs'), '--or-fail'], { cwd: root });
  const { stdout } = await npm(['pack', root, '--json', '--ignore-scripts'], { cwd: folder });
  return join(folder, JSON.parse(stdout)[0].filename);
}

/** A new project with these packages in it, by npm. @returns its path */
export async function projectWith(folder, packages) {
  mkdirSync(folder, { recursive: true });
  // npm of later versions runs no script of a package that is not named here: these fetch their program by one.
  const allowScripts = { node: true, bun: true, deno: true };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module', allowScripts }));
  await npm(['install', ...packages, '--no-audit', '--no-fund', '--prefer-offline'], { cwd: folder });
  return folder;
}
