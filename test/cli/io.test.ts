/** What a command says when it ends before it is done. */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { givenBy, Interrupted, interruptible, UsageError } from '../../src/cli/io.js';

const lost = () => Promise.reject(new Error('the WebGPU device was lost'));
const kept = () => 'the run is kept';

test('a command that fails by itself says why, what was kept, and from where the failure came', async () => {
  const failure = await interruptible(new AbortController().signal, lost, kept, kept).catch((error: Error) => error);
  expect(failure).toMatchObject({
    message: 'the WebGPU device was lost\nthe run is kept',
    cause: { message: 'the WebGPU device was lost' },
  });
});

test('one that is interrupted says what was kept; wrong usage, and a command that keeps nothing, what they were', async () => {
  await expect(interruptible(AbortSignal.abort(), lost, kept, kept)).rejects.toEqual(new Interrupted('the run is kept'));
  const { signal } = new AbortController();
  await expect(interruptible(signal, lost, kept)).rejects.toEqual(new Error('the WebGPU device was lost'));
  const misused = () => Promise.reject(new UsageError('--seed: expected a number'));
  await expect(interruptible(signal, misused, kept, kept)).rejects.toEqual(new UsageError('--seed: expected a number'));
});

test('what an option gave is refused under its name, a path in words and without the system’s call', async () => {
  const said = (work: () => Promise<unknown>) => givenBy('--out', work).catch((error: Error) => error);
  const here = import.meta.dirname;
  const [none, file] = [`${here}/none`, import.meta.filename];
  expect(await said(() => readFile(none))).toEqual(new UsageError(`--out: ${none}: there is no such file or folder`));
  expect(await said(() => readdir(file))).toEqual(new UsageError(`--out: ${file}: is a file, or lies in one, where a folder was expected`));
  expect(await said(() => mkdir(file))).toEqual(new UsageError(`--out: ${file}: is there already, and is no folder`));
  expect(await said(() => Promise.reject(new Error('two words')))).toEqual(new UsageError('--out: two words'));
});
