/** What a backend does in a second: matrix products, memory, and the parts of a GRPO step. */
import * as tf from '@tensorflow/tfjs-core';
import type { InProcessEngine, InProcessOptions } from '../../src/engines/index.js';
import { type GrpoDatum, grpoLoss } from '../../src/grpo/index.js';
import { inProcessEngine } from '../../src/index.js';
import type { Tokenizer } from '../../src/policy/index.js';
import { random } from '../../src/random.js';
import { measureMatMul } from '../../src/tensors/measure.js';
import { randomPolicy, type Work } from './shapes.js';

/** Seconds of each part, tokens a second, and the useful floating-point operations a second of the training part. */
export interface StepTimes {
  readonly sampling: number;
  readonly reference: number;
  readonly training: number;
  readonly step: number;
  readonly drawnPerSecond: number;
  readonly trainedPerSecond: number;
  readonly stepTokensPerSecond: number;
  readonly trainingTeraflops: number;
  /** Bytes on the device at the end. */
  readonly bytes: number | null;
}

/** Keeps the card busy for a second or two: an idle one runs at a fraction of its clock. */
export async function warmUp(n: number): Promise<void> {
  const until = performance.now() + 1500;
  while (performance.now() < until) await measureMatMul(n, { rounds: 1 });
}

/** Nothing here is text: prompts are random ids. */
const noTokenizer = {} as Tokenizer;

/** An engine over random weights, and random prompts for it. */
export function openEngine(
  work: Work,
  options: InProcessOptions = {},
): { readonly engine: InProcessEngine; readonly prompts: readonly (readonly number[])[] } {
  const stream = random(3, 'prompts');
  const draw = () => Math.floor(stream.uniform() * work.config.vocabSize);
  const prompts = Array.from({ length: work.sequences }, () => Array.from({ length: work.prompt }, draw));
  const engine = inProcessEngine(randomPolicy(work.config, work.halves), noTokenizer, options);
  if (work.halves) engine.addAdapter({ rank: 64, alpha: 128, seed: 1 });
  return { engine, prompts };
}

/** A GRPO step over random prompts: draw, score with the reference, loss and gradient, AdamW. The first of `rounds` + 1 is not counted. */
export async function grpoStep(work: Work, say: (text: string) => void): Promise<StepTimes> {
  const { rounds } = work;
  const { engine, prompts } = openEngine(work);
  const best = { sampling: Number.POSITIVE_INFINITY, reference: Number.POSITIVE_INFINITY, training: Number.POSITIVE_INFINITY };
  for (let round = 0; round <= rounds; round++) {
    const times = await oneStep(engine, work, prompts);
    say(
      `${work.name}: drew in ${times.sampling.toFixed(2)} s, reference ${times.reference.toFixed(2)} s, trained ${times.training.toFixed(2)} s`,
    );
    if (round === 0 && rounds > 0) continue;
    for (const part of ['sampling', 'reference', 'training'] as const) best[part] = Math.min(best[part], times[part]);
  }
  const memory = tf.memory() as { numBytesInGPU?: number };
  engine.dispose();
  const step = best.sampling + best.reference + best.training;
  const [read, drawn] = [work.sequences * (work.prompt + work.drawn), work.sequences * work.drawn];
  return {
    ...best,
    step,
    drawnPerSecond: drawn / best.sampling,
    trainedPerSecond: read / best.training,
    stepTokensPerSecond: drawn / step,
    trainingTeraflops: trainingFlops(work) / best.training / 1e12,
    bytes: memory.numBytesInGPU ?? null,
  };
}

/** Seconds of each part of one step. */
export async function oneStep(engine: InProcessEngine, work: Work, prompts: readonly (readonly number[])[]) {
  const started = performance.now();
  const sequences = await engine.sample(prompts, { temperature: 1, seed: 1, maxTokens: work.drawn, onToken: () => 'continue' });
  const sampled = performance.now();
  const data = sequences.map(({ tokens, logProbs }, i) => ({
    tokens: [...prompts[i], ...tokens],
    scored: tokens.map((_, t) => work.prompt + t),
    oldLogProbs: logProbs,
    advantage: i % 2 ? 1 : -1,
  }));
  const referenceLogProbs = await engine.forward(data, 'frozen');
  const scored = performance.now();
  const whole: GrpoDatum[] = data.map((datum, i) => ({ ...datum, referenceLogProbs: referenceLogProbs[i] }));
  for (let part = 0; part < work.miniBatches; part++) {
    const each = Math.ceil(whole.length / work.miniBatches);
    await engine.forwardBackward(grpoLoss(whole.slice(part * each, (part + 1) * each), { clipLow: 0.2, clipHigh: 0.2, beta: 0.001 }));
    await engine.optimStep({ learningRate: 1e-6, clipNorm: 1 });
  }
  const seconds = (from: number, to: number) => (to - from) / 1000;
  return { sampling: seconds(started, sampled), reference: seconds(sampled, scored), training: seconds(scored, performance.now()) };
}

/**
 * What the mathematics asks for: 2 a multiply-add, a backward pass twice its forward pass (as much as it where the weights are frozen, the adapter left
 * out), causal attention, logits where tokens are scored.
 */
export function trainingFlops({ config, sequences, prompt, drawn, halves }: Work): number {
  const { hiddenSize: d, intermediateSize: inner, layers, heads, kvHeads, headDim, vocabSize } = config;
  const length = prompt + drawn - 1;
  const block = 2 * d * heads * headDim + 2 * d * kvHeads * headDim + 3 * d * inner;
  const forward = 2 * layers * block * length + 2 * layers * heads * headDim * length * (length + 1) + 2 * vocabSize * d * drawn;
  return (halves ? 2 : 3) * sequences * forward;
}
