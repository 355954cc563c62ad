/** The run on disk: what it refuses, and what a kill leaves of it. */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RunFolder } from '../../src/evolution/run-folder.js';
import type { Group } from '../../src/rollout/trajectory.js';

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
  expect(lines[0]).toMatchObject({ stage: '1-grpo', question: 'q1', tokens: [2, 3], own: '10', logProbs: [-0.123457, 0] });
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
