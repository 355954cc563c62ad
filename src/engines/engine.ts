/**
 * Where a policy runs and learns, in the shape of the Tinker API: sample, forward, forwardBackward, optimStep, save.
 *
 * The method's steps are written once against this interface. `in-process.ts` is TensorFlow.js on this machine. A loss names itself, for an engine
 * that computes it elsewhere, and brings its formula, for the one that computes it here.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { GenerateOptions, SampledSequence } from '../policy/generate.js';
import type { LoraOptions } from '../policy/lora.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { AdamWSettings } from '../tensors/adamW.js';
import type { Updates } from './update.js';

/** A sequence and the positions in it that are scored: position t is scored by the distribution that the policy reads off tokens[0 .. t - 1], so t >= 1. */
export interface Scored {
  /** Token ids, prompt included. */
  readonly tokens: readonly number[];
  /** Ascending positions in `tokens`, from 1. */
  readonly scored: readonly number[];
}

/** Student and teacher score the same tokens after different prompts: both `scored` have one length and name the same tokens. */
export interface Paired extends Scored {
  /** What the teacher reads, and where it scores the same tokens. */
  readonly teacher: Scored;
}

/** Values of the loss and of named metrics, one a scored token [N]. */
export interface TokenValues {
  /** [N]; summed and divided by the loss's divisor. */
  readonly loss: tf.Tensor1D;
  /** By name [N]; their means over the scored tokens come back in the report. */
  readonly metrics?: Readonly<Record<string, tf.Tensor1D>>;
}

/** A loss over log-probabilities of the scored tokens. `data` is the slice of `Loss.data` the rows [N] belong to, in order. */
export interface LogProbLoss<D extends Scored = Scored> {
  /** What it is called in reports and errors. An engine that computes elsewhere knows `grpo` and `cross_entropy`; in process any formula is computed, under a name of its own. */
  readonly name: 'grpo' | 'cross_entropy' | (string & {});
  /** Log-probabilities of the scored tokens. */
  readonly reads: 'logProbs';
  /** Of the distribution the log-probabilities are read off: that of sampling. Default 1. */
  readonly temperature?: number;
  /** Sequences with their scored positions, and whatever else the formula wants to know of each. */
  readonly data: readonly D[];
  /** What the sum of the per-token losses is divided by. Default: the number of scored tokens, which makes it their mean. */
  readonly divisor?: number;
  /** The formula: log-probabilities [N] in nats, of the scored tokens of `data` in order. */
  perToken(logProbs: tf.Tensor1D, data: readonly D[]): TokenValues;
}

/** A loss over whole next-token distributions, student's and frozen teacher's. */
export interface DistributionLoss<D extends Paired = Paired> {
  /** As of `LogProbLoss`; elsewhere `forward_kl` is known. */
  readonly name: 'forward_kl' | (string & {});
  /** Whole distributions. */
  readonly reads: 'logits';
  /** Student's sequences, each with the teacher's. */
  readonly data: readonly D[];
  /** As of `LogProbLoss`. */
  readonly divisor?: number;
  /** The formula: logits [N, V] of the teacher (a constant) and of the student, N scored tokens in order. */
  perToken(teacherLogits: tf.Tensor2D, studentLogits: tf.Tensor2D): TokenValues;
}

/** What `Engine.forwardBackward` takes: a name, data, and a formula over log-probabilities or whole distributions. */
// biome-ignore lint/suspicious/noExplicitAny: a loss is invariant in its data; the engine only hands back slices of what it was given
export type Loss = LogProbLoss<any> | DistributionLoss<any>;

/** What a loss came to. */
export interface LossReport {
  /** Sum over the scored tokens of the loss's data, divided by its `divisor`. */
  readonly loss: number;
  /** How many tokens were scored. */
  readonly tokens: number;
  /** Means over the scored tokens: `entropy` (nats) where the loss reads log-probabilities, and the loss's own metrics. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** `current`: as trained so far, adapter on. `frozen`: the weights without the adapter. Or a snapshot taken earlier. */
export type WeightsChoice = 'current' | 'frozen' | Snapshot;

/** A frozen copy of the policy, with the adapter where one is on, such as GRPO's reference. */
export interface Snapshot {
  /** Counts an engine's snapshots from 0. */
  readonly id: number;
  /** Gives the copy back; it can be used no more. */
  dispose(): void;
}

/**
 * Every method that is given data refuses, with an error that names the sequence: token ids outside of the vocabulary, scored positions that are not ascending, below 1 or
 * beyond the tokens, and a teacher that does not name the student's tokens.
 */
export interface Engine {
  /** Its methods throw where the engine was made without one. */
  readonly tokenizer: Tokenizer;
  /** Those who change its weights wait here for one another (`update.ts`): a wrapper passes it on. */
  readonly updates: Updates;
  /** Writes on from each prompt until the environment ends it. Results are in the order of the prompts. */
  sample(
    prompts: readonly (readonly number[])[],
    options: GenerateOptions & { readonly weights?: WeightsChoice },
  ): Promise<SampledSequence[]>;
  /** log p in nats of every scored token, at `temperature` (default 1). */
  forward(data: readonly Scored[], weights?: WeightsChoice, temperature?: number): Promise<Float32Array[]>;
  /** Per scored token, the teacher's (adapter off) and the student's (current) view: KL(teacher || student) in nats and both log-probabilities of the token itself. */
  compare(
    data: readonly Paired[],
  ): Promise<{ readonly kl: Float32Array; readonly teacher: Float32Array; readonly student: Float32Array }[]>;
  /** Adds the gradient of the loss (the sum over all scored tokens by its `divisor`) to what `optimStep` will apply: all of it or, where it fails, is not finite or the signal fires, nothing. */
  forwardBackward(loss: Loss, options?: { readonly signal?: AbortSignal }): Promise<LossReport>;
  /** One AdamW step with the gradients gathered so far, which are gone afterwards, also where it fails; `gradNorm` is their global norm before clipping. */
  optimStep(settings: AdamWSettings): Promise<{ readonly gradNorm: number }>;
  /** Forgets the optimiser's moments and gradients not yet applied: a new stage begins. */
  resetOptimizer(): void;
  /** Keeps a frozen copy of the weights as they are now, on the backend; whoever asked for it disposes it. */
  snapshot(): Snapshot;
  /** Adds a fresh LoRA adapter: from now on only it is trained. */
  addAdapter(options: LoraOptions): void;
  /** Adds the adapter into the weights and drops it. */
  mergeAdapter(): void;
  /** Takes the adapter off without a trace. */
  dropAdapter(): void;
  /** Writes the weights as a Hugging Face folder or, with an adapter on, the adapter alone as PEFT's; the optimiser's state lies beside them once a step was taken. */
  save(folder: string): Promise<void>;
  /**
   * Takes what an earlier `save` wrote, so that training goes on as if never interrupted: weights or, where the folder holds an adapter, that, over the weights as
   * they are; and the optimiser's state, fresh where the folder has none. An adapter that is on must be merged or dropped first.
   */
  load(folder: string): Promise<void>;
  /** Gives weights, adapter, gradients and moments back. */
  dispose(): void;
}
