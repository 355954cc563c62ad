/** The built command as the shell sees it: streams, signals, exit codes. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../src/random.js';

const root = join(__dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'search-e1-process-'));

beforeAll(() => {
  execFileSync(process.execPath, [join(root, 'scripts', 'prepare.mjs')], { stdio: 'inherit' });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Interference {
  /** Sent once `at` is seen on stderr. */
  readonly signal?: NodeJS.Signals;
  readonly at?: RegExp;
  /** Close our end of stdout after its first bytes, as `head` does. */
  readonly stopReading?: boolean;
  /** Let stderr pass for a terminal, so that progress is drawn in place. */
  readonly terminal?: boolean;
}

/** Loaded before the command. */
const TERMINAL = 'data:text/javascript,process.stderr.isTTY=true;process.stderr.columns=120';

function searchE1(args: readonly string[], { signal, at, stopReading, terminal }: Interference = {}): Promise<Ended> {
  const child = spawn(process.execPath, [...(terminal ? ['--import', TERMINAL] : []), join(root, 'dist', 'cli.js'), ...args], {
    cwd: folder,
    env: { ...process.env, DEBUG: '' },
  });
  const kept = { stdout: '', stderr: '' };
  let sent = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    kept.stdout += text;
    if (stopReading) child.stdout.destroy();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    kept.stderr += text;
    if (signal && !sent && at?.test(kept.stderr)) sent = child.kill(signal);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, killedBy) => resolve({ code, killedBy, ...kept }));
  });
}

/**
 * A process that begins, or goes on with, twelve steps of pretraining, each of which it keeps; killed some milliseconds after so many steps, if any are given.
 * Says whether it was.
 */
async function pretraining(out: string, steps = Number.POSITIVE_INFINITY, milliseconds = 0): Promise<boolean> {
  const built = (folder: string) => JSON.stringify(pathToFileURL(join(root, 'dist', `${folder}.js`)));
  const script = `
    import { startBackend } from ${built('tensors')};
    import { resumeBasePolicy, trainBasePolicy } from ${built('tinypedia')};
    const out = ${JSON.stringify(out)};
    const settings = { phases: [5, 7].map((steps, draw) => ({ steps, learningRate: 0.003, worlds: 1, draw })), batchSize: 2 };
    const options = { out, backend: await startBackend({ backend: 'simd' }), stepsBetweenSaves: 1, onStep: () => console.log('a step') };
    await resumeBasePolicy(options).catch((error) => {
      if (/holds no unfinished run/.test(error.message)) return trainBasePolicy({ ...options, settings });
      throw error;
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  let seen = 0;
  for await (const _ of createInterface(child.stdout)) if (++seen === steps) setTimeout(() => child.kill('SIGKILL'), milliseconds);
  const [code, signal] = await exit;
  if (signal !== 'SIGKILL') expect(code).toBe(0);
  return signal === 'SIGKILL';
}

describe('the built search-e1', () => {
  it('keeps stdout for the result, so that --json can be piped', async () => {
    const { code, stdout, stderr } = await searchE1(['evaluate', '--set', 'nq-mini', '--limit', '2', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'tinypedia', n: 2 });
    expect(stderr).toContain('nq-mini');
  });

  it('writes no colours into files and pipes', async () => {
    const { stdout, stderr } = await searchE1(['ask', 'what is the employer of Hans Berg ?']);
    expect(stdout + stderr).not.toContain('\u001b');
  });

  it('tells a mistake in one line, with exit code 2', async () => {
    const { code, stdout, stderr } = await searchE1(['notebooks', 'absent.ipynb']);
    expect([code, stdout, stderr]).toEqual([2, '', 'search-e1: absent.ipynb: there is no such notebook or folder\n']);
  });

  it.skipIf(process.platform === 'win32').each([
    ['SIGINT', false],
    ['SIGTERM', false],
    ['SIGINT', true],
  ] as const)('ends at %s with 130 and says how to go on (on a terminal: %s)', async (signal, terminal) => {
    const name = `${signal}-${terminal}`;
    const args = ['evolve', '--name', name, '--grpo-steps', '1000', '--questions-per-step', '2', '--eval-questions', '0'];
    const { code, killedBy, stdout, stderr } = await searchE1(args, { signal, at: /step 2 of 1000: reward/, terminal });
    expect([code, killedBy, stdout]).toEqual([130, null, '']);
    expect(stderr).toContain(`search-e1 evolve --name ${name} --resume`);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stderr).not.toContain('function('); // emscripten would print its whole source
    expect(stderr.includes('\u001b')).toBe(terminal);
  });

  it('pretrains on after every SIGKILL, and ends with the same policy', async () => {
    const kills = random(29, 'kill');
    const weights = (name: string) => readFileSync(join(folder, name, 'model.safetensors'), 'base64');
    await pretraining('unkilled');
    let killed = 0;
    for (let attempt = 0; attempt < 5; attempt++) if (await pretraining('killed', 1 + kills.integer(2), kills.integer(60))) killed++;
    expect(killed).toBeGreaterThan(2);
    await pretraining('killed');
    expect(weights('killed')).toBe(weights('unkilled'));
    expect(readdirSync(join(folder, 'killed'))).toEqual(readdirSync(join(folder, 'unkilled')));
  });

  it('does not complain when nobody reads on', async () => {
    const { code, stderr } = await searchE1(['evaluate', '--help'], { stopReading: true });
    expect([code, stderr]).toEqual([0, '']);
  });
});
