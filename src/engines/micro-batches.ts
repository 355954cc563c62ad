/**
 * Micro-batches that a memory budget holds.
 *
 * Sequences are put together as long as what training holds of them (`policy/activation-memory.ts`) stays within the budget; the gradients are summed, so the cut
 * changes no result beyond rounding. A sequence that is too long for the budget goes alone, and with checkpointed activations, which hold the least. The
 * cut depends on the data, the model, the kernels and the budget, and while there is as much memory left not on what else is in it, nor on the number of threads: a run can be repeated.
 */
import { activationBytes, type Held, type MicroBatchSize, type Pass, type ReadSize } from '../policy/activation-memory.js';
import { countParameters } from '../policy/config.js';
import type { Capacity } from '../tensors/capacity.js';
import type { KernelSet } from '../tensors/dispatch.js';
import type { Paired, Scored } from './engine.js';
import { lexicographic, sharedTokens, tokensRead } from './packing.js';

export interface MicroBatch {
  /** Positions in the data. */
  readonly indices: readonly number[];
  readonly checkpoint: boolean;
  /** What it is expected to hold, bytes. */
  readonly bytes: number;
}

export interface MicroBatchLimits {
  /** Bytes that a micro-batch may hold. */
  readonly budget: number;
  /** Whether activations are checkpointed; `auto`: where a sequence alone passes the budget. */
  readonly gradientCheckpointing: 'auto' | boolean;
  readonly capacity: Capacity;
}

/**
 * Cuts what has something scored; common beginnings stay together where they can.
 *
 * @throws RangeError where a sequence alone is more than the backend can hold
 */
export function cutIntoMicroBatches(
  data: readonly (Scored | Paired)[],
  pass: Omit<Pass, 'checkpoint'>,
  { budget, gradientCheckpointing, capacity }: MicroBatchLimits,
): MicroBatch[] {
  const always = pass.gradient && gradientCheckpointing === true;
  const held = (size: MicroBatchSize, checkpoint: boolean) => activationBytes({ ...pass, checkpoint }, size);
  const fits = ({ bytes, largest }: Held) => bytes <= Math.min(budget, capacity.free) && largest <= capacity.largestTensor;
  /** The teacher's view counts where whole distributions are compared. */
  const view = (item: Scored | Paired) => ({ item, teacher: pass.reads === 'logits' && 'teacher' in item ? item.teacher : undefined });
  const groups: { readonly indices: number[]; size: MicroBatchSize }[] = [];
  for (const i of lexicographic(data)) {
    if (data[i].scored.length === 0) continue;
    const group = groups[groups.length - 1];
    const together = group && joined(group.size, view(data[i]), data[group.indices[group.indices.length - 1]]);
    if (group && fits(held(together, always))) {
      group.indices.push(i);
      group.size = together;
    } else groups.push({ indices: [i], size: joined(NOTHING, view(data[i])) });
  }
  return groups.map(({ indices, size }) => {
    const checkpoint = always || (pass.gradient && gradientCheckpointing === 'auto' && !fits(held(size, false)));
    const expected = held(size, checkpoint);
    checkCapacity(expected, size, capacity, checkpoint);
    return { indices, checkpoint, bytes: expected.bytes };
  });
}

const NOTHING: MicroBatchSize = { tokens: 0, keys: 0, scores: 0, longest: 0, scored: 0 };

/** With one more sequence, which follows `before` in lexicographic order. */
function joined(
  size: MicroBatchSize,
  { item, teacher }: { readonly item: Scored; readonly teacher?: Scored },
  before?: Scored,
): MicroBatchSize {
  const read = (sofar: ReadSize, view: Scored, shared: number): ReadSize => {
    const length = tokensRead(view);
    return {
      tokens: sofar.tokens + length - shared,
      keys: sofar.keys + length,
      scores: sofar.scores + (length - shared) * length,
      longest: Math.max(sofar.longest, length),
    };
  };
  return {
    ...read(size, item, before ? sharedTokens(before, item) : 0),
    scored: size.scored + item.scored.length,
    ...(teacher && { teacher: read(size.teacher ?? NOTHING, teacher, 0) }),
  };
}

function checkCapacity({ bytes, largest }: Held, size: MicroBatchSize, { free, largestTensor }: Capacity, checkpoint: boolean): void {
  const what = `a sequence of ${size.longest} tokens, ${size.scored} of them scored, needs`;
  const how = checkpoint ? ' with checkpointed activations' : '';
  const megabytes = (n: number) => `${Math.ceil(n / 1e6)} MB`;
  if (bytes > free)
    throw new RangeError(
      `${what} about ${megabytes(bytes)}${how}, and the backend has ${megabytes(free)} left: shorten it, or take a backend with more memory`,
    );
  if (largest > largestTensor)
    throw new RangeError(
      `${what} a tensor of ${megabytes(largest)}, and the backend allows ${megabytes(largestTensor)} in one: shorten it, or score fewer tokens at once`,
    );
}

/** Tokens that a micro-batch of a large model has at the default budget: fewer would leave the kernels too little to share; more brings no speed on a processor. */
const TOKENS: Readonly<Record<KernelSet, number>> = { simd: 1024, tensorflow: 1024, none: 1024, webgpu: 4096 };

/** Bytes (128 MiB) that even a small model's micro-batch may hold: some 3,500 tokens of a million parameters. */
const LEAST_BUDGET = 2 ** 27;

/** WebAssembly's memory. */
const SIMD_BYTES = 2 ** 32;

/**
 * Bytes where none are named: what the kernels need to be busy, and on simd no more than half of what weights, gradients and moments leave of its memory. Ours.
 */
export function defaultBudget(pass: Pick<Pass, 'config' | 'kernels' | 'half' | 'rank'>): number {
  const { config, kernels, rank } = pass;
  const tokens = TOKENS[kernels];
  const size = { tokens, keys: tokens, scores: tokens ** 2 / 4, longest: tokens, scored: tokens / 4 };
  const wanted = activationBytes({ ...pass, gradient: true, reads: 'logProbs', checkpoint: false }, size).bytes;
  const room = kernels === 'simd' ? (SIMD_BYTES - 4 * (rank === 0 ? 5 : 1) * countParameters(config)) / 2 : Number.POSITIVE_INFINITY;
  return Math.max(LEAST_BUDGET, Math.min(wanted, room));
}
