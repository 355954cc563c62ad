/**
 * What a training pass holds of a micro-batch, in bytes: arithmetic on its size and the model's, so that a batch can be cut before anything is computed.
 *
 * The worst moment may be that the blocks are done and the head computes logits, that the backward pass enters the last block or the one before, or that it
 * leaves the first with the gradients of all weights made. Of a token a block keeps what its operations save (`kept`); while it is being computed, or its
 * gradient is, some more exists beside that. With checkpointed activations the blocks keep their inputs, and one block at a time the rest.
 *
 * Counted are results of operations by each set of kernels, an upper bound, and what was given up a moment ago and is not yet free: on webgpu until it is submitted,
 * on tensorflow what blocks without a tape leave to the allocator. A backend's pools of free buffers are not.
 */
import type { KernelSet } from '../tensors/dispatch.js';
import { type PolicyConfig, weightShapes } from './config.js';
import { ADAPTED } from './lora.js';

/** Sequences that are read together (`engines/packing.ts`). */
export interface ReadSize {
  /** Tokens that are computed. */
  readonly tokens: number;
  /** Keys that the queries of each sequence read, summed over sequences: common beginnings count for each. */
  readonly keys: number;
  /** Pairs of query and key, summed over sequences. */
  readonly scores: number;
  /** Most keys that a sequence reads. */
  readonly longest: number;
}

export interface MicroBatchSize extends ReadSize {
  /** Scored tokens: each has a row of logits. */
  readonly scored: number;
  /** The teacher's view, read by the weights without the adapter. */
  readonly teacher?: ReadSize;
}

export interface Pass {
  readonly config: PolicyConfig;
  readonly kernels: KernelSet;
  /** Whether frozen matrices are kept in 16 bits (`tensors/half.ts`): their products are formulas. */
  readonly half: boolean;
  /** Rank of the adapter that is trained; 0: all weights are. */
  readonly rank: number;
  /** Whether a gradient is taken. */
  readonly gradient: boolean;
  /** Whether whole distributions [N, V] are read, or log-probabilities of the scored tokens alone. */
  readonly reads: 'logProbs' | 'logits';
  readonly checkpoint: boolean;
}

export interface Held {
  /** At the worst moment. */
  readonly bytes: number;
  /** Of the largest tensor that grows with the micro-batch. */
  readonly largest: number;
}

/** Of the logits that the gradient of log-probabilities needs, simd keeps or computes so many at a time, webgpu computes, tensorflow keeps all. */
const LOGITS_AT_A_TIME: Readonly<Record<KernelSet, number>> = {
  simd: 2 ** 25,
  webgpu: 2 ** 26,
  tensorflow: Number.POSITIVE_INFINITY,
  none: Number.POSITIVE_INFINITY,
};

/** Padding that batches of sequences of like size may have (`tensors/attention.ts`). */
const PADDED = 4 / 3;

export function activationBytes(pass: Pass, size: MicroBatchSize): Held {
  const { config, kernels, rank, gradient, reads, checkpoint } = pass;
  const { hiddenSize: d, headDim, layers, vocabSize } = config;
  const { tokens, scored, teacher } = size;
  const logits = scored * vocabSize;
  const atHead = logitFloats(pass, scored);
  const states = (view: ReadSize) => Math.min(scored, view.tokens); // that the last block goes on with

  // A view that is read without a gradient leaves the blocks' inputs, rotary tables, the last norm's results and the scored rows until all is done.
  const left = (view: ReadSize) => (layers * d + 2 * headDim) * view.tokens + 2 * d * states(view) + (2 * d + 12) * scored;
  const made = (view: ReadSize) => (layers > 1 ? blockFloats(pass, view) : blockFloats(pass, view, states(view))).made;

  let most: number;
  if (!gradient) {
    const views = [size, ...(teacher ? [teacher] : [])];
    const both = reads === 'logits' ? 2 * logits : 0;
    const queued = notYetBack(kernels, Math.max(both, ...views.map(made)));
    most = views.reduce((sum, view) => sum + left(view), 0) + Math.max(both + atHead, ...views.map(made)) + queued;
  } else {
    const [block, last] = [blockFloats(pass, size), blockFloats(pass, size, states(size))];
    const trained = trainedFloats(config, rank);
    const head = rank === 0 ? vocabSize * d : 0; // its gradient; where it is the embedding table too, two are added up at the end
    const around = 2 * headDim * tokens + (teacher ? logits : 0); // rotary tables and the teacher's logits, until the end
    const input = d * tokens;
    const rows = 3 * d * states(size) + (4 * d + 48) * scored; // the last norm's results; the scored rows, their gradient, some numbers of each
    const kept = (blocks: number) => blocks * (checkpoint ? input : block.kept); // of the first ones
    const entering = ({ kept, backward }: typeof block) => backward + (checkpoint ? kept + 2 * input : kept);
    const first = layers > 1 ? block : last;
    const queued = (floats: number) => notYetBack(kernels, floats);
    const passed = checkpoint ? first.made : 0; // what a block without a tape leaves behind
    const moments = [
      kept(layers - 1) + last.made + queued(checkpoint ? block.made : 0),
      kept(layers - 1) +
        (checkpoint ? input : last.kept) +
        rows +
        atHead +
        head +
        (kernels === 'tensorflow' ? passed : queued(Math.max(2 * atHead, passed))),
      kept(layers - 1) + entering(last) + head + queued(rows + 2 * atHead),
      kept(Math.max(0, layers - 2)) +
        entering(first) +
        head +
        (trained - head) / layers +
        queued(last.backward + (checkpoint ? 0 : last.kept)),
      entering(first) + trained + 2 * head + queued(block.backward + (checkpoint ? 0 : block.kept)),
    ];
    const asTeacher = teacher ? left(teacher) + Math.max(made(teacher), logits) : 0;
    most = Math.max(around + Math.max(...moments), asTeacher);
  }
  const parts = reads === 'logits' ? logits : Math.min(logits, LOGITS_AT_A_TIME[kernels]);
  const widest = Math.max(config.intermediateSize, config.heads * headDim) * Math.max(tokens, teacher?.tokens ?? 0);
  const matrix = kernels === 'none' ? PADDED * config.heads * Math.max(size.scores, teacher?.scores ?? 0) : 0;
  return { bytes: Math.ceil(BYTES * most), largest: Math.ceil(BYTES * Math.max(parts, widest, matrix)) };
}

