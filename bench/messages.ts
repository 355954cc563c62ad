/** What the bench and its two sides say to each other: lines of JSON; `peers/job.py` describes them. */
import type { Architecture } from './flops.js';

/** Names of works that a side can prepare. */
export type WorkName = 'training' | 'lora' | 'sampling' | 'grpo' | 'search' | 'ofsd';

/** Named results of a work's first, untimed repetitions, for the comparison. */
export type Check = Readonly<Record<string, unknown>>;

export interface TrainingParams {
  readonly rows: readonly (readonly number[])[];
  /** Tokens at the end of each row that are scored. */
  readonly scored: number;
  readonly learningRate: number;
  readonly clipNorm: number;
  readonly checkedSteps: number;
}

export interface AdapterParams {
  /** File with the adapter's first values. */
  readonly adapter: string;
  readonly rank: number;
  readonly alpha: number;
}

export interface SamplingParams {
  readonly prompts: readonly (readonly number[])[];
  readonly newTokens: number;
}

interface GroupParams {
  readonly prompts: readonly (readonly number[])[];
  readonly vocabulary: number;
  readonly groupSize: number;
  /** So many siblings of each group are rewarded, the first ones. */
  readonly rewarded: number;
  readonly beta: number;
  readonly clip: number;
  readonly learningRate: number;
  readonly clipNorm: number;
}

export interface GrpoParams extends GroupParams {
  readonly newTokens: number;
}

export interface SearchParams extends GroupParams {
  /** Own tokens of each of the two turns. */
  readonly turnTokens: number;
  /** Words of the passage that the search finds. */
  readonly passage: readonly number[];
}

export interface OfsdParams extends AdapterParams {
  readonly pairs: readonly {
    readonly prompt: readonly number[];
    readonly reference: readonly number[];
    readonly tokens: readonly number[];
  }[];
  readonly own: readonly boolean[];
  readonly clamp: number;
  readonly learningRate: number;
  /** The rate of each step. */
  readonly rates: readonly number[];
  readonly clipNorm: number;
}

/** What the peer's check of `grpo` and `search` hands over, so that ours can learn from the same completions. */
export interface GroupCheck extends Check {
  readonly prompts: readonly (readonly number[])[];
  readonly completions: readonly (readonly number[])[];
  readonly own: readonly boolean[];
}

export type Message =
  | {
      readonly do: 'make';
      readonly folder: string;
      readonly model: Architecture;
      /** How the weights are stored; those in 16 bits have no adapter beside them. */
      readonly dtype: 'F32' | 'BF16';
      readonly rank: number;
      readonly alpha: number;
    }
  | { readonly do: 'matMul'; readonly n: number }
  | {
      readonly do: 'prepare';
      readonly work: WorkName;
      readonly folder: string;
      readonly params: unknown;
      /** What the peer found; null where there is none. */
      readonly peer: Check | null;
    }
  /** Profiled: ours alone knows how; the peer is not asked to. */
  | { readonly do: 'run'; readonly profile?: true }
  | { readonly do: 'drop' };

/** Resident bytes of a side's process, now and at most so far. */
export interface Memory {
  readonly rss: number;
  readonly peak: number;
}

export interface Timing extends Memory {
  /** One repetition. */
  readonly seconds: number;
  /** Of a run that was to be profiled. */
  readonly profile?: Profile;
}

/** Where the time of one repetition went. */
export interface Profile {
  /** All of it, the profiler's own share included. */
  readonly seconds: number;
  /** The kernels that ran, each without those that it called in turn; useful floating-point operations where it is a product of matrices, else 0. */
  readonly operations: readonly { readonly name: string; readonly calls: number; readonly seconds: number; readonly flops: number }[];
}

export interface Hello extends Memory {
  readonly versions: Readonly<Record<string, string>>;
  /** What the numbers run on, in words. */
  readonly backend: string;
}
