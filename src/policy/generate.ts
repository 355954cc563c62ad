/**
 * Sampling with continuous batching: sequences take part in a step whenever they have something to read, and never wait for one another.
 *
 * Every step is one pass over the new tokens of all sequences, end to end: a prompt that has just been let in, the passages a search brought together with
 * the token before them, or the one token sampled last. Each then samples its next token from its own stream of uniforms. Equal prompts are
 * read once, and their cache copied; a sequence that ends gives its slot to the next one waiting; one whose environment is still searching sits out
 * while the others go on. What a sequence reads in one piece depends on itself alone, so its tokens do not depend on who shares the batch. As vLLM's
 * scheduler with chunked prefill and prefix caching; left out: paging (a slot is contiguous), preemption (slots are sized for the longest sequence) and
 * splitting of prompts.
 */
import * as tf from '@tensorflow/tfjs-core';
import { checkObject, described } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import { random } from '../random.js';
import type { TokenDecoder } from '../tensors/decode-tokens.js';
import { embedding } from '../tensors/embedding.js';
import { KeyValueCache } from '../tensors/kv-cache.js';
import { linear } from '../tensors/linear.js';
import { nextTurn } from '../tensors/next-turn.js';
import { type DecoderWeights, decode, headOf, tokenDecoder } from './decoder.js';
import { drawTokens } from './sampling.js';
import { checkSampling, type SamplingLimits } from './sampling-limits.js';
import { answer, hasBegun, type Prompt, type Reply, read, type SampledSequence, type Sequence, writeSampled } from './sequence.js';

export type { Reply, Rewrite, SampledSequence } from './sequence.js';

/** How to write, and where to end. */
export interface GenerateOptions extends SamplingLimits {
  /** 0 is greedy. Paper and Search-R1: 1 in training, 0 in evaluation. */
  readonly temperature: number;
  /** Each sequence draws from its own stream of uniforms, so a draw does not depend on the batch around it. */
  readonly seed: number;
  /** Tokens after the prompt, own and forced, at which a sequence is cut. */
  readonly maxTokens: number;
  /**
   * Ids that end a sequence once it writes one of them, which is kept as its last token. Default: none where there is an `onToken`, which may end it itself;
   * else the policy's own (`Policy.endIds`).
   */
  readonly endIds?: readonly number[];
  /**
   * The environment; called after each own token that ends nothing. A sequence whose reply is a promise sits out until it is kept; the others go on. Default: the
   * sequence goes on.
   */
  readonly onToken?: (sequence: number, token: number) => Reply | Promise<Reply>;
  /** Sequences held at once, searching ones included; bounds the cache at `batchSize` of the longest. Default 160, the classroom's 32 questions x 5. */
  readonly batchSize?: number;
  /** Called as sequences end. */
  readonly onProgress?: (finished: number, total: number) => void;
  /** Heeded between steps, and while all sequences wait for the environment. */
  readonly signal?: AbortSignal;
}

/** Prompt tokens let in at once: bounds what a step holds beside the cache. A longer prompt goes alone. */
const PROMPT_TOKENS_PER_STEP = 4096;

/**
 * Writes on from each prompt until the environment ends it; results are in the order of the prompts.
 *
 * @throws RangeError, TypeError for options that cannot be sampled with; NonFiniteError where a token would be drawn from logits that are not finite, naming
 * the sequence and the position
 *
 * @example
 * ```ts
 * import { generate, loadPolicy, loadTokenizer } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const [policy, tokenizer] = [await loadPolicy(basePolicyFolder()), await loadTokenizer(basePolicyFolder())];
 * const prompt = tokenizer.encode('who is the author of'); // the classroom's own words
 * const [{ tokens, truncated }] = await generate(policy, [prompt], { temperature: 0, seed: 1, maxTokens: 8 });
 * truncated; // true
 * tokenizer.decode(tokens).length > 0; // true
 * ```
 */
