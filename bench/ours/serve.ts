/** This project's side of the bench as a process, behind the same messages as the peers' `serve.py`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoraAdapter } from 'search-e1/policy';
import type { Architecture } from '../flops.js';
import type { AdapterParams, GrpoParams, Message, OfsdParams, SamplingParams, SearchParams, TrainingParams } from '../messages.js';
import { configOf } from '../model.js';
import { Job, memory } from './job.js';

const job = new Job();
const start = memory(); // before anything is loaded
const { random, savePolicy, startBackend, version } = await import('search-e1');
const { configToJson, Policy, weightShapes, writeSafetensors } = await import('search-e1/policy');
const { measureMatMul } = await import('search-e1/tensors');
const { ADAPTER_SEED, lora, training } = await import('./training.js');
const { grpoStep, searchStep } = await import('./grpo.js');
const { ofsdSteps } = await import('./ofsd.js');
const { sampling } = await import('./sampling.js');

/** Random weights, wide enough that distributions have clear favourites, and an adapter's first values beside them: for both sides. */
async function make({ folder, model, dtype, rank, alpha }: Extract<Message, { do: 'make' }>): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (dtype === 'BF16') return makeHalves(folder, model);
  const config = configOf(model);
  const policy = Policy.initialize(config, random(1, 'bench'), { scale: 0.1 });
  await savePolicy(policy, folder);
  policy.addAdapter({ rank, alpha, seed: ADAPTER_SEED });
  const { variables } = policy.adapter as LoraAdapter;
  const tensors = new Map<string, { values: Float32Array; shape: readonly number[] }>();
  for (const [name, variable] of variables) tensors.set(name, { values: await variable.data<'float32'>(), shape: variable.shape });
  await writeSafetensors(join(folder, 'adapter.safetensors'), tensors);
  policy.dispose();
}

/**
 * The same in bfloat16, tensor by tensor, so that no model of that size need be in memory. Each weight is one of 65,536 normal numbers: to draw each of
 * half a billion takes longer than all that is measured.
 */
async function makeHalves(folder: string, model: Architecture): Promise<void> {
  const config = configOf(model);
  const stream = random(1, 'bench');
  const scale = 1 / Math.sqrt(model.hiddenSize); // 0.09 in model S
  const drawn = Uint16Array.from({ length: 1 << 16 }, () => bfloat16(scale * stream.normal()));
  const tensors = new Map<string, { values: () => Promise<Uint16Array>; shape: readonly number[]; dtype: 'BF16' }>();
  for (const [name, shape] of weightShapes(config)) {
    const size = shape.reduce((a, b) => a * b, 1);
    const values = async () => {
      if (name.endsWith('norm.weight')) return new Uint16Array(size).fill(bfloat16(1));
      const numbers = new Uint16Array(size);
      if (name.endsWith('bias')) return numbers;
      let state = stream.integer(2 ** 31) | 1;
      for (let i = 0; i < size; i++) {
        state ^= state << 13; // xorshift32 (Marsaglia 2003)
        state ^= state >>> 17;
        state ^= state << 5;
        numbers[i] = drawn[state & 0xffff];
      }
      return numbers;
    };
    tensors.set(name, { values, shape, dtype: 'BF16' });
  }
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  await writeFile(join(folder, 'config.json'), JSON.stringify(configToJson(config, 'bfloat16')));
}

const bfloat16 = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;

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
