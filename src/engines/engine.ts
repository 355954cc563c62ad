/**
 * Where a policy runs and learns, in the shape of the Tinker API: sample, forward, forwardBackward, optimStep, save.
 *
 * The method's steps are written once against this interface; `in-process.ts` is TensorFlow.js on this machine.
 */
import type { Tokenizer } from '../policy/tokenizer.js';

/** What the environment does after a sampled token: nothing, end the sequence, or put its own tokens in. */
export type Reply = 'continue' | 'end' | readonly number[];

export interface SampleOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** One stream of uniforms a sequence is derived from `seed` and the sequence's index, so a draw does not depend on the batch. */
  readonly seed: number;
  /** Tokens after the prompt, own and retrieved, before the sequence is cut. */
  readonly maxTokens: number;
  /** Called after each own token. Promises of several sequences are awaited together. */
  readonly onToken: (sequence: number, token: number) => Reply | Promise<Reply>;
  /** Called with the number of finished sequences. */
  readonly onProgress?: (finished: number, total: number) => void;
  readonly signal?: AbortSignal;
  /** Which weights; default `current`. */
  readonly weights?: Weights;
}

export interface SampledSequence {
  readonly tokens: number[];
  readonly own: boolean[];
  readonly logProbs: number[];
  /** True where `maxTokens` cut it. */
  readonly truncated: boolean;
}

/** `current`: as trained so far, adapter on. `frozen`: adapter off. Or a snapshot taken earlier. */
export type Weights = 'current' | 'frozen' | Snapshot;

/** A frozen copy of the weights, such as GRPO's reference policy. */
export interface Snapshot {
  readonly id: number;
  dispose(): void;
}

/** A sequence and the positions in it that are scored: t is scored by the distribution read after tokens[t - 1]. Positions are at least 1. */
export interface Scored {
  readonly tokens: readonly number[];
  readonly scored: readonly number[];
}

export interface GrpoDatum extends Scored {
  /** One number for the whole trajectory. */
  readonly advantage: number;
  /** log p when sampled, one a scored position. */
  readonly oldLogProbs: ArrayLike<number>;
  /** log p under the reference policy, one a scored position. */
  readonly referenceLogProbs: ArrayLike<number>;
}

/** Student and teacher score the same tokens after different prompts: `scored` and `teacher.scored` have one length and name the same tokens. */
export interface DistilDatum extends Scored {
  readonly teacher: Scored;
}

export type LossSpec =
  | { readonly kind: 'grpo'; readonly data: readonly GrpoDatum[]; readonly clip: number; readonly beta: number }
  | { readonly kind: 'forwardKl'; readonly data: readonly DistilDatum[]; readonly clamp: number }
  | { readonly kind: 'crossEntropy'; readonly data: readonly Scored[] };

/** Sums over scored tokens unless said otherwise. */
export interface LossReport {
  /** Mean over scored tokens: what was differentiated. */
  readonly loss: number;
  readonly tokens: number;
  /** Named means over scored tokens, such as `kl`, `entropy`, `clip_ratio`, `kl_unclamped`. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface AdamSettings {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Global norm; 0 switches clipping off. */
  readonly clipNorm: number;
}

export interface Engine {
  readonly tokenizer: Tokenizer;
  /** Writes on from each prompt until the environment ends it. Results are in the order of the prompts. */
  sample(prompts: readonly (readonly number[])[], options: SampleOptions): Promise<SampledSequence[]>;
  /** log p (nats, temperature 1) of every scored token. */
  forward(data: readonly Scored[], weights?: Weights): Promise<Float32Array[]>;
  /** Adds the gradient of the mean loss over all scored tokens of `loss.data` to what `optimStep` will apply. */
  forwardBackward(loss: LossSpec): Promise<LossReport>;
  /** One AdamW step with the gradients gathered so far; returns their norm before clipping. */
  optimStep(adam: AdamSettings): Promise<{ gradNorm: number }>;
  snapshot(): Snapshot;
  /** Adds a fresh LoRA adapter: from now on only it is trained. */
  addAdapter(options: { readonly rank: number; readonly alpha: number; readonly seed: number }): void;
  /** Adds the adapter into the weights and drops it. */
  mergeAdapter(): void;
  /** Writes an HF folder (config, safetensors, tokenizer), and optimiser state beside it. */
  save(folder: string): Promise<void>;
  dispose(): void;
}
