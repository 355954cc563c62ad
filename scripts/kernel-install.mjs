/**
 * Puts the kernel where Jupyter and VS Code look for kernels. No Python needed; see --help.
 *
 * The copy records this checkout in `root.json`, so that it works for notebooks in any folder.
 */
import { cpSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const HELP = `Usage: npm run kernel:install -- [options]

Installs the kernel "TypeScript (search-e1)" for Jupyter and VS Code.

  --prefix DIR   install for the environment in DIR (DIR/share/jupyter), such as a virtual environment;
                 default: for you alone, in ${userData()}
  --uninstall    remove it from there
  --help         show this
`;

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

try {
  main();
} catch (error) {
  process.stderr.write(`kernel:install: ${error.message}\n`);
  process.exitCode = 1;
}

function main() {
  const { values } = parseArgs({ options: { prefix: { type: 'string' }, uninstall: { type: 'boolean' }, help: { type: 'boolean' } } });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const data = values.prefix === undefined ? userData() : join(resolve(values.prefix), 'share', 'jupyter');
  const target = join(data, 'kernels', 'search-e1');
  if (values.uninstall) {
    const present = existsSync(target);
    rmSync(target, { recursive: true, force: true });
    process.stdout.write(present ? `Removed ${target}\n` : `Nothing to remove at ${target}\n`);
    return;
  }
  const next = `${target}.${process.pid}.tmp`;
  mkdirSync(dirname(target), { recursive: true });
  try {
    cpSync(join(root, 'kernels', 'search-e1'), next, { recursive: true });
    writeFileSync(join(next, 'root.json'), `${JSON.stringify({ root })}\n`);
    rmSync(target, { recursive: true, force: true });
    renameSync(next, target);
  } finally {
    rmSync(next, { recursive: true, force: true });
  }
  process.stdout.write(
    `Installed ${target}\nChoose the kernel "TypeScript (search-e1)" in JupyterLab or VS Code; a program that is open must be restarted.\n`,
  );
}

/** Jupyter's folder for one user's data, https://docs.jupyter.org/en/latest/use/jupyter-directories.html */
function userData() {
  const { JUPYTER_DATA_DIR, XDG_DATA_HOME, APPDATA } = process.env;
  if (JUPYTER_DATA_DIR) return JUPYTER_DATA_DIR;
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Jupyter');
  if (process.platform === 'win32') return APPDATA ? join(APPDATA, 'jupyter') : join(homedir(), '.jupyter', 'data');
  return join(XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'jupyter');
}
