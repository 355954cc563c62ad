/** What is measured: each work's data, its useful operations, its goal, and what both sides must agree on before it is timed. */
import { random } from 'search-e1';
import { type Agreement, compareGreedy, compareValues } from './check.js';
import { type Architecture, forward, loraTraining, parameters, sampling, training } from './flops.js';
import type { AdapterParams, Check, GrpoParams, OfsdParams, SamplingParams, SearchParams, TrainingParams, WorkName } from './messages.js';
import { LARGER, MODEL_S, QWEN_HALF_B, TINY } from './model.js';

export type Size = 'full' | 'small';

/** On the CPU. Other backends are measured without a goal. */
type Goals = Readonly<Record<'simd' | 'tensorflow', number>>;

/** One line of the table. */
export interface Work {
  /** Unique; the group of `--only` is what stands before the colon. */
  readonly name: string;
  readonly title: string;
  /** Whom it is measured beside. */
  readonly peer: string;
  /** Least speed relative to the peer, by backend; null where another goal holds. */
  readonly goals: Goals | null;
  readonly runs: WorkName;
  readonly model: Architecture;
  /** How the checkpoint stores its weights; float32 where nothing is said. */
  readonly dtype?: 'BF16';
  params(folder: string): unknown;
  /** Useful floating-point operations of one repetition. */
  readonly flops: number;
  agree(ours: Check, peer: Check): Agreement;
}

export const RANK = 16;
export const ALPHA = 32;
interface Dimensions {
  readonly model: Architecture;
  readonly training: { readonly rows: number; readonly length: number; readonly scored: number };
  readonly sampling: { readonly rows: number; readonly prompt: number; readonly newTokens: number };
  readonly grpo: { readonly questions: number; readonly siblings: number; readonly prompt: number; readonly newTokens: number };
  readonly search: {
    readonly questions: number;
    readonly siblings: number;
    readonly prompt: number;
    readonly turn: number;
    readonly shown: number;
  };
  readonly ofsd: { readonly pairs: number; readonly prompt: number; readonly turn: number; readonly shown: number; readonly steps: number };
  readonly sweep: {
    readonly batches: readonly number[];
    readonly contexts: readonly number[];
    readonly models: readonly Architecture[];
  };
  readonly checkpoint: { readonly model: Architecture; readonly prompt: number; readonly newTokens: number };
  readonly memorySteps: number;
}

const FULL: Dimensions = {
  model: MODEL_S,
  training: { rows: 32, length: 192, scored: 128 },
  sampling: { rows: 40, prompt: 64, newTokens: 96 },
  grpo: { questions: 8, siblings: 5, prompt: 64, newTokens: 96 },
  search: { questions: 8, siblings: 5, prompt: 124, turn: 96, shown: 64 }, // 124 + 96 + 64 + 96 = 380 tokens, 256 of them completion
  ofsd: { pairs: 16, prompt: 64, turn: 48, shown: 64, steps: 4 },
  sweep: { batches: [8, 16, 32, 64], contexts: [256, 512, 1024], models: LARGER },
  checkpoint: { model: QWEN_HALF_B, prompt: 64, newTokens: 16 },
  memorySteps: 1000,
};

const SMALL: Dimensions = {
  model: TINY,
  training: { rows: 4, length: 24, scored: 16 },
  sampling: { rows: 4, prompt: 8, newTokens: 8 },
  grpo: { questions: 2, siblings: 5, prompt: 8, newTokens: 8 },
  search: { questions: 2, siblings: 5, prompt: 12, turn: 8, shown: 8 },
  ofsd: { pairs: 4, prompt: 8, turn: 6, shown: 6, steps: 2 },
  sweep: { batches: [2, 4], contexts: [32], models: [{ ...TINY, hiddenSize: 64 }] },
  checkpoint: { model: TINY, prompt: 8, newTokens: 4 },
  memorySteps: 20,
};

export const dimensions = (size: Size): Dimensions => (size === 'full' ? FULL : SMALL);

/** Works in the order of the table. */
export function works(size: Size): Work[] {
  const d = dimensions(size);
  return [trainingWork(d), loraWork(d), samplingWork(d), grpoWork(d), searchWork(d), ofsdWork(d), ...checkpointWorks(d), ...sweepWorks(d)];
}

/** The works that can be asked for by name. */
export const GROUPS = ['training', 'lora', 'sampling', 'grpo', 'search', 'ofsd', 'checkpoint', 'sweep', 'memory'] as const;

const LOSSES = { loss: 1e-4, gradNorm: 1e-3 };