export async function generate(
  model: DecoderWeights,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<SampledSequence[]> {
  if (!Array.isArray(prompts)) throw new TypeError(`generate: expected a list of prompts, got ${described(prompts)}`);
  checkObject('generate', 'options', options, ['maxTokens']);
  checkSampling(options);
  checkNumber('generate: maxTokens', options.maxTokens, { integer: true, min: 1 });
  const environment = { ...options, onToken: ending(model, options) };
  const byText = new Map<string, Prompt>();
  const sequences = prompts.map((tokens, index): Sequence => {
    if (tokens.length === 0) throw new Error(`prompt ${index} is empty: a sequence needs at least one token to read`);
    const prompt = byText.get(tokens.join()) ?? { tokens, waiting: 0, last: null };
    byText.set(tokens.join(), prompt);
    prompt.waiting++;
    const { uniform } = random(options.seed, 'sample', index);
    return { index, prompt, known: [...tokens], forgotten: 0, own: [], logProbs: [], uniform, searching: false, truncated: false };
  });
  await nextTurn();
  if (sequences.length > 0) await new Batch(model, sequences, environment).run();
  return sequences.map(({ known, prompt, own, logProbs, truncated }) => ({
    tokens: known.slice(prompt.tokens.length),
    own,
    logProbs,
    truncated,
  }));
}

/** The environment that ends a sequence at its end tokens, and asks `onToken` after all others. */
function ending(model: DecoderWeights, { endIds, onToken }: GenerateOptions): NonNullable<GenerateOptions['onToken']> {
  const ids = endIds ?? (onToken ? [] : (model.endIds ?? model.config.endIds));
  const { vocabSize } = model.config;
  if (!Array.isArray(ids)) throw new TypeError(`generate: endIds: expected a list of token ids, got ${described(ids)}`);
  ids.forEach((id, i) => {
    if (!(Number.isInteger(id) && id >= 0 && id < vocabSize))
      throw new RangeError(`generate: endIds[${i}] is ${described(id)}, expected a token id from 0 to ${vocabSize - 1}`);
  });
  if (onToken !== undefined && typeof onToken !== 'function')
    throw new TypeError(`generate: onToken: expected a function, got ${described(onToken)}`);
  const ends = new Set(ids);
  return (sequence, token) => (ends.has(token) ? 'end' : (onToken?.(sequence, token) ?? 'continue'));
}

/** A sequence in its slot. */
interface Placed {
  readonly sequence: Sequence;
  readonly slot: number;
}

/** What a sequence in its slot goes on with. */
interface Drawn {
  readonly placed: Placed;
  readonly token: number;
  readonly logProb: number;
}

class Batch {
  readonly #cache: KeyValueCache;
  readonly #decoder: TokenDecoder | null;
  /** Not let in yet, those of a prompt one after the other, so that its cache is still there for all of them. */
  readonly #queue: Sequence[];
  readonly #inSlot: (Sequence | null)[];
  /** The prompt that a slot begins with, also after its sequence has ended. */
  readonly #promptInSlot: (Prompt | null)[];
  readonly #total: number;
  #finished = 0;
  /** No one is interested any more in what a search brings. */
  #over = false;
  #failure: { readonly error: unknown } | null = null;
  #wake: () => void = () => {};

  constructor(
    private readonly model: DecoderWeights,
    sequences: readonly Sequence[],
    private readonly options: GenerateOptions & Required<Pick<GenerateOptions, 'onToken'>>,
  ) {
    const { batchSize = 160, maxTokens } = options;
    const siblings = new Map<Prompt, Sequence[]>();
    for (const sequence of sequences) siblings.set(sequence.prompt, [...(siblings.get(sequence.prompt) ?? []), sequence]);
    this.#queue = [...siblings.values()].flat();
    this.#total = sequences.length;
    const slots = Math.max(1, Math.min(batchSize, sequences.length));
    const longest = sequences.reduce((most, { prompt }) => Math.max(most, prompt.tokens.length), 0); // of any number: an argument each would overflow
    this.#cache = new KeyValueCache(model.config.layers, slots, longest + maxTokens);
    this.#decoder = tokenDecoder(model, longest + maxTokens);
    this.#inSlot = new Array<Sequence | null>(slots).fill(null);
    this.#promptInSlot = new Array<Prompt | null>(slots).fill(null);
  }

  async run(): Promise<void> {
    const { signal } = this.options;
    const onAbort = () => this.#wake();
    signal?.addEventListener('abort', onAbort);
    try {
      while (this.#finished < this.#total) {
        signal?.throwIfAborted();
        if (this.#failure) throw this.#failure.error;
        const begins = this.#letIn();
        const beginning = new Set(begins.map(({ slot }) => slot));
        const reads = this.#inSlot.flatMap((sequence, slot) =>
          sequence && !sequence.searching && !beginning.has(slot) ? [{ sequence, slot }] : [],
        );
        if (reads.length + begins.length > 0) await this.#step(reads, begins);
        else await this.#somethingHappens();
        await nextTurn();
      }
    } finally {
      this.#over = true;
      signal?.removeEventListener('abort', onAbort);
      this.#cache.dispose();
      this.#decoder?.dispose();
      for (const { prompt } of this.#queue) this.#forget(prompt);
    }
  }

  /** Gives free slots to waiting sequences. Returns those that have nothing to read, as a sibling has read their prompt or does so in this step. */
  #letIn(): Placed[] {
    const begins: Placed[] = [];
    let toRead = 0;
    for (;;) {
      const [sequence] = this.#queue;
      if (!sequence || !this.#inSlot.includes(null)) return begins;
      const { prompt } = sequence;
      const holder = this.#promptInSlot.indexOf(prompt);
      const leads = holder < 0;
      if (leads && toRead > 0 && toRead + prompt.tokens.length > PROMPT_TOKENS_PER_STEP) return begins;
      const slot = this.#inSlot[holder] === null ? holder : this.#inSlot.indexOf(null);
      this.#queue.shift();
      prompt.waiting--;
      this.#inSlot[slot] = sequence;
      this.#promptInSlot[slot] = prompt;
      if (leads) {
        this.#forget(prompt); // no slot holds it any more: it is read again
        this.#cache.truncate(slot, 0);
        toRead += prompt.tokens.length;
        continue;
      }
      begins.push({ sequence, slot });
      // A prompt that is being read in this step is copied after it.
      if (!prompt.last) this.#cache.truncate(slot, 0);
      else if (slot === holder) this.#cache.truncate(slot, prompt.tokens.length);
      else this.#cache.copy(holder, [slot], prompt.tokens.length);
    }
  }

  /** Reads what is to be read, and samples one token for every sequence. */
  async #step(reads: readonly Placed[], begins: readonly Placed[]): Promise<void> {
    const single = ({ sequence: { known, forgotten }, slot }: Placed) => {
      const held = this.#cache.length(slot);
      return this.#decoder !== null && held > 0 && known.length - forgotten - held === 1;
    };
    const singles = reads.filter(single);
    const pieces = reads.filter((placed) => !single(placed));
    const parts: [readonly Placed[], tf.Tensor2D][] = []; // with their logits
    let drawn: Drawn[][];
    try {
      if (singles.length > 0) parts.push([singles, this.#readSingles(singles)]);
      if (pieces.length + begins.length > 0) parts.push([[...pieces, ...begins], this.#readPieces(pieces, begins)]);
      const drawing = parts.map(([sampling, logits]) => this.#draw(sampling, logits));
      await Promise.allSettled(drawing); // each to its end, also where another fails: nothing reads logits that are given back
      drawn = await Promise.all(drawing);
    } finally {
      for (const [, logits] of parts) logits.dispose();
    }
    for (const { placed, token, logProb } of drawn.flat()) this.#take(placed, token, logProb);
  }

  async #draw(sampling: readonly Placed[], logits: tf.Tensor2D): Promise<Drawn[]> {
    const uniforms = Float32Array.from(sampling, ({ sequence }) => sequence.uniform());
    const held = (row: number) => read(sampling[row].sequence);
    const nameOf = (row: number) => {
      const { index, known, prompt } = sampling[row].sequence;
      return `generate: logits of sequence ${index} for position ${known.length}, after a prompt of ${prompt.tokens.length}`;
    };
    const { tokens, logProbs } = await drawTokens(logits, this.options.temperature, uniforms, this.options, held, nameOf);
    return sampling.map((placed, i) => ({ placed, token: tokens[i], logProb: logProbs[i] }));
  }

  #unread({ sequence, slot }: Placed): number[] {
    return sequence.known.slice(sequence.forgotten + this.#cache.length(slot));
  }

  /** Logits [N, V] after one token each: what most steps are, with an operation of its own where the backend has it. */
  #readSingles(singles: readonly Placed[]): tf.Tensor2D {
    const tokens = Int32Array.from(singles.flatMap((placed) => this.#unread(placed)));
    const step = this.#cache.step(singles.map(({ slot }) => ({ slot, tokens: 1 })));
    return (this.#decoder as TokenDecoder).decode(tokens, step);
  }

  /** Logits [R, V] after pieces of any length, read in one pass, and after the prompts of those that begin. */
  #readPieces(pieces: readonly Placed[], begins: readonly Placed[]): tf.Tensor2D {
    const leaders = new Map(pieces.flatMap(({ sequence, slot }) => (hasBegun(sequence) ? [] : [[sequence.prompt, slot]])));
    const logits = tf.tidy(() => {
      const hidden = pieces.length > 0 ? [this.#decodePieces(pieces)] : []; // [pieces, d]
      const rowOf = new Map<Prompt, number>(); // of the prompts' last tokens
      pieces.forEach(({ sequence: { prompt }, slot }, i) => {
        if (leaders.get(prompt) !== slot) return;
        rowOf.set(prompt, i);
        this.#forget(prompt);
        if (prompt.waiting > 0) prompt.last = tf.keep(tf.slice(hidden[0], [i, 0], [1, -1]));
      });
      let rows = pieces.length;
      for (const { prompt } of begins.map(({ sequence }) => sequence)) {
        if (rowOf.has(prompt)) continue;
        rowOf.set(prompt, rows++);
        hidden.push(prompt.last as tf.Tensor2D);
      }
      const asked = [...pieces.keys(), ...begins.map(({ sequence }) => rowOf.get(sequence.prompt) as number)];
      const all = hidden.length > 1 ? tf.concat(hidden) : hidden[0];
      return linear(begins.length > 0 ? embedding(all, tf.tensor1d(asked, 'int32')) : all, headOf(this.model)) as tf.Tensor2D;
    });
    for (const prompt of new Set(begins.map(({ sequence }) => sequence.prompt))) {
      const siblings = begins.flatMap(({ sequence, slot }) => (sequence.prompt === prompt ? [slot] : []));
      const leader = leaders.get(prompt);
      if (leader !== undefined) this.#cache.copy(leader, siblings, prompt.tokens.length);
      if (prompt.waiting === 0) this.#forget(prompt);
    }
    return logits;
  }

  /** Final hidden state [N, d] after each piece. */
  #decodePieces(pieces: readonly Placed[]): tf.Tensor2D {
    const chunks = pieces.map((placed) => this.#unread(placed));
    const cache = this.#cache.step(pieces.map(({ slot }, i) => ({ slot, tokens: chunks[i].length })));
    const tokens = Int32Array.from(chunks.flat());
    let end = -1;
    const rows = Int32Array.from(chunks, (chunk) => (end += chunk.length));
    const hidden = decode(this.model, tokens, [1, tokens.length], { cache, rows }); // [1, N, d]
    return tf.reshape(hidden, [pieces.length, this.model.config.hiddenSize]);
  }

  /** Adds a sampled token; what the environment says to it is heeded at once or when it comes. */
  #take(placed: Placed, token: number, logProb: number): void {
    const { sequence } = placed;
    writeSampled(sequence, token, logProb);
    const reply = this.options.onToken(sequence.index, token);
    if (!(reply instanceof Promise)) {
      this.#heed(placed, reply);
      return;
    }
    sequence.searching = true;
    reply
      .then((late) => {
        sequence.searching = false;
        if (!this.#over) this.#heed(placed, late);
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#wake());
  }

  /** Goes on reading where what was read no longer stands, or frees the slot. */
  #heed({ sequence, slot }: Placed, reply: Reply): void {
    const { maxTokens, onProgress } = this.options;
    const { over, standing } = answer(sequence, reply, maxTokens);
    if (over) {
      this.#inSlot[slot] = null;
      this.#finished++;
      onProgress?.(this.#finished, this.#total);
      return;
    }
    if (standing < this.#cache.length(slot)) this.#cache.truncate(slot, standing);
    if (standing < sequence.prompt.tokens.length) this.#promptInSlot[slot] = null; // no sibling finds the whole prompt there
  }

  /** All sequences are waiting for the environment: until one hears from it, or the signal fires. */
  #somethingHappens(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #forget(prompt: Prompt): void {
    prompt.last?.dispose();
    prompt.last = null;
  }
}
