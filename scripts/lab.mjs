/**
 * Opens JupyterLab on the notebooks, in a virtual environment of the project's own with pinned versions; see --help.
 *
 * JUPYTER_PATH names the project, so that its kernel is listed without being installed. Python's plotly package brings the extension with
 * which JupyterLab draws plots that can be zoomed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const PACKAGES = ['jupyterlab==4.6.6', 'plotly==7.1.0'];

const HELP = `Usage: npm run lab -- [options of "jupyter lab"]

Opens JupyterLab on notebooks/, with the kernel "TypeScript (search-e1)". Needs Python 3.10 or newer; the first time it makes
.venv and installs ${PACKAGES.join(' and ')} there. Such as: npm run lab -- --no-browser --port 8890
`;

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const windows = process.platform === 'win32';
const environment = join(root, '.venv');
const python = windows ? join(environment, 'Scripts', 'python.exe') : join(environment, 'bin', 'python');
const stamp = join(environment, '.search-e1-lab');

const options = process.argv.slice(2);
if (options.includes('--help')) process.stdout.write(HELP);
else {
  prepare();
  open();
}

/** Installs what is missing. A stamp names what was installed, so that a half-finished installation is not taken for a whole one. */
function prepare() {
  const wanted = PACKAGES.join('\n');
  if (existsSync(python) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  const base = systemPython();
  say(`Installing ${PACKAGES.join(' and ')} in .venv; once, about a minute.`);
  run(
    base.command,
    [...base.before, '-m', 'venv', '--clear', environment],
    'Could not make .venv. On Debian and Ubuntu: apt-get install python3-venv.',
  );
  run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES], 'Could not install JupyterLab: see above.');
  // JupyterLab's own Node scripts are CommonJS, and would take "type": "module" from this project's package.json.
  writeFileSync(join(environment, 'package.json'), '{ "type": "commonjs" }\n');
  writeFileSync(stamp, wanted);
}

function open() {
  const paths = [root, process.env.JUPYTER_PATH].filter(Boolean).join(delimiter);
  // Containers often have no other user.
  const asRoot = process.getuid?.() === 0 ? ['--allow-root'] : [];
  const lab = spawn(
    python,
    ['-m', 'jupyterlab', '--ServerApp.root_dir', root, '--LabApp.default_url', '/lab/tree/notebooks', ...asRoot, ...options],
    {
      cwd: root,
      env: { ...process.env, JUPYTER_PATH: paths },
      stdio: 'inherit',
    },
  );
  // Ctrl-C reaches JupyterLab too, which asks back: leave the answer to it.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => lab.kill('SIGTERM'));
  lab.on('exit', (code, signal) => {
    process.exitCode = signal ? 1 : code;
  });
}

function systemPython() {
  const candidates = windows ? [['py', '-3'], ['python']] : [['python3'], ['python']];
  for (const [command, ...before] of candidates) {
    const check = spawnSync(command, [...before, '-c', 'import sys; sys.exit(sys.version_info < (3, 10))']);
    if (check.status === 0) return { command, before };
  }
  return fail(
    'JupyterLab needs Python 3.10 or newer, and none was found (tried: python3, python).',
    'Install it, or do without: "npm start" runs the notebooks and makes a book of them, and VS Code opens them after "npm run kernel:install".',
  );
}

function run(command, args, problem) {
  const { status } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) fail(problem);
}

function say(text) {
  process.stderr.write(`lab: ${text}\n`);
}

function fail(...lines) {
  for (const line of lines) say(line);
  process.exit(1);
}
