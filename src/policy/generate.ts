/**
 * Sampling with a key/value cache, in lockstep with forced tokens.
 *
 * All sequences of a batch stand at the same position. A sequence whose next token is known (its prompt, a passage the environment put in) takes
 * it; the others sample. So nothing is padded, nothing is re-tokenised, and one cache of one length serves the batch. Where every sequence knows
 * its next n tokens they are fed in one pass: the shared part of the prompts is a prefill.
 */
import * as tf from '@tensorflow/tfjs-core';
import { random } from '../random.js';
import { KeyValueCache } from '../tensors/kv-cache.js';
import { linear } from '../tensors/linear.js';
import { type DecoderWeights, decode, headOf } from './decoder.js';
import { drawTokens, type SamplingLimits } from './sampling.js';

/** What the environment does after a sampled token: nothing, end the sequence, or put its own tokens in (shown, never scored). */
export type Reply = 'continue' | 'end' | readonly number[];

export interface GenerateOptions extends SamplingLimits {
  /** 0 is greedy. Paper and Search-R1: 1 in training, 0 in evaluation. */
  readonly temperature: number;
  /** Each sequence draws from its own stream of uniforms, so a draw does not depend on the batch around it. */
  readonly seed: number;
  /** Tokens after the prompt, own and forced, at which a sequence is cut. */
  readonly maxTokens: number;
  /** The environment; called after each own token. Promises of several sequences are awaited together. */
  readonly onToken: (sequence: number, token: number) => Reply | Promise<Reply>;
  /** Sequences decoded together. */
  readonly batchSize?: number;
  readonly onProgress?: (finished: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface SampledSequence {
  /** After the prompt, own and forced. */
  readonly tokens: number[];
  readonly own: boolean[];
  /** log p of own tokens at the sampling temperature (at temperature 1 when greedy), 0 elsewhere; nats. */
  readonly logProbs: number[];
  /** True where `maxTokens` cut it. */
  readonly truncated: boolean;
}

interface Row {
  readonly index: number;
  /** Prompt, then everything written so far. */
  readonly known: number[];
  readonly promptLength: number;
  readonly own: boolean[];
  readonly logProbs: number[];
  readonly uniform: () => number;
  done: boolean;
  truncated: boolean;
}

/** Writes on from each prompt until the environment ends it; results are in the order of the prompts. */
export async function generate(
  model: DecoderWeights,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<SampledSequence[]> {
  const { seed, batchSize = 160, onProgress } = options;
  const rows = prompts.map((prompt, index): Row => {
    if (prompt.length === 0) throw new Error(`prompt ${index} is empty: a sequence needs at least one token to read`);
    const { uniform } = random(seed, 'sample', index);
    return { index, known: [...prompt], promptLength: prompt.length, own: [], logProbs: [], uniform, done: false, truncated: false };
  });
  let finished = 0;
  const onFinished = () => onProgress?.(++finished, rows.length);
  // Neighbours in length share a batch: their common part is one prefill.
  const order = [...rows].sort((a, b) => a.promptLength - b.promptLength || a.index - b.index);
  for (let start = 0; start < order.length; start += batchSize) {
    await generateBatch(model, order.slice(start, start + batchSize), options, onFinished);
  }
  return rows.map(({ known, promptLength, own, logProbs, truncated }) => ({ tokens: known.slice(promptLength), own, logProbs, truncated }));
}

async function generateBatch(model: DecoderWeights, batch: Row[], options: GenerateOptions, onFinished: () => void): Promise<void> {
  const { temperature, signal } = options;
  const cache = new KeyValueCache(model.config.layers, Math.max(...batch.map((row) => row.promptLength)) + options.maxTokens);
  let rows = batch;
  try {
    for (let fed = 0; ; ) {
      signal?.throwIfAborted();
      const running = rows.filter((row) => !row.done);
      if (running.length === 0) return;
      // Dropping rows copies the cache: worth it once a fifth of the batch is done.
      if (fed > 0 && running.length <= rows.length * 0.8) {
        cache.keepRows(rows.flatMap((row, at) => (row.done ? [] : [at])));
        rows = running;
      }
      const step = Math.min(...running.map((row) => row.known.length)) - fed;
      const tokens = new Int32Array(rows.length * step); // [B, step]; what a finished row is fed does not matter
      rows.forEach((row, at) => tokens.set(row.known.slice(fed, fed + step), at * step));
      fed += step;
      const waiting = rows.flatMap((row, at) => (!row.done && row.known.length === fed ? [at] : []));
      const [logits] = tf.tidy(() => {
        const hidden = decode(model, tokens, [rows.length, step], { cache }); // [B, step, d]
        if (waiting.length === 0) return [];
        const last = tf.reshape(tf.slice(hidden, [0, step - 1, 0], [-1, 1, -1]), [rows.length, model.config.hiddenSize]); // [B, d]
        const asked = waiting.length === rows.length ? last : tf.gather(last, tf.tensor1d(waiting, 'int32')); // [R, d]
        return [linear(asked, headOf(model)) as tf.Tensor2D]; // [R, V]
      });
      if (logits) {
        const uniforms = Float32Array.from(waiting, (at) => rows[at].uniform());
        const drawn = await drawTokens(logits, temperature, uniforms, options);
        logits.dispose();
        await Promise.all(waiting.map((at, i) => takeToken(rows[at], drawn.tokens[i], drawn.logProbs[i], options)));
        for (const at of waiting) if (rows[at].done) onFinished();
      }
      await new Promise(setImmediate); // lets progress, interrupts and displays through
    }
  } finally {
    cache.dispose();
  }
}

/** Adds a sampled token and what the environment says to it. */
async function takeToken(row: Row, token: number, logProb: number, { onToken, maxTokens }: GenerateOptions): Promise<void> {
  const add = (id: number, own: boolean, p: number) => {
    row.known.push(id);
    row.own.push(own);
    row.logProbs.push(p);
  };
  add(token, true, logProb);
  const reply = await onToken(row.index, token);
  if (reply === 'end') row.done = true;
  else if (reply !== 'continue') for (const forced of reply) add(forced, false, 0);
  if (!row.done && row.own.length >= maxTokens) {
    row.done = true;
    row.truncated = true;
    row.own.length = maxTokens;
    row.logProbs.length = maxTokens;
    row.known.length = row.promptLength + maxTokens;
  }
}
