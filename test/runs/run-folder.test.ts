/** The run on disk: what it refuses, and what a kill leaves of it. */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Group } from '../../src/rollout/trajectory.js';
import { RunFolder } from '../../src/runs/run-folder.js';

let path: string;
beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), 'search-e1-')), 'run');
});
afterEach(() => rmSync(join(path, '..'), { recursive: true, force: true }));

const question = { id: 'q1', dataset: 'nq-mini', question: 'who ?', goldenAnswers: ['Ada'] };
const group: Group = {
  question,
  trajectories: [
    {
      question,
      prompt: [1],
      tokens: [2, 3],
      own: [true, false],
      logProbs: [-0.123456789, 0],
      turns: [],
      searches: 0,
      answer: null,
      finish: 'turns',
      reward: 0,
    },
  ],
};
const metricsFile = () => readFileSync(join(path, 'metrics.jsonl'), 'utf8');

test('a folder that holds a run is only opened to resume it, with the settings it was begun with', async () => {
  await RunFolder.open(path, { seed: 1 });
  await expect(RunFolder.open(path, { seed: 1 })).rejects.toThrow(/holds a run already: resume it with --resume/);
  await expect(RunFolder.open(path, { seed: 2 }, { resume: true })).rejects.toThrow(/begun with other settings/);
  expect((await RunFolder.open(path, { seed: 1 }, { resume: true })).state).toEqual({ finished: [], step: 0, checkpoint: null, bytes: {} });
});

test('what was appended after the last commit, whole lines and partial ones, is cut off on resume', async () => {
  const run = await RunFolder.open(path, {});
  await run.addMetrics('1-grpo', { step: 1 });
  await run.addTrajectories('1-grpo', 1, [group]);
  await run.commit({ finished: ['0-base'], step: 1, checkpoint: '1-grpo-step-1' });
  await run.addMetrics('1-grpo', { step: 2 });
  await run.addTrajectories('1-grpo', 2, [group]);
  appendFileSync(join(path, 'metrics.jsonl'), '{"stage":"1-gr');
  const again = await RunFolder.open(path, {}, { resume: true });
  expect(again.state).toMatchObject({ finished: ['0-base'], step: 1, checkpoint: '1-grpo-step-1' });
  expect(await again.metrics()).toEqual([{ stage: '1-grpo', step: 1 }]);
  await again.addTrajectories('1-grpo', 2, [group]);
  const lines = gunzipSync(readFileSync(join(path, 'trajectories.jsonl.gz')))
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ step }) => step)).toEqual([1, 2]);
  expect(lines[0]).toMatchObject({
    stage: '1-grpo',
    question: { id: 'q1', question: 'who ?', golden_answers: ['Ada'] },
    tokens: [2, 3],
    own: '10',
    logProbs: [-0.123457, 0],
  });
});

test('lines written before any commit are cut off as well', async () => {
  const run = await RunFolder.open(path, {});
  await run.addMetrics('0-base', { step: 1 });
  await RunFolder.open(path, {}, { resume: true });
  expect(metricsFile()).toBe('');
});

test('a run whose files were shortened is refused', async () => {
  const run = await RunFolder.open(path, {});
  await run.addMetrics('0-base', { step: 1 });
  await run.commit({ finished: [], step: 1, checkpoint: null });
  truncateSync(join(path, 'metrics.jsonl'), 3);
  await expect(RunFolder.open(path, {}, { resume: true })).rejects.toThrow(/metrics\.jsonl is shorter than state\.json says/);
  rmSync(join(path, 'metrics.jsonl'));
  await expect(RunFolder.open(path, {}, { resume: true })).rejects.toThrow(/metrics\.jsonl is shorter than state\.json says/);
});

