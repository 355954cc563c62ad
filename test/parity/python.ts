/** The Python side of a parity test: the virtual environment, a folder for what it writes, and the table of what was compared. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(__dirname, '../..');

/** Fresh for every run, unless PARITY_SEED repeats one. */
export const seed = Number(process.env.PARITY_SEED);

/** An empty folder of this run's own. */
export function scratch(name: string): string {
  const folder = join(process.env.PARITY_FOLDER as string, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Runs a script of this folder; throws with its error where it fails. */
export function python(script: string, ...args: readonly string[]): void {
  const binary = (script === 'open_in_vllm.py' ? process.env.PARITY_VLLM : process.env.PARITY_PYTHON) as string;
  if (!binary || !existsSync(binary)) throw new Error('no Python: run `npm run test:parity`, which makes a virtual environment');
  const { status, stderr, error } = spawnSync(binary, [join(__dirname, script), ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    env: {
      ...process.env,
      HF_HUB_OFFLINE: '1',
      TOKENIZERS_PARALLELISM: 'false',
      TRANSFORMERS_VERBOSITY: 'error',
      TRL_EXPERIMENTAL_SILENCE: '1',
    },
  });
  if (status !== 0) throw new Error(`${script} failed: ${error?.message ?? stderr.slice(-4000)}`);
}

/** A row of the table that the run ends with: what was compared, and the largest difference found. */
export function report(area: string, what: string, difference: number, bound = 0): void {
  appendFileSync(join(process.env.PARITY_FOLDER as string, 'report.jsonl'), `${JSON.stringify({ area, what, difference, bound })}\n`);
}
