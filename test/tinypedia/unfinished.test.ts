/** What is kept of a pretraining run: whole after a kill at any moment. */
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { PretrainMetrics, PretrainSettings } from '../../src/tinypedia/pretrain.js';
import {
  discardUnfinished,
  finishUnfinished,
  keepUnfinished,
  openUnfinished,
  type UnfinishedRun,
  unfinishedCheckpoint,
} from '../../src/tinypedia/unfinished.js';

/** Kills the process, so to speak, in the middle of the nth change to the disk from now on: nothing is changed after it. */
const kill = { in: Number.POSITIVE_INFINITY };
class Killed extends Error {}

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof fs>();
  /** `half` is how far a change that is not one system call has come when the process is killed. */
  const mortal =
    <A extends unknown[], R>(change: (...args: A) => Promise<R>, half: (...args: A) => Promise<unknown> = async () => undefined) =>
    async (...args: A): Promise<R> => {
      if (kill.in-- > 1) return change(...args);
      if (kill.in === 0) await half(...args);
      throw new Killed();
    };
  return {
    ...real,
    mkdir: mortal(real.mkdir as (path: string, options: object) => Promise<unknown>),
    rename: mortal(real.rename),
    writeFile: mortal(
      (path: string, text: string) => real.writeFile(path, text),
      (path, text) => real.writeFile(path, text.slice(0, text.length / 2)),
    ),
    rm: mortal(real.rm as (path: string, options: object) => Promise<void>, async (path) => {
      const [first] = await real.readdir(path).catch(() => []);
      if (first) await real.rm(join(path, first), { recursive: true });
    }),
  };
});

let out: string;
beforeEach(async () => {
  out = await fs.mkdtemp(join(tmpdir(), 'search-e1-'));
});
afterEach(async () => {
  kill.in = Number.POSITIVE_INFINITY;
  await fs.rm(out, { recursive: true, force: true });
});

/** A run after `done` steps of its phase 1. */
const runAt = (done: number): UnfinishedRun => ({
  settings: { seed: 1 } as PretrainSettings,
  backend: { name: 'simd', description: 'on 2 threads', kernels: 'simd', compute: 'float32' },
  last: done === 0 ? null : ({ phase: 1, step: done } as PretrainMetrics),
  recorded: [],
  seconds: 0.1 + done,
});

const FILES = ['config.json', 'model.safetensors', 'optimizer.safetensors'];
const saveAt = (done: number) => async (folder: string) => {
  await fs.mkdir(folder, { recursive: true });
  for (const name of FILES) await fs.writeFile(join(folder, name), `${name} after ${done} steps`);
};
const keepAt = (done: number) => keepUnfinished(out, runAt(done), saveAt(done));

/** Steps of the run that is kept; null where there is none. Its checkpoint must be of that step, and whole. */
async function kept(): Promise<number | null> {
  const run = await openUnfinished(out);
  if (!run) return null;
  const done = run.last?.step ?? 0;
  expect(run).toEqual(runAt(done));
  for (const name of FILES)
    expect(await fs.readFile(join(unfinishedCheckpoint(out, run), name), 'utf8')).toBe(`${name} after ${done} steps`);
  return done;
}

/** Does `work` again and again from what `prepare` leaves, killed at each of its changes in turn; how what is kept stands after each kill. */
async function afterEveryKill(prepare: () => Promise<unknown>, work: () => Promise<unknown>): Promise<(number | null)[]> {
  const found: (number | null)[] = [];
  for (let at = 1; ; at++) {
    kill.in = Number.POSITIVE_INFINITY;
    await fs.rm(out, { recursive: true, force: true });
    await prepare();
    kill.in = at;
    const killed = await work().then(
      () => false,
      (error) => {
        if (error instanceof Killed) return true;
        throw error;
      },
    );
    kill.in = Number.POSITIVE_INFINITY;
    if (!killed) return found;
    found.push(await kept());
  }
}

it('keeps a run and its checkpoint, and of the one before nothing', async () => {
  expect(await openUnfinished(out)).toBeNull();
  await keepAt(0);
  expect(await kept()).toBe(0);
  await keepAt(7);
  expect(await kept()).toBe(7);
  expect((await fs.readdir(join(out, 'unfinished-pretraining'))).sort()).toEqual(['phase-1-step-7', 'state.json']);
});

it('holds the earlier state or the later one, each whole, whenever it is killed', async () => {
  const found = await afterEveryKill(
    () => keepAt(7),
    () => keepAt(8),
  );
  // The leftover, the checkpoint's folder, its three files, the state's temporary name, and the rename: 7 changes until the later state counts.
  expect(found.slice(0, 7)).toEqual(Array(7).fill(7));
  expect(found[7]).toBe(8);
  expect(new Set(found)).toEqual(new Set([7, 8]));
  expect(found).toEqual([...found].sort());
});

it('clears away what a kill left when it goes on', async () => {
  await afterEveryKill(
    () => keepAt(7),
    async () => {
      await keepAt(8).catch(async (error) => {
        kill.in = Number.POSITIVE_INFINITY;
        await keepAt(9);
        expect((await fs.readdir(join(out, 'unfinished-pretraining'))).sort()).toEqual(['phase-1-step-9', 'state.json']);
        throw error;
      });
    },
  );
});

it('is nothing or the whole beginning, whenever it is killed at the start', async () => {
  const found = await afterEveryKill(
    async () => undefined,
    () => keepAt(0),
  );
  expect(new Set(found)).toEqual(new Set([null])); // what follows the state's renaming changes nothing
});

it('can be ended again after a kill, until its files are all in place and nothing else is left', async () => {
  const finish = () => finishUnfinished(out, saveAt(9));
  const found = await afterEveryKill(
    () => keepAt(9),
    async () => {
      try {
        await finish();
      } catch (error) {
        kill.in = Number.POSITIVE_INFINITY;
        if (await openUnfinished(out)) await finish();
        expect((await fs.readdir(out)).sort()).toEqual(FILES);
        throw error;
      }
    },
  );
  expect(found.length).toBeGreaterThan(2 + 2 * FILES.length);
});

it('is the run as it was or none, whenever a run that is given up is killed', async () => {
  const found = await afterEveryKill(
    () => keepAt(7),
    () => discardUnfinished(out),
  );
  expect(found).toEqual([7, null]);
  expect(await fs.readdir(out)).toEqual([]);
});

it('refuses a state that is not JSON, by its name', async () => {
  await keepAt(1);
  await fs.writeFile(join(out, 'unfinished-pretraining', 'state.json'), '{"settings":');
  await expect(openUnfinished(out)).rejects.toThrow(/unfinished-pretraining.state\.json is not JSON/);
});
