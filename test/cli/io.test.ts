/** What a command says when it ends before it is done. */
import { expect, test } from 'vitest';
import { Interrupted, interruptible, UsageError } from '../../src/cli/io.js';

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
