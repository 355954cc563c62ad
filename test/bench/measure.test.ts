/** The measurement's order and refusals, against two sides that compute nothing and write down what they are asked. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, describe, expect, test } from 'vitest';
import { Measurement, type Plan } from '../../bench/measure.js';
import type { Progress } from '../../bench/progress.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-measure-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
delete process.env.SEARCH_E1_BACKEND; // the sides here are none

const script = join(folder, 'side.mjs');
writeFileSync(
  script,
  `import { appendFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
const [, , side, log, loss, diesAfter] = process.argv;
const name = side === 'ours' ? process.env.SEARCH_E1_BACKEND || side : side;
const send = (message) => process.stdout.write(JSON.stringify(message) + '\\n');
let runs = 0;
send({ versions: { [name]: '1' }, backend: name + ' with ' + process.env.OMP_NUM_THREADS, rss: 100, peak: 100 });
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  appendFileSync(log, name + ' ' + message.do + '\\n');
  if (message.do === 'make') send({ made: true });
  else if (message.do === 'matMul') send({ gflops: 10 });
  else if (message.do === 'prepare') send({ check: { loss: [name === 'cpu' ? 9 : Number(loss)], gradNorm: [1] } });
  else if (message.do === 'drop') send({ dropped: true });
  else if (++runs > Number(diesAfter)) { console.error('out of memory'); process.exit(1); }
  else send({ seconds: { ours: 1, peer: 2, tensorflow: 0.5 }[name] ?? 1, rss: 100 + runs, peak: 300 });
}
`,
);

const quiet: Progress = { step() {}, say() {}, end() {} };
let logs = 0;

function measurement(plan: Partial<Plan>, { ours = 7, theirs = 7, diesAfter = 1000 } = {}) {
  const log = join(folder, `${logs++}.log`);
  writeFileSync(log, '');
  const side = (name: 'ours' | 'peer', loss: number) => ({
    name,
    program: process.execPath,
    args: [script, name, log, String(loss), String(name === 'peer' ? diesAfter : 1000)],
  });
  const whole: Plan = {
    size: 'small',
    threads: [1],
    only: ['training'],
    backends: [],
    rounds: 3,
    ours: side('ours', ours),
    peer: side('peer', theirs),
    commit: null,
    ...plan,
  };
  return { measured: new Measurement(whole, quiet), asked: () => readFileSync(log, 'utf8').trim().split('\n') };
}

describe('a measurement', () => {
  test('checks first, warms both sides up, then takes turns', async () => {
    const { measured, asked } = measurement({});
    await measured.run();
    measured.stop();
    const before = ['peer matMul', 'ours matMul', 'ours make', 'peer prepare', 'ours prepare'];
    const rounds = Array.from({ length: 4 }, () => ['ours run', 'peer run']).flat();
    expect(asked()).toEqual([...before, ...rounds, 'ours drop', 'peer drop']);
    const { results, refused, complete, versions } = measured.record();
    expect([refused, complete, versions]).toEqual([[], true, { ours: '1', peer: '1' }]);
    expect(results.map(({ ours, theirs }) => [ours, theirs])).toEqual([
      [
        [1, 1, 1],
        [2, 2, 2],
      ],
    ]);
  });

  test('measures ours on several backends in turns, beside the same peer, and leaves out the one that is wrong', async () => {
    const { measured, asked } = measurement({ backends: ['simd', 'tensorflow', 'cpu'], rounds: 1 });
    await measured.run();
    measured.stop();
    const round = ['simd run', 'tensorflow run', 'peer run'];
    expect(asked().slice(4)).toEqual([
      ...['simd make', 'peer prepare', 'simd prepare', 'tensorflow prepare', 'cpu prepare'],
      ...[...round, ...round],
      ...['simd drop', 'tensorflow drop', 'cpu drop', 'peer drop'],
    ]);
    const { results, refused, peaks } = measured.record();
    expect(results.map(({ backend, goal, ours, theirs }) => [backend, goal, ours, theirs])).toEqual([
      ['simd', 0.6, [1], [2]],
      ['tensorflow', 0.9, [0.5], [2]],
    ]);
    expect(refused).toMatchObject([{ name: 'training', backend: 'cpu', threads: 1 }]);
    expect(peaks.map(({ backend, backends }) => [backend, backends])).toEqual([
      ['simd', ['simd with 1', 'peer with 1']],
      ['tensorflow', ['tensorflow with 1', 'peer with 1']],
      ['cpu', ['cpu with 1', 'peer with 1']],
    ]);
  });

  test('times nothing that is wrong', async () => {
    const { measured, asked } = measurement({}, { ours: 7.01 });
    await measured.run();
    measured.stop();
    expect(asked().filter((line) => line.endsWith('run'))).toEqual([]);
    const { results, refused } = measured.record();
    expect(results).toEqual([]);
    expect(refused[0]).toMatchObject({ name: 'training', threads: 1 });
    expect(refused[0].reason).toContain('ours 7.01, the peer 7');
  });

  test('gives each number of threads to both sides', async () => {
    const { measured } = measurement({ threads: [1, 2], rounds: 1 });
    await measured.run();
    measured.stop();
    expect(measured.record().peaks.map(({ backends }) => backends)).toEqual([
      ['ours with 1', 'peer with 1'],
      ['ours with 2', 'peer with 2'],
    ]);
  });

  test('follows the memory of fresh processes, above their start', async () => {
    const { measured } = measurement({ only: ['memory'] });
    await measured.run();
    measured.stop();
    const [{ ours, theirs, steps }] = measured.record().memory;
    expect([ours.peak, theirs?.peak, steps]).toEqual([200, 200, 20]);
    expect(ours.rss).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  test('keeps what it has where a side dies, and says what that side said last', async () => {
    const { measured } = measurement({}, { diesAfter: 2 });
    await expect(measured.run()).rejects.toThrow(/peer ended.*\n.*out of memory/);
    measured.stop();
    const { results, complete } = measured.record();
    expect(complete).toBe(false);
    expect([results[0].ours, results[0].theirs]).toEqual([[1], [2]]); // whole rounds only
  });

  test('runs alone where there is no peer', async () => {
    const { measured } = measurement({ peer: null, rounds: 2 });
    await measured.run();
    measured.stop();
    const { results, peaks } = measured.record();
    expect([results[0].ours, results[0].theirs, results[0].error, peaks[0].theirs]).toEqual([[1, 1], [], null, null]);
  });
});
