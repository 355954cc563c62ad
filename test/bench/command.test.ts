/** The bench itself, end to end on tiny shapes: every work of ours, without peers. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { describe, expect, test } from 'vitest';
import type { BenchRecord } from '../../bench/record.js';

const folder = join(__dirname, '..', '..', 'bench');
/** What `npm run bench` calls; it builds the other. */
const START = join(folder, 'start.mjs');
const BUILT = join(folder, '.build', 'main.js');

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function bench(program: string, args: readonly string[], interruptAt?: RegExp): Promise<Ended> {
  const child = spawn(process.execPath, [program, '--size', 'small', '--no-peers', ...args], {
    env: { ...process.env, SEARCH_E1_BACKEND: '' },
    detached: true,
  });
  const kept = { stdout: '', stderr: '' };
  let sent = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    kept.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    kept.stderr += text;
    if (interruptAt?.test(kept.stderr) && !sent) sent = process.kill(-(child.pid as number), 'SIGINT'); // as a terminal: to the whole group
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...kept }));
  });
}

describe('npm run bench', () => {
  test('measures every work and leaves a record on stdout', async () => {
    const { code, stdout, stderr } = await bench(START, ['--rounds', '1', '--profile', '--json']);
    expect(code, stderr).toBe(0);
    const record = JSON.parse(stdout.slice(stdout.indexOf('{\n'))) as BenchRecord;
    const groups = [...new Set(record.results.map(({ name }) => name.split(':')[0]))];
    expect(groups).toEqual(['training', 'lora', 'sampling', 'grpo', 'search', 'ofsd', 'checkpoint', 'sweep']);
    expect(record.results.every(({ ours }) => ours.every((seconds) => seconds > 0))).toBe(true);
    for (const { name, flops, profile } of record.results) {
      const sum = (key: 'seconds' | 'flops') => profile?.operations.reduce((total, operation) => total + operation[key], 0) ?? Number.NaN;
      expect(sum('seconds'), name).toBeLessThan(profile?.seconds as number);
      // Counted kernel by kernel it is what the mathematics asks for, less what is shared and left out.
      expect(sum('flops') / flops, name).toBeGreaterThan(0.6);
      expect(sum('flops') / flops, name).toBeLessThanOrEqual(1.0001);
    }
    expect(record.memory[0].ours.peak).toBeGreaterThan(1e6);
    expect([record.complete, record.refused, record.peaks[0].theirs]).toEqual([true, [], null]);
  });

  test.skipIf(process.platform === 'win32')('prints what it has on Ctrl-C', async () => {
    const { code, stdout } = await bench(
      BUILT,
      ['--only', 'training,sampling', '--rounds', '100000'],
      /training: warming up|training: checking/,
    );
    expect(code).toBe(130);
    expect(stdout).toContain('interrupted');
  });

  test('says what an option expects', async () => {
    const { code, stderr } = await bench(BUILT, ['--only', 'trainin']);
    expect(code).toBe(1);
    expect(stderr).toContain('Expected some of training,lora,sampling');
  });
});