test('a step checkpoint goes when the next is committed, a finished stage stays', async () => {
  const run = await RunFolder.open(path, {});
  const exists = (name: string) => existsSync(run.checkpoint(name));
  for (const name of ['0-base', '1-grpo-step-1', '1-grpo-step-2', '1-grpo']) mkdirSync(run.checkpoint(name), { recursive: true });
  await run.commit({ finished: ['0-base'], step: 0, checkpoint: '0-base' });
  await run.commit({ finished: ['0-base'], step: 1, checkpoint: '1-grpo-step-1' });
  expect(['0-base', '1-grpo-step-1'].map(exists)).toEqual([true, true]);
  await run.commit({ finished: ['0-base'], step: 2, checkpoint: '1-grpo-step-2' });
  expect(['1-grpo-step-1', '1-grpo-step-2'].map(exists)).toEqual([false, true]);
  await run.commit({ finished: ['0-base', '1-grpo'], step: 0, checkpoint: '1-grpo' });
  expect(['0-base', '1-grpo-step-2', '1-grpo'].map(exists)).toEqual([true, false, true]);
});

test('what a kill left of checkpoints is cleared away on resume', async () => {
  const run = await RunFolder.open(path, {});
  for (const name of ['0-base', '1-grpo-step-1', '1-grpo-step-2']) {
    mkdirSync(run.checkpoint(name), { recursive: true });
    writeFileSync(join(run.checkpoint(name), 'model.safetensors'), name);
  }
  await run.commit({ finished: ['0-base'], step: 1, checkpoint: '1-grpo-step-1' });
  writeFileSync(`${run.checkpoint('1-grpo-step-2')}/model.safetensors.123.tmp`, 'half');
  const again = await RunFolder.open(path, {}, { resume: true });
  expect(['0-base', '1-grpo-step-1', '1-grpo-step-2'].map((name) => existsSync(again.checkpoint(name)))).toEqual([true, true, false]);
});

test('a state that is not whole JSON is refused with its name', async () => {
  await RunFolder.open(path, {});
  writeFileSync(join(path, 'state.json'), '{"finished":');
  await expect(RunFolder.open(path, {}, { resume: true })).rejects.toThrow(/state\.json/);
});

describe('what a resumed run reads', () => {
  /** A run with one step committed: records, pairs and a checkpoint of two files. */
  async function committed() {
    const run = await RunFolder.open(path, {});
    await run.addMetrics('1-grpo', { step: 1 });
    await run.addEvaluation('0-base', { greedy: [], sampled: [{ ...scored, exactMatch: 1 }] });
    await run.addTrajectories('1-grpo', 1, [group]);
    await run.keepPairs('1-ofsd', made);
    mkdirSync(run.checkpoint('1-ofsd-step-1'), { recursive: true });
    for (const name of ['model.safetensors', 'optimizer.safetensors']) writeFileSync(join(run.checkpoint('1-ofsd-step-1'), name), name);
    await run.commit({ finished: [], step: 1, checkpoint: '1-ofsd-step-1', pairs: '1-ofsd' });
    await run.close();
  }
  const made = { pairing: { pairs: [], skipped: { 'no correct attempt': 1, 'nothing different': 0 }, searchGap: 0 }, teacher: null };
  const scored = { dataset: 'nq-mini', questionId: 'q1', questionText: 'who ?', exactMatch: 0, f1: 0, searches: 1 };
  const resumed = () => RunFolder.open(path, {}, { resume: true });

  test('is what was written: records, pairs and their attempts', async () => {
    await committed();
    const run = await resumed();
    expect(await run.pairs('1-ofsd')).toEqual(made);
    expect(await run.pairs('2-ofsd')).toBeNull();
    expect((await run.evaluations()).get('0-base')).toMatchObject({ greedy: [], sampled: [{ questionId: 'q1', exactMatch: 1 }] });
    // and goes on as if never interrupted: what is added is summed with what was there
    await run.addMetrics('1-grpo', { step: 2 });
    await run.commit({ finished: [], step: 2, checkpoint: null });
    await run.close();
    expect(await (await resumed()).metrics()).toEqual([
      { stage: '1-grpo', step: 1 },
      { stage: '1-grpo', step: 2 },
    ]);
  });

  const step = join('checkpoints', '1-ofsd-step-1');
  test.each([
    'metrics.jsonl',
    'evaluations.jsonl',
    'trajectories.jsonl.gz',
    join('pairs', '1-ofsd.json.gz'),
    join(step, 'model.safetensors'),
    join(step, 'optimizer.safetensors'),
    'state.json',
  ])('is refused by the name of the file where one bit of %s flipped, or the file is gone', async (name) => {
    await committed();
    const file = join(path, name);
    const whole = readFileSync(file);
    for (const at of [0, whole.length >> 1, whole.length - 3]) {
      const flipped = Buffer.from(whole);
      flipped[at] ^= 1;
      writeFileSync(file, flipped);
      await expect(resumed()).rejects.toThrow(file);
    }
    rmSync(file);
    await expect(resumed()).rejects.toThrow(file);
    writeFileSync(file, whole);
    expect((await resumed()).state).toMatchObject({ step: 1, pairs: '1-ofsd' });
  });

  test('is refused where a file cannot be read, otherwise than where it is missing', async () => {
    await committed();
    const file = join(path, step, 'model.safetensors');
    rmSync(file);
    await expect(resumed()).rejects.toThrow(`${file} is missing: it was changed or damaged`);
    mkdirSync(file);
    await expect(resumed()).rejects.toThrow(`${file} cannot be read (EISDIR`);
  });

  test('may have other rounds, where that is said, and nothing else', async () => {
    const config = (rounds: number, seed: number) => ({ flags: { rounds }, settings: { rounds, seed } });
    await (await RunFolder.open(path, config(1, 3))).close();
    const again = (rounds: number, seed: number, mayChange?: string[]) =>
      RunFolder.open(path, config(rounds, seed), { resume: true, mayChange });
    await expect(again(2, 3)).rejects.toThrow(/begun with other settings/);
    await expect(again(2, 4, ['rounds'])).rejects.toThrow(/begun with other settings/);
    await again(2, 3, ['rounds']);
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toEqual(config(2, 3));
    writeFileSync(join(path, 'config.json'), '{');
    await expect(again(2, 3, ['rounds'])).rejects.toThrow(/config\.json is not JSON .*it was damaged after the run was begun/);
  });
});