const words = (seed: string, model: Architecture, count: number): number[] => {
  const stream = random(1, 'bench', seed);
  return Array.from({ length: count }, () => stream.integer(model.vocabSize - 16)); // the last ones are kept for tags
};

const rowsOf = (seed: string, model: Architecture, rows: number, length: number): number[][] =>
  Array.from({ length: rows }, (_, row) => words(`${seed} ${row}`, model, length));

const trainingParams = (model: Architecture, { rows, length, scored }: Dimensions['training']): TrainingParams => ({
  rows: rowsOf('training', model, rows, length),
  scored,
  learningRate: 1e-3,
  clipNorm: 1,
  checkedSteps: 3,
});

export function trainingWork({ model, training: shape }: Pick<Dimensions, 'model' | 'training'>): Work {
  return {
    name: 'training',
    title: `training step, ${shape.rows} x ${shape.length} tokens, ${shape.scored} scored a row, AdamW`,
    peer: 'PyTorch',
    goals: { simd: 0.6, tensorflow: 0.9 },
    runs: 'training',
    model,
    params: () => trainingParams(model, shape),
    flops: shape.rows * training(model, { to: shape.length - 1, scored: shape.scored }),
    agree: (ours, peer) => compareValues(ours, peer, LOSSES),
  };
}

function loraWork({ model, training: shape }: Dimensions): Work {
  return {
    name: 'lora',
    title: `the same with LoRA, rank ${RANK}, on all linear layers`,
    peer: 'PEFT',
    goals: { simd: 0.7, tensorflow: 1 },
    runs: 'lora',
    model,
    params: (folder): TrainingParams & AdapterParams => ({ ...trainingParams(model, shape), ...adapterIn(folder) }),
    flops: shape.rows * loraTraining(model, { to: shape.length - 1, scored: shape.scored }, RANK),
    agree: (ours, peer) => compareValues(ours, peer, LOSSES),
  };
}

function samplingWork({ model, sampling: { rows, prompt, newTokens } }: Pick<Dimensions, 'model' | 'sampling'>): Work {
  return {
    name: 'sampling',
    title: `sampling, ${rows} prompts x ${prompt} tokens, ${newTokens} new tokens`,
    peer: 'Transformers generate',
    goals: { simd: 2, tensorflow: 1.5 },
    runs: 'sampling',
    model,
    params: (): SamplingParams => ({ prompts: rowsOf('sampling', model, rows, prompt), newTokens }),
    flops: rows * sampling(model, prompt, newTokens),
    agree(ours, peer) {
      const values = compareValues(ours, peer, { logProbs: 1e-4 });
      const greedy = compareGreedy(ours.tokens as number[][], peer.tokens as number[][], peer.margins as number[][]);
      return { ...values, problems: [...values.problems, ...greedy] };
    },
  };
}

/** A checkpoint as it is published, in bfloat16, which ours keeps so and the peer widens when it is loaded: a prompt alone, and tokens behind it. */
function checkpointWorks({ checkpoint: { model, prompt, newTokens } }: Dimensions): Work[] {
  const size = `${(parameters(model) / 1e6).toFixed(1)} M parameters in bfloat16`;
  const work = (name: string, written: number, what: string, goals: Goals): Work => ({
    ...samplingWork({ model, sampling: { rows: 1, prompt, newTokens: written } }),
    name: `checkpoint: ${name}`,
    title: `${size}: ${what}`,
    peer: 'Transformers generate, float32',
    goals,
    dtype: 'BF16',
  });
  return [
    work('prompt', 1, `a prompt of ${prompt} tokens`, { simd: 0.6, tensorflow: 1 }),
    work('writing', newTokens, `the same and ${newTokens} new tokens`, { simd: 0.6, tensorflow: 1 }),
  ];
}

const GROUP_SETTINGS = { rewarded: 2, beta: 0.001, clip: 0.2, learningRate: 1e-6, clipNorm: 1 };

function grpoWork({ model, grpo: { questions, siblings, prompt, newTokens } }: Dimensions): Work {
  const row = { to: prompt + newTokens - 1, scored: newTokens };
  return {
    name: 'grpo',
    title: `GRPO step, ${questions} questions x ${siblings}, prompt ${prompt}, ${newTokens} new tokens, beta 0.001`,
    peer: 'TRL GRPOTrainer',
    goals: { simd: 1.5, tensorflow: 2 },
    runs: 'grpo',
    model,
    params: (): GrpoParams => ({
      ...GROUP_SETTINGS,
      prompts: rowsOf('grpo', model, questions, prompt),
      vocabulary: model.vocabSize,
      groupSize: siblings,
      newTokens,
    }),
    flops: questions * siblings * (sampling(model, prompt, newTokens) + forward(model, row) + training(model, row)),
    agree: agreeOnGroups,
  };
}