const BYTES = 4;

/** webgpu gives buffers back when what used them was submitted, which it is after 256 MiB of new ones at the latest (`tensors/webgpu/queue.ts`). */
const UNSUBMITTED = 2 ** 26;

/** Of `floats` that were given up a moment ago, those that are held until the next submission. */
const notYetBack = (kernels: KernelSet, floats: number): number => (kernels === 'webgpu' ? Math.min(floats, UNSUBMITTED) : 0);

/**
 * Floats of one block: kept for the gradient; at most while its results are made; at most beside what is kept while its gradient is.
 *
 * @param m tokens that are wanted after attention: all but in the last block
 */
function blockFloats({ config, kernels, half, rank, gradient }: Pass, { tokens: n, keys, scores }: ReadSize, m = n) {
  const { hiddenSize: d, intermediateSize: inner, heads, headDim, kvHeads } = config;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const picked = m < n ? m * (q + d) : 0;
  // Of formulas with an adapter: the product, what the adapter adds before and after it is scaled, their sum.
  const adapted = rank ? n * (4 * (q + 2 * kv) + 6 * rank) + m * (4 * (2 * d + 2 * inner) + 8 * rank) : 0;
  if (kernels === 'none') {
    // Nearly every intermediate result of the formulas: both norms' quotients, sums before a bias and before a residual, heads turned and scaled, scores twice.
    const matrices = PADDED * heads * scores;
    const gathered = PADDED * (2 * q * n + 2 * kv * keys);
    const kept = n * (3 * d + 4 * q + 4 * kv) + m * (5 * d + 5 * inner) + picked + adapted + gathered + 2 * matrices;
    return {
      kept,
      made: kept + n * (2 * d + 4 * q + 4 * kv) + m * (2 * d + 2 * inner) + gathered + 4 * matrices,
      backward: n * (3 * d + 4 * q) + m * (3 * d + 4 * inner) + 2 * gathered + 4 * matrices,
    };
  }
  // Input and middle, both normed; q and k before rotary; what attention reads and writes; gate, up, their product; root mean squares, log-sum-exps.
  const asFormulas = half && (gradient || kernels !== 'webgpu'); // webgpu has kernels for 16 bits where no gradient is taken
  const products = asFormulas ? adapted + n * (q + 2 * kv) + 2 * m * d : n * 3 * rank + m * 4 * rank;
  const kept = n * (2 * d + q + kv + 1) + n * (2 * q + 2 * kv + heads) + picked + m * (2 * d + 3 * inner + 1) + products;
  // Gradients of gate and up; or, when these and what they needed are gone, of what attention read and wrote.
  const backward = n * (3 * d + 3 * rank) + m * (d + 4 * rank) + Math.max(2 * inner * m, n * (2 * q + 2 * kv) - 3 * inner * m);
  return { kept, made: kept + d * m, backward };
}

/** As `tensors/selected-log-probs.ts` cuts the logits of a head in 16 bits, and how many arrays of them there are. */
const HALF_LOGITS = 8 * 2 ** 23;

/** Floats as wide as the vocabulary that exist together at the head, beside a teacher's logits and, where no gradient is taken, both views'. */
function logitFloats({ config: { vocabSize }, kernels, half, gradient, reads }: Pass, scored: number): number {
  const logits = scored * vocabSize;
  if (kernels === 'none') return (!gradient ? 9 : reads === 'logits' ? 22 : 15) * logits; // counted on cpu: every step of the formulas
  if (half && kernels !== 'webgpu' && !(reads === 'logits' && gradient)) return Math.min(8 * logits, HALF_LOGITS);
  if (reads === 'logits' && gradient) return 2 * logits; // the student's, and their gradient
  if (kernels === 'simd' && !gradient) return 0; // computed and forgotten some rows at a time
  return Math.min(logits + 3 * scored, LOGITS_AT_A_TIME[kernels]);
}

function trainedFloats(config: PolicyConfig, rank: number): number {
  let floats = 0;
  for (const [name, shape] of weightShapes(config)) {
    const [out, inputs = 1] = shape;
    if (rank === 0) floats += out * inputs;
    else if (ADAPTED.test(name)) floats += rank * (out + inputs);
  }
  return floats;
}
