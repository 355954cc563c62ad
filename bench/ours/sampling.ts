/** Sampling with a key/value cache: a fixed number of new tokens after every prompt. */
import type { Check, SamplingParams } from '../messages.js';
import type { Job } from './job.js';
import { openEngine } from './words.js';

export async function sampling(job: Job, folder: string, { prompts, newTokens }: SamplingParams, peer: Check | null): Promise<void> {
  const engine = await openEngine(folder);
  let seed = 0;
  const sample = (temperature: number) =>
    engine.sample(prompts, { temperature, seed: seed++, maxTokens: newTokens, onToken: () => 'continue' });
  const greedy = await sample(0);
  // The peer's own tokens are scored too: a row in which two tokens were as good as equal may have gone another way.
  const completions = (peer?.tokens as number[][] | undefined) ?? greedy.map(({ tokens }) => tokens);
  const scored = completions.map((completion, row) => ({
    tokens: [...prompts[row], ...completion],
    scored: completion.map((_, t) => prompts[row].length + t),
  }));
  const logProbs = (await engine.forward(scored)).map((row) => [...row]);
  job.checked({ tokens: greedy.map(({ tokens }) => tokens), sampledLogProbs: greedy.map((row) => row.logProbs), logProbs });
  while (await job.again()) {
    await sample(1);
    job.done();
  }
  engine.dispose();
}
