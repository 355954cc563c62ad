/**
 * A sequence while it is sampled: its prompt, the policy's own tokens, and what the environment does to them.
 *
 * An environment may put tokens in, end the sequence, or, as Search-R1's does, take back what was sampled, write it anew and have the beginning forgotten. Which
 * tokens have been read, and beside whom, is the scheduler's concern (`generate.ts`): from here it learns up to where what was read still stands.
 */
import type * as tf from '@tensorflow/tfjs-core';

/** What the environment does after a sampled token: nothing, end the sequence, put its own tokens in (shown, never scored), or rewrite what was sampled. */
export type Reply = 'continue' | 'end' | readonly number[] | Rewrite;

/** What Search-R1 does after a turn: its text is cut and tokenised again, and of a long sequence only the end is read on. */
export interface Rewrite {
  /** Tokens sampled last that are taken back. */
  readonly takeBack: number;
  /** The policy's own in their place. */
  readonly own: readonly number[];
  /** The environment's after them. */
  readonly shown: readonly number[];
  /** From here on only so many of the last tokens are read, prompt included, as if the sequence began there. Default: as before. */
  readonly readLast?: number;
  /** Whether the sequence ends. */
  readonly end: boolean;
}

/** What was written after one prompt. */
export interface SampledSequence {
  /** After the prompt, own and forced. */
  readonly tokens: number[];
  /** True where the policy wrote the token, false where the environment did. */
  readonly own: boolean[];
  /**
   * log p of own tokens at the sampling temperature (at temperature 1 when greedy), 0 elsewhere; nats. NaN where a rewrite put in a token that was not sampled,
   * or had the beginning forgotten before it was.
   */
  readonly logProbs: number[];
  /** True where `maxTokens` cut it. */
  readonly truncated: boolean;
}

/** A prompt and the sequences that begin with it. */
export interface Prompt {
  readonly tokens: readonly number[];
  /** Sequences not let in yet. */
  waiting: number;
  /** [1, d] hidden state of its last token, kept from when it was read until all its sequences have begun. */
  last: tf.Tensor2D | null;
}

export interface Sequence {
  readonly index: number;
  readonly prompt: Prompt;
  /** Prompt, then everything written so far. */
  readonly known: number[];
  /** How many tokens of that are no longer read. */
  forgotten: number;
  readonly own: boolean[];
  readonly logProbs: number[];
  readonly uniform: () => number;
  searching: boolean;
  truncated: boolean;
}

/** What of a sequence is read. */
export const read = ({ known, forgotten }: Sequence): readonly number[] => known.slice(forgotten);

/** Whether anything follows its prompt. */
export const hasBegun = ({ known, prompt }: Sequence): boolean => known.length > prompt.tokens.length;

/** Adds a token that was just sampled. Its log-probability is that of what was read, not of the whole, once the beginning is forgotten. */
export function writeSampled(sequence: Sequence, token: number, logProb: number): void {
  write(sequence, token, true, sequence.forgotten > 0 ? Number.NaN : logProb);
}

/** What has become of a sequence by the environment's reply. */
export interface Answered {
  readonly over: boolean;
  /** How many of the tokens that are read, from the first, may still be held as they were read. */
  readonly standing: number;
}

/** Does to a sequence what the environment replied, and cuts it at `maxTokens`. */
export function answer(sequence: Sequence, reply: Reply, maxTokens: number): Answered {
  const rewrites = typeof reply === 'object' && 'takeBack' in reply;
  const standing = rewrites ? rewrite(sequence, reply) : read(sequence).length;
  if (typeof reply === 'object' && !rewrites) for (const token of reply) write(sequence, token, false, 0);
  const ended = rewrites ? reply.end : reply === 'end';
  sequence.truncated = !ended && sequence.own.length >= maxTokens;
  if (sequence.truncated) cut(sequence, sequence.prompt.tokens.length + maxTokens);
  return { over: ended || sequence.truncated, standing };
}

/** What the new tokens have in common with the sampled ones stays as it was sampled and read. Returns how much of what is read stands. */
function rewrite(sequence: Sequence, { takeBack, own, shown, readLast = Number.POSITIVE_INFINITY }: Rewrite): number {
  const { known } = sequence;
  const start = known.length - takeBack;
  let same = start;
  while (same < known.length && known[same] === own[same - start]) same++;
  cut(sequence, same);
  for (const token of own.slice(same - start)) write(sequence, token, true, Number.NaN);
  for (const token of shown) write(sequence, token, false, 0);
  const before = sequence.forgotten;
  sequence.forgotten = Math.max(before, known.length - readLast);
  if (sequence.forgotten > before) return 0; // every token has another position
  return Math.min(same, known.length - 1) - before; // the last token is always read again: what comes next is predicted from it
}

/** Only the first `length` tokens stay, prompt included. */
function cut(sequence: Sequence, length: number): void {
  sequence.known.length = length;
  sequence.own.length = length - sequence.prompt.tokens.length;
  sequence.logProbs.length = sequence.own.length;
}

function write(sequence: Sequence, token: number, own: boolean, logProb: number): void {
  sequence.known.push(token);
  sequence.own.push(own);
  sequence.logProbs.push(logProb);
}
