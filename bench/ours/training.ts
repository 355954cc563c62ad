/** The training step: cross entropy over scored tokens, clipped gradients, AdamW; all weights, or a LoRA adapter. */
import { crossEntropyLoss, type Engine } from 'search-e1';
import type { Scored } from 'search-e1/engines';
import type { AdapterParams, TrainingParams } from '../messages.js';
import type { Job } from './job.js';
import { openEngine } from './words.js';

export async function training(job: Job, folder: string, params: TrainingParams): Promise<void> {
  const engine = await openEngine(folder);
  await repeatSteps(job, engine, params);
  engine.dispose();
}

export async function lora(job: Job, folder: string, params: TrainingParams & AdapterParams): Promise<void> {
  const engine = await openEngine(folder);
  engine.addAdapter({ rank: params.rank, alpha: params.alpha, seed: ADAPTER_SEED });
  await repeatSteps(job, engine, params);
  engine.dispose();
}

/** Names the adapter's first values; `serve.ts` writes them for the peer. */
export const ADAPTER_SEED = 1;

async function repeatSteps(
  job: Job,
  engine: Engine,
  { rows, scored, learningRate, clipNorm, checkedSteps }: TrainingParams,
): Promise<void> {
  const data = rows.map((tokens): Scored => ({ tokens, scored: tokens.map((_, t) => t).slice(-scored) }));
  const step = async () => {
    const { loss } = await engine.forwardBackward(crossEntropyLoss(data));
    const { gradNorm } = await engine.optimStep({ learningRate, clipNorm });
    return { loss, gradNorm };
  };
  const checked: { loss: number; gradNorm: number }[] = [];
  for (let i = 0; i < checkedSteps; i++) checked.push(await step());
  job.checked({ loss: checked.map(({ loss }) => loss), gradNorm: checked.map(({ gradNorm }) => gradNorm) });
  while (await job.again()) {
    await step();
    job.done();
  }
}
