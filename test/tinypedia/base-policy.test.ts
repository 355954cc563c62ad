/** Pretraining as a run: stopped anywhere, it goes on and ends with the files of a run that was not. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BackendReport, startBackend } from '../../src/tensors/backend.js';
import { resumeBasePolicy, type TrainBasePolicyOptions, trainBasePolicy } from '../../src/tinypedia/base-policy.js';
import type { PretrainMetrics } from '../../src/tinypedia/pretrain.js';
import { openUnfinished } from '../../src/tinypedia/unfinished.js';
import { randomEngine } from '../rollout/tiny-policy.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
const at = (name: string) => join(folder, name);
const base = at('base');
let backend: BackendReport;

/** A line of training.jsonl in the middle of a phase, and at the end of each. */
const STEPS = [3, 52, 2];
const TOTAL = 57;
const settings: TrainBasePolicyOptions['settings'] = {
  phases: STEPS.map((steps, i) => ({ steps, learningRate: 0.01, worlds: 2, draw: i })),
  batchSize: 1,
  warmUpSteps: 2,
  seed: 5,
};

beforeAll(async () => {
  backend = await startBackend({ backend: 'simd' });
  const engine = randomEngine(4);
  await engine.save(base);
  engine.dispose();
  await trainBasePolicy({ out: at('whole'), from: base, backend, settings });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** All files that a run leaves, without the seconds it took. */
const filesOf = (path: string) =>
  Object.fromEntries(
    readdirSync(path)
      .sort()
      .map((name) => {
        const bytes = readFileSync(join(path, name));
        return [name, name === 'training.json' ? bytes.toString().replace(/"seconds": \d+/, '') : bytes.toString('base64')];
      }),
  );

/** Trains at `out`, ever on from where it was stopped, and stops after each of the steps in `stops`; 0 is before the first. Returns all steps that were done. */
async function trainWithStops(out: string, stops: readonly number[], options: Partial<TrainBasePolicyOptions> = {}) {
  const done: number[] = [];
  for (const stop of [...stops, null]) {
    const abort = new AbortController();
    if (stop === 0) abort.abort(new Error('stop'));
    const session = {
      out,
      backend,
      signal: abort.signal,
      ...options,
      onStep(_: PretrainMetrics, step: number) {
        done.push(step);
        if (step === stop) abort.abort(new Error('stop'));
      },
    };
    const training = (await openUnfinished(out)) ? resumeBasePolicy(session) : trainBasePolicy({ from: base, settings, ...session });
    if (stop === null || stop === TOTAL) await training;
    else await expect(training).rejects.toThrow('stop');
  }
  return done;
}

describe('a pretraining run', () => {
  it('leaves the policy with its record, and nothing besides', () => {
    expect(Object.keys(filesOf(at('whole')))).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
      'training.json',
      'training.jsonl',
    ]);
    const lines = readFileSync(join(at('whole'), 'training.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const places = lines.map((line) => JSON.parse(line) as PretrainMetrics).map(({ phase, step }) => [phase, step]);
    expect(places).toEqual([
      [1, 3],
      [2, 50],
      [2, 52],
      [3, 2],
    ]);
    const record = JSON.parse(readFileSync(join(at('whole'), 'training.json'), 'utf8'));
    expect(record).toMatchObject({ from: 'base', settings, final: JSON.parse(lines[3]), seconds: expect.any(Number) });
  });

  it('ends with the same files wherever and however often it is stopped, between phases too, and does no step twice', async () => {
    const stops = fc
      .uniqueArray(fc.integer({ min: 0, max: TOTAL - 1 }), { minLength: 1, maxLength: 4 })
      .map((s) => s.sort((a, b) => a - b));
    await fc.assert(
      fc.asyncProperty(stops, fc.constantFrom(7, 20, 100), async (stops, stepsBetweenSaves) => {
        const out = at('stopped');
        rmSync(out, { recursive: true, force: true });
        const done = await trainWithStops(out, stops, { stepsBetweenSaves });
        expect(done).toEqual(Array.from({ length: TOTAL }, (_, i) => i + 1));
        expect(filesOf(out)).toEqual(filesOf(at('whole')));
      }),
      {
        numRuns: 5,
        examples: [
          [[3, 55], 100],
          [[0, 2, 3, 4, 56], 20],
        ],
      },
    );
  });

  it('is finished where it is stopped in its last step', async () => {
    const abort = new AbortController();
    const onStep = (_: PretrainMetrics, done: number) => done === TOTAL && abort.abort(new Error('stop'));
    await trainBasePolicy({ out: at('last'), from: base, backend, settings, signal: abort.signal, onStep });
    expect(filesOf(at('last'))).toEqual(filesOf(at('whole')));
  });

  it('goes on from what it kept last where it broke off, and ends with the same files', async () => {
    const onStep = (_: PretrainMetrics, done: number) => {
      if (done === 47) throw new Error('broke');
    };
    const options = { out: at('broken'), backend, stepsBetweenSaves: 20 };
    await expect(trainBasePolicy({ ...options, from: base, settings, onStep })).rejects.toThrow('broke');
    expect((await openUnfinished(at('broken')))?.last).toMatchObject({ phase: 2, step: 37 });
    expect((await trainWithStops(at('broken'), []))[0]).toBe(41);
    expect(filesOf(at('broken'))).toEqual(filesOf(at('whole')));
  });

  it('from random weights is the same, stopped or not', async () => {
    const short = { ...settings, phases: [{ steps: 3, learningRate: 0.01, worlds: 1, draw: 0 }] };
    const [whole, stopped] = [at('random-whole'), at('random-stopped')];
    const abort = new AbortController();
    await trainBasePolicy({ out: whole, backend, settings: short });
    const onStep = (_: PretrainMetrics, done: number) => done === 2 && abort.abort(new Error('stop'));
    await expect(trainBasePolicy({ out: stopped, backend, settings: short, signal: abort.signal, onStep })).rejects.toThrow('stop');
    await resumeBasePolicy({ out: stopped, backend });
    expect(filesOf(stopped)).toEqual(filesOf(whole));
  });

  it('counts the seconds of all its sessions', async () => {
    const clock = performance.now;
    let now = 0;
    performance.now = () => now;
    try {
      const abort = new AbortController();
      const onStep = (_: PretrainMetrics, done: number) => {
        now += 1000;
        if (done === 30) abort.abort(new Error('stop'));
      };
      await expect(trainBasePolicy({ out: at('timed'), from: base, backend, settings, signal: abort.signal, onStep })).rejects.toThrow(
        'stop',
      );
      now = 1e9;
      const record = await resumeBasePolicy({ out: at('timed'), backend, onStep });
      expect(record.seconds).toBe(TOTAL);
    } finally {
      performance.now = clock;
    }
  });

  it('that was begun anew forgets the one that was stopped there', async () => {
    const stop = new AbortController();
    const other = { ...settings, seed: 6 };
    const onStep = () => stop.abort(new Error('stop'));
    await expect(trainBasePolicy({ out: at('anew'), from: base, backend, settings: other, signal: stop.signal, onStep })).rejects.toThrow();
    await trainBasePolicy({ out: at('anew'), from: base, backend, settings });
    expect(filesOf(at('anew'))).toEqual(filesOf(at('whole')));
  });

  it('cannot be resumed where there is none', async () => {
    await expect(resumeBasePolicy({ out: at('whole'), backend })).rejects.toThrow(/holds no unfinished run/);
  });
});