test('a run without records has none, and a record that is damaged is told by its line', async () => {
  const run = await RunFolder.open(path, {});
  expect([await run.metrics(), [...(await run.evaluations())]]).toEqual([[], []]);
  await run.addMetrics('0-base', { step: 1 });
  appendFileSync(join(path, 'metrics.jsonl'), '{"stage":"0-b\n');
  await expect(run.metrics()).rejects.toThrow(`${join(path, 'metrics.jsonl')}, line 2 is not JSON (`);
});

test('a run that another program writes to is not committed', async () => {
  const run = await RunFolder.open(path, {});
  await run.addMetrics('0-base', { step: 1 });
  appendFileSync(join(path, 'metrics.jsonl'), '{}\n');
  await expect(run.commit({ finished: [], step: 1, checkpoint: null })).rejects.toThrow(/metrics\.jsonl has 31 bytes, 28 were written/);
});

test('a run that is opened again in this process, or was closed, is written to by its last opening only', async () => {
  const first = await RunFolder.open(path, {});
  const second = await RunFolder.open(path, {}, { resume: true });
  for (const write of [
    () => first.addMetrics('0-base', {}),
    () => first.addTrajectories('0-base', 1, [group]),
    () => first.commit({ finished: [], step: 1, checkpoint: null }),
  ])
    await expect(write()).rejects.toThrow(/not written to from here any more/);
  await second.addMetrics('0-base', {});
  await second.close();
  await expect(second.addMetrics('0-base', {})).rejects.toThrow(/was closed/);
});

test('a folder that cannot be made is an error that names it', async () => {
  writeFileSync(join(path, '..', 'file'), '');
  await expect(RunFolder.open(join(path, '..', 'file', 'run'), {})).rejects.toThrow(/file is a file/);
  if (process.platform === 'linux')
    await expect(RunFolder.open('/proc/search-e1/run', {})).rejects.toThrow(/cannot be made.*choose another/);
});
