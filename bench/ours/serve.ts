/** This project's side of the bench as a process, behind the same messages as the peers' `serve.py`. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { AdapterParams, GrpoParams, Message, OfsdParams, SamplingParams, SearchParams, TrainingParams } from '../messages.js';
import { configOf } from '../model.js';
import { Job, memory } from './job.js';

const job = new Job();
const start = memory(); // before anything is loaded
const { createAdapter, measureMatMul, Policy, random, savePolicy, startBackend, version, writeSafetensors } = await import('search-e1');
const { ADAPTER_SEED, lora, training } = await import('./training.js');
const { grpoStep, searchStep } = await import('./grpo.js');
const { ofsdSteps } = await import('./ofsd.js');
const { sampling } = await import('./sampling.js');

/** Random weights, wide enough that distributions have clear favourites, and an adapter's first values beside them: for both sides. */
async function make({ folder, model, rank, alpha }: Extract<Message, { do: 'make' }>): Promise<void> {
  await mkdir(folder, { recursive: true });
  const config = configOf(model);
  const policy = Policy.initialize(config, random(1, 'bench'), { scale: 0.1 });
  await savePolicy(policy, folder);
  policy.dispose();
  const { variables } = createAdapter(config, { rank, alpha, seed: ADAPTER_SEED });
  const tensors = new Map<string, { values: Float32Array; shape: readonly number[] }>();
  for (const [name, variable] of variables) tensors.set(name, { values: await variable.data<'float32'>(), shape: variable.shape });
  await writeSafetensors(join(folder, 'adapter.safetensors'), tensors);
  for (const variable of variables.values()) variable.dispose();
}

function prepare({ work, folder, params, peer }: Extract<Message, { do: 'prepare' }>): Promise<void> {
  switch (work) {
    case 'training':
      return training(job, folder, params as TrainingParams);
    case 'lora':
      return lora(job, folder, params as TrainingParams & AdapterParams);
    case 'sampling':
      return sampling(job, folder, params as SamplingParams, peer);
    case 'grpo':
      return grpoStep(job, folder, params as GrpoParams, peer);
    case 'search':
      return searchStep(job, folder, params as SearchParams, peer);
    case 'ofsd':
      return ofsdSteps(job, folder, params as OfsdParams);
  }
}

const backend = await startBackend().catch((error: Error) => {
  job.send({ error: error.message });
  process.exit(1);
});
const versions = { node: process.versions.node, v8: process.versions.v8, 'search-e1': version };
job.send({ versions, backend: `${backend.name} (${backend.description}; kernels: ${backend.kernels})`, ...start });
for (let message = await job.read(); message !== null; message = await job.read()) {
  try {
    if (message.do === 'make') {
      await make(message);
      job.send({ made: true });
    } else if (message.do === 'matMul') {
      job.send({ gflops: await measureMatMul(message.n) });
    } else if (message.do === 'prepare') {
      await prepare(message);
      job.send({ dropped: true });
    } else {
      throw new Error(`unexpected message ${message.do}`);
    }
  } catch (error) {
    process.stderr.write(`${(error as Error).stack}\n`);
    job.send({ error: (error as Error).message });
  }
}