function searchWork({ model, search: { questions, siblings, prompt, turn, shown } }: Dimensions): Work {
  const row = { to: prompt + 2 * turn + shown - 1, scored: 2 * turn };
  return {
    name: 'search',
    title: `GRPO step with search, ${questions} x ${siblings}, two turns, ${2 * turn + shown} tokens of completion, ${row.to + 1} an episode`,
    peer: 'TRL GRPOTrainer, tools=[search]',
    goals: { simd: 2, tensorflow: 3 },
    runs: 'search',
    model,
    params: (): SearchParams => ({
      ...GROUP_SETTINGS,
      prompts: rowsOf('search', model, questions, prompt - 2), // two tags around it
      vocabulary: model.vocabSize,
      groupSize: siblings,
      turnTokens: turn,
      passage: words('passage', model, shown - 2), // likewise
    }),
    flops: questions * siblings * (2 * forward(model, row) + training(model, row)), // sampled, read by the reference, trained on
    agree: agreeOnGroups,
  };
}

/** Playing back the peer's completions, ours must reach its gradient; drawing itself, it must write as many tokens, with a forward pass's log-probabilities. */
function agreeOnGroups(ours: Check, peer: Check): Agreement {
  const values = compareValues(ours, peer, { logProbs: 1e-4, reward: 1e-6, loss: 1e-4, gradNorm: 1e-3 });
  const asked = (peer.own as boolean[]).join();
  const others = (ours.own as boolean[][]).filter((own) => own.join() !== asked).length;
  const problems = [...values.problems];
  if (others > 0) problems.push(`${others} of our episodes have other lengths than the peer's`);
  if (!((ours.samplerError as number) < 1e-4)) problems.push(`sampling and forward pass differ by ${ours.samplerError} nats`);
  return { ...values, problems };
}

function ofsdWork({ model, ofsd: { pairs, prompt, turn, shown, steps } }: Dimensions): Work {
  const length = 2 * turn + shown;
  const own = Array.from({ length }, (_, t) => t < turn || t >= turn + shown);
  const student = { to: prompt + length - 1, scored: 2 * turn };
  return {
    name: 'ofsd',
    title: `OFSD step, clamped forward KL over the vocabulary, ${pairs} pairs`,
    peer: 'PyTorch, PEFT',
    goals: { simd: 0.7, tensorflow: 1 },
    runs: 'ofsd',
    model,
    params: (folder): OfsdParams => ({
      ...adapterIn(folder),
      pairs: Array.from({ length: pairs }, (_, i) => ({
        prompt: words(`ofsd prompt ${i}`, model, prompt),
        reference: words(`ofsd reference ${i}`, model, 2 * turn),
        tokens: words(`ofsd student ${i}`, model, length),
      })),
      own,
      clamp: 0.05,
      learningRate: 1e-3,
      rates: Array.from({ length: steps }, (_, i) => 1e-3 * (1 - (0.9 * i) / Math.max(1, steps - 1))), // as `schedule` in src/ofsd
      clipNorm: 1,
    }),
    flops: pairs * (forward(model, { to: student.to + 2 * turn, scored: 2 * turn }) + loraTraining(model, student, RANK)),
    agree: (ours, peer) => compareValues(ours, peer, { ...LOSSES, kl: 1e-4 }),
  };
}

/** From one small step, longer batches, longer contexts and larger models, one at a time. */
function sweepWorks({ model, sweep }: Dimensions): Work[] {
  const [rows] = sweep.batches;
  const length = Math.min(...sweep.contexts) / 2;
  const point = (name: string, other: Architecture, shape: { rows: number; length: number }): Work => ({
    ...trainingWork({ model: other, training: { ...shape, scored: shape.length / 2 } }),
    name: `sweep: ${name}`,
    title: `training step, ${shape.rows} x ${shape.length} tokens, ${(parameters(other) / 1e6).toFixed(1)} M parameters`,
    goals: null,
  });
  return [
    ...sweep.batches.map((batch) => point(`batch ${batch}`, model, { rows: batch, length })),
    ...sweep.contexts.map((context) => point(`context ${context}`, model, { rows, length: context })),
    ...sweep.models.map((larger) => point(`model ${(parameters(larger) / 1e6).toFixed(1)} M`, larger, { rows, length })),
  ];
}

const adapterIn = (folder: string): AdapterParams => ({ adapter: `${folder}/adapter.safetensors`, rank: RANK, alpha: ALPHA });
