/** A run that was stopped or killed at any moment goes on and ends with the numbers of an uninterrupted one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';
import { build } from 'tsdown';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { gradients, isInternal } from '../../scripts/tfjs-gradients.js';
import type { EvolutionEvent } from '../../src/evolution/evolve.js';
import { packageRoot } from '../../src/platform/datasets.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { taughtEngine } from '../rollout/tiny-policy.js';
import { tinyEvolution, tinyRun } from './tiny-run.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
const base = join(folder, 'base');
const whole = join(folder, 'whole');
let events = 0;

beforeAll(async () => {
  await startBackend({ backend: 'simd' });
  const engine = await taughtEngine();
  await engine.save(base);
  engine.dispose();
});
// Once, within the first test: what fails before any of them fails none, for who counts mutants.
let run: Promise<void> | undefined;
beforeEach(() => {
  run ??= tinyRun(base, whole, { onEvent: () => events++ });
  return run;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** All that a run leaves and that does not tell the time. */
function recordOf(path: string) {
  const lines = (text: string) =>
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const metrics = lines(readFileSync(join(path, 'metrics.jsonl'), 'utf8')).map((line) =>
    Object.fromEntries(Object.entries(line).filter(([name]) => !name.startsWith('seconds_'))),
  );
  const trajectories = lines(gunzipSync(readFileSync(join(path, 'trajectories.jsonl.gz'))).toString());
  const evaluations = lines(readFileSync(join(path, 'evaluations.jsonl'), 'utf8'));
  const { finished, step, checkpoint } = JSON.parse(readFileSync(join(path, 'state.json'), 'utf8'));
  const checkpoints = Object.fromEntries(
    readdirSync(join(path, 'checkpoints'))
      .sort()
      .map((name) => [name, filesOf(join(path, 'checkpoints', name))]),
  );
  return { metrics, evaluations, trajectories, finished, step, checkpoint, checkpoints };
}
const filesOf = (path: string) =>
  Object.fromEntries(
    readdirSync(path)
      .sort()
      .map((name) => [name, readFileSync(join(path, name)).toString('base64')]),
  );

test('the uninterrupted run trains: rewards differ, weights move, pairs are found', () => {
  const { metrics, trajectories, finished, checkpoints } = recordOf(whole);
  expect(finished).toEqual(['0-base', '1-grpo', '1-ofsd', '2-grpo', '2-ofsd']);
  expect(Object.keys(checkpoints)).toEqual(finished);
  const steps = metrics.filter(({ stage, step }) => stage === '1-grpo' && step);
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3]);
  expect(steps.some(({ grad_norm }) => Number(grad_norm) > 0)).toBe(true);
  expect(metrics.some(({ stage, pairs }) => stage === '1-ofsd' && Number(pairs) > 0)).toBe(true);
  expect(metrics.filter(({ evaluation }) => evaluation).map(({ stage }) => stage)).toEqual(finished);
  const weights = finished.map((stage: string) => checkpoints[stage]['model.safetensors']);
  expect(new Set(weights).size).toBe(5);
  const { grpo, siblings } = tinyEvolution;
  expect(trajectories).toHaveLength(2 * (grpo.steps * grpo.questionsPerStep * grpo.groupSize + siblings.questions * siblings.attempts));
});

test('a run that was killed within self-distillation goes on there: the pairs and the steps before are not made again', async () => {
  const path = join(folder, 'distilling');
  const stop = async (kind: string, at: number) => {
    const abort = new AbortController();
    let seen = 0;
    const kinds: string[] = [];
    await tinyRun(base, path, {
      signal: abort.signal,
      onEvent: (event) => {
        kinds.push(event.kind);
        if (event.kind === kind && ++seen === at) abort.abort(new Error('stop'));
      },
    }).catch((error: Error) => expect(error.message).toBe('stop'));
    return kinds;
  };
  await stop('pairs', 1);
  const state = () => JSON.parse(readFileSync(join(path, 'state.json'), 'utf8'));
  expect(state()).toMatchObject({ finished: ['0-base', '1-grpo'], step: 0, checkpoint: '1-grpo', pairs: '1-ofsd' });
  expect((await stop('ofsd', 1)).slice(0, 3)).toEqual(['stage', 'pairs', 'ofsd']); // no attempt before
  expect(state()).toMatchObject({ step: 1, checkpoint: '1-ofsd-step-1', pairs: '1-ofsd' });
  const events: number[] = [];
  await tinyRun(base, path, {
    onEvent: (event) => void (event.kind === 'ofsd' && event.stage === '1-ofsd' && events.push(event.metrics.step)),
  });
  expect(events[0]).toBe(2);
  expect(recordOf(path)).toEqual(recordOf(whole));
});

test('a run that was killed within GRPO goes on there, at the step after the last that was kept', async () => {
  const path = join(folder, 'training');
  const steps: number[] = [];
  const abort = new AbortController();
  const onEvent = (event: EvolutionEvent) => {
    if (event.kind !== 'grpo' || event.stage !== '1-grpo') return;
    steps.push(event.metrics.step);
    if (steps.length === 2) abort.abort(new Error('stop'));
  };
  await expect(tinyRun(base, path, { signal: abort.signal, onEvent })).rejects.toThrow('stop');
  expect(readdirSync(join(path, 'checkpoints')).sort()).toEqual(['0-base', '1-grpo-step-2']);
  await tinyRun(base, path, { onEvent });
  expect(steps).toEqual([1, 2, 3]);
  expect(recordOf(path)).toEqual(recordOf(whole));
});

test('resuming a finished run changes nothing', async () => {
  const before = recordOf(whole);
  await tinyRun(base, whole);
  expect(recordOf(whole)).toEqual(before);
});

test('a run that was aborted, at any event, ends with the same numbers', async () => {
  const draw = random(17, 'abort');
  const path = join(folder, 'aborted');
  for (let last = 0; last < events - 3; ) {
    // Ever later, so that every part of the run is cut once.
    const at = last + 1 + draw.integer(Math.ceil(events / 3));
    const abort = new AbortController();
    let seen = 0;
    const onEvent = () => void (++seen === at - last && abort.abort(new Error('stop')));
    await tinyRun(base, path, { signal: abort.signal, onEvent }).catch((error: Error) => expect(error.message).toBe('stop'));
    last = at;
  }
  await tinyRun(base, path);
  expect(recordOf(path)).toEqual(recordOf(whole));
});

// Not held to mutants: none is on in another process.
test.skipIf(process.env.SEARCH_E1_MUTATED_FOLDER)(
  'a run that was killed (SIGKILL), again and again, ends with the same numbers',
  async () => {
    // Beside node_modules, where the bundle finds its packages.
    const cache = join(packageRoot(), 'node_modules', '.cache');
    mkdirSync(cache, { recursive: true });
    const out = mkdtempSync(join(cache, 'killed-'));
    try {
      await build({
        config: false,
        entry: [join(__dirname, 'killed.ts')],
        outDir: out,
        format: 'cjs',
        platform: 'node',
        external: (id) => /^[@a-z]/.test(id) && !isInternal.test(id),
        noExternal: [isInternal],
        plugins: [gradients],
        dts: false,
        logLevel: 'error',
        report: false,
      });
      const [script] = readdirSync(out).filter((name) => name.startsWith('killed'));
      const path = join(folder, 'killed');
      const draw = random(23, 'kill');
      let killed = 0;
      for (let attempt = 0; attempt < 3; attempt++) {
        const child = spawn(process.execPath, [join(out, script), base, path], {
          cwd: packageRoot(),
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const exit = once(child, 'exit');
        const at = 1 + draw.integer(Math.ceil(events / 3));
        let seen = 0;
        for await (const _ of createInterface(child.stdout)) if (++seen === at) child.kill('SIGKILL');
        const [, signal] = await exit;
        if (signal === 'SIGKILL') killed++;
      }
      expect(killed).toBeGreaterThan(0);
      await tinyRun(base, path);
      expect(recordOf(path)).toEqual(recordOf(whole));
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  },
);
