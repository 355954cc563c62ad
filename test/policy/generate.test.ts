/** Continuous batching: who shares a batch changes no sequence, nobody waits for anybody, and nothing is read twice. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { NonFiniteError } from '../../src/non-finite.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import * as decoder from '../../src/policy/decoder.js';
import { type GenerateOptions, generate, type Reply, type Rewrite, type SampledSequence } from '../../src/policy/generate.js';
import { createAdapter } from '../../src/policy/lora.js';
import { Policy } from '../../src/policy/policy.js';
import { startBackend } from '../../src/tensors/backend.js';
import { expectArraysClose, fixtureFolder } from './xs.js';

vi.mock('../../src/policy/decoder.js', async (original) => {
  const actual = await original<typeof decoder>();
  return { ...actual, decode: vi.fn(actual.decode), tokenDecoder: vi.fn(actual.tokenDecoder) };
});
const decode = vi.mocked(decoder.decode);
const tokenDecoder = vi.mocked(decoder.tokenDecoder);
/** The tokens of every step, end to end, where all are read by operations. */
const steps = () => decode.mock.calls.map(([, tokens]) => [...tokens]);

const END = 7;
/** An environment that ends at some tokens and answers others with tokens of its own. */
const environment = (_: number, token: number): Reply =>
  token % 16 === END ? 'end' : token % 8 === 3 ? [token, 1, token % 5, 2] : 'continue';
const defaults: GenerateOptions = { temperature: 1, seed: 3, maxTokens: 24, onToken: environment };

/** Five questions, the first three asked five times as siblings, not all side by side. */
const questions = [[1, 2, 3], [9, 8, 7, 6, 5, 4], [1, 2, 3, 4], [200], [31, 32]];
const prompts = [0, 0, 0, 1, 0, 1, 1, 2, 2, 1, 3, 2, 4, 2, 0, 1, 2].map((q) => questions[q]);

let policy: Policy;
const open = async (backend: 'cpu' | 'simd') => {
  await startBackend({ backend });
  policy = await loadPolicy(fixtureFolder('xs_tied'));
};
beforeEach(() => {
  decode.mockClear();
  tokenDecoder.mockClear();
});

/** As on a backend that has no operation for single tokens: `decode` reads all. */
const withoutTokenDecoder = () => {
  const original = tokenDecoder.getMockImplementation() as typeof decoder.tokenDecoder;
  beforeAll(() => {
    tokenDecoder.mockImplementation(() => null);
  });
  afterAll(() => {
    tokenDecoder.mockImplementation(original);
  });
};

describe('on simd, whose sums do not depend on the batch', () => {
  let reference: SampledSequence[];
  beforeAll(async () => {
    await open('simd');
    reference = await generate(policy, prompts, defaults);
  });
  afterAll(() => policy.dispose());

  test('ends at end tokens, kept as the last, before the environment is asked; without either at its own', async () => {
    const free = { temperature: 1, seed: 3, maxTokens: 24, onToken: (): Reply => 'continue' };
    const [whole] = await generate(policy, [[1, 2, 3]], free);
    const asked: number[] = [];
    const end = whole.tokens[5];
    const cut = whole.tokens.slice(0, whole.tokens.indexOf(end) + 1);
    const onToken = (_: number, token: number): Reply => {
      asked.push(token);
      return 'continue';
    };
    const [ended] = await generate(policy, [[1, 2, 3]], { ...free, endIds: [end], onToken });
    expect([ended.tokens, ended.truncated, asked]).toEqual([cut, false, cut.slice(0, -1)]);
    const { onToken: _, ...alone } = free;
    const model = { config: policy.config, weights: policy.weights };
    expect((await generate({ ...model, endIds: [end] }, [[1, 2, 3]], alone))[0].tokens).toEqual(cut);
    expect((await generate({ ...model, config: { ...policy.config, endIds: [end] } }, [[1, 2, 3]], alone))[0].tokens).toEqual(cut);
    expect((await generate({ ...model, endIds: [end] }, [[1, 2, 3]], free))[0].tokens).toEqual(whole.tokens); // the environment ends, or nobody
  });

  test.each([
    [{ endIds: 7 }, /^generate: endIds: expected a list of token ids, got 7/],
    [{ endIds: [256] }, /^generate: endIds\[0\] is 256, expected a token id from 0 to 255/],
    [{ onToken: 'end' }, /^generate: onToken: expected a function, got "end"/],
    [{ maxTokens: 1.5 }, /maxTokens/],
  ])('refuses %j', async (change, message) => {
    await expect(generate(policy, [[1]], { ...defaults, ...change } as never)).rejects.toThrow(message);
  });

  test('what the other tests compare occurs: ends, passages and cuts', () => {
    expect(new Set(reference.map(({ truncated }) => truncated))).toEqual(new Set([true, false]));
    expect(reference.some(({ own }) => own.includes(false))).toBe(true);
    expect(new Set(reference.map(({ tokens }) => tokens.length)).size).toBeGreaterThan(4);
  });

  test.each([1, 2, 3, 40])('sequences are the same to the last bit, %i at a time', async (batchSize) => {
    expect(await generate(policy, prompts, { ...defaults, batchSize })).toEqual(reference);
  });

  test('a sequence is the same to the last bit, whichever the others are and in whatever order', async () => {
    const order = fc.shuffledSubarray([...prompts.keys()], { minLength: prompts.length });
    await fc.assert(
      fc.asyncProperty(order, fc.nat(prompts.length - 1), fc.integer({ min: 1, max: 6 }), async (others, mine, batchSize) => {
        const shuffled = others.map((from, at) => (at === mine ? prompts[mine] : prompts[from]));
        const sampled = await generate(policy, shuffled, { ...defaults, batchSize, maxTokens: 10 });
        const alone = await generate(
          policy,
          prompts.map((prompt, at) => (at === mine ? prompt : [5])),
          { ...defaults, maxTokens: 10 },
        );
        expect(sampled[mine]).toEqual(alone[mine]);
      }),
      { numRuns: 4, seed: 1 },
    );
  });

  test('sequences are the same to the last bit, however long the environment takes', async () => {
    let turn = 0;
    const onToken = async (sequence: number, token: number) => {
      for (let wait = (turn++ * 7) % 5; wait > 0; wait--) await new Promise(setImmediate);
      return environment(sequence, token);
    };
    expect(await generate(policy, prompts, { ...defaults, batchSize: 4, onToken })).toEqual(reference);
  });
});

describe('single tokens read by an operation of their own on simd', () => {
  beforeAll(() => open('simd'));
  afterAll(() => policy.dispose());
  const operations = (options: GenerateOptions) => {
    tokenDecoder.mockImplementationOnce(() => null);
    return generate(policy, prompts, options);
  };

  test.each([1, 3, 40])('give the same to the last bit, %i at a time', async (batchSize) => {
    expect(await generate(policy, prompts, { ...defaults, batchSize })).toEqual(await operations({ ...defaults, batchSize }));
    expect(tokenDecoder.mock.results[0].value).not.toBeNull();
  });

  test('and with an adapter, whose weights have moved', async () => {
    const adapter = createAdapter(policy.config, { rank: 3, alpha: 6, seed: 1 });
    for (const [name, variable] of adapter.variables) if (name.includes('lora_B')) variable.assign(tf.randomNormal(variable.shape, 0, 0.1));
    const before = await generate(policy, prompts, defaults);
    policy.attachAdapter(adapter);
    const adapted = await generate(policy, prompts, defaults);
    expect(adapted).toEqual(await operations(defaults));
    expect(adapted).not.toEqual(before);
    policy.dropAdapter();
  });

  test('leave no tensor behind', async () => {
    const before = tf.memory().numTensors;
    await generate(policy, prompts, defaults);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('on simd', () => {
  withoutTokenDecoder();
  beforeAll(() => open('simd'));
  afterAll(() => policy.dispose());

  test('log-probabilities and tokens equal those of whole passes over prompt and continuation', async () => {
    const sampled = await generate(policy, prompts, { ...defaults, batchSize: 5 });
    for (const [i, { tokens, own, logProbs }] of sampled.entries()) {
      const whole = [...prompts[i], ...tokens];
      const logSoftmax = tf.tidy(() => {
        const hidden = tf.reshape(decoder.decode(policy, Int32Array.from(whole), [1, whole.length]), [whole.length, -1]);
        return tf.logSoftmax(tf.matMul(hidden, decoder.headOf(policy), false, true)).arraySync() as number[][];
      });
      const expected = tokens.map((token, t) => (own[t] ? logSoftmax[prompts[i].length + t - 1][token] : 0));
      expectArraysClose(logProbs, expected, 2e-5, `sequence ${i}`);
    }
  });

  test('siblings read their prompt once, wherever they stand and whenever they come in', async () => {
    for (const batchSize of [1, 2, 40]) {
      decode.mockClear();
      const sampled = await generate(policy, prompts, { ...defaults, batchSize });
      const fed = steps().reduce((sum, tokens) => sum + tokens.length, 0);
      const distinct = questions.reduce((sum, question) => sum + question.length, 0);
      // Every token after a prompt is read but those that nothing follows: the last, and passages behind the cut.
      const written = sampled.reduce((sum, { own }) => sum + own.lastIndexOf(true), 0);
      expect(fed).toBe(distinct + written);
    }
  });

  test('passages are read in one piece with the token before them, beside the tokens of the others', async () => {
    const passage = [40, 41, 42, 43, 44];
    let told = false;
    const onToken = (sequence: number, token: number): Reply => {
      if (sequence !== 1 || told) return 'continue';
      told = true;
      passage.unshift(token);
      return passage.slice(1);
    };
    const [first, second, third] = await generate(policy, [[1], [2], [3]], { ...defaults, maxTokens: 8, onToken });
    expect(steps()[1]).toEqual([first.tokens[0], ...passage, third.tokens[0]]);
    expect(second.own).toEqual([true, false, false, false, false, false, true, true]);
  });

  test('a sequence that ends gives its place to the next at once', async () => {
    const length = [1, 6, 2, 2, 1];
    const written = length.map(() => 0);
    const onToken = (sequence: number): Reply => (++written[sequence] === length[sequence] ? 'end' : 'continue');
    await generate(policy, [[10], [20], [30], [40], [50]], { ...defaults, batchSize: 2, onToken });
    // One place is taken by the second sequence throughout; the other passes from the first to the third, fourth and fifth.
    expect(steps().map((tokens) => tokens.length)).toEqual([2, 2, 2, 2, 2, 2]);
    expect(written).toEqual(length);
  });

  test('a slow search stalls nobody: it is answered when all others have ended', async () => {
    let finished = 0;
    let answer: (reply: Reply) => void = () => {};
    const onToken = (sequence: number, token: number) =>
      sequence === 0 && token !== END && finished < 5
        ? new Promise<Reply>((resolve) => {
            answer = resolve;
          })
        : environment(sequence, token);
    const sampled = await generate(policy, [[1], [2], [3], [4], [5], [6]], {
      ...defaults,
      batchSize: 2,
      onToken,
      onProgress: (done) => {
        finished = done;
        if (done === 5) answer('end');
      },
    });
    expect(finished).toBe(6);
    expect(sampled[0].tokens.length).toBe(1);
  });

  test('can be interrupted while it computes and while all search, and gives its memory back', async () => {
    const before = tf.memory().numTensors;
    for (const reply of [() => 'continue' as const, () => new Promise<Reply>(() => {})]) {
      const abort = new AbortController();
      const stopped = generate(policy, prompts, { ...defaults, maxTokens: 1e6, onToken: reply, batchSize: 3, signal: abort.signal });
      setTimeout(() => abort.abort(new Error('enough')), 30);
      await expect(stopped).rejects.toThrow('enough');
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a search that fails ends the batch with its error, and what other searches bring is not asked for any more', async () => {
    const before = tf.memory().numTensors;
    const progress = vi.fn();
    const late: ((reply: Reply) => void)[] = [];
    const onToken = (sequence: number): Promise<Reply> =>
      sequence === 2 ? Promise.reject(new Error('the retriever is down')) : new Promise((resolve) => late.push(resolve));
    await expect(generate(policy, prompts, { ...defaults, onToken, onProgress: progress })).rejects.toThrow('the retriever is down');
    for (const resolve of late) resolve('end');
    await new Promise(setImmediate);
    expect(progress).not.toHaveBeenCalled();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('lets timers and other work run after every step', async () => {
    let turns = 0;
    let running = true;
    const other = (async () => {
      while (running) {
        await new Promise(setImmediate);
        turns++;
      }
    })();
    await generate(policy, [[1]], { ...defaults, maxTokens: 20, onToken: () => 'continue' });
    running = false;
    await other;
    expect(turns).toBeGreaterThanOrEqual(20);
  });

  test('another seed gives other sequences, the same seed the same', async () => {
    const [once, again, other] = [
      await generate(policy, prompts, defaults),
      await generate(policy, prompts, defaults),
      await generate(policy, prompts, { ...defaults, seed: 4 }),
    ];
    expect(again).toEqual(once);
    expect(other).not.toEqual(once);
  });

  describe('logits that are not finite', () => {
    /** Whose token 7 is embedded as NaN, and the head is not tied to that: only who reads 7 is struck. */
    const struck = async () => {
      const sound = await loadPolicy(fixtureFolder('xs_untied'));
      const values = await sound.values();
      sound.dispose();
      const table = values.get('model.embed_tokens.weight') as Float32Array;
      table.fill(Number.NaN, 7 * sound.config.hiddenSize, 8 * sound.config.hiddenSize);
      return Policy.fromValues(sound.config, values);
    };

    test.each<[string, Partial<GenerateOptions>]>([
      ['drawn by the backend', {}],
      ['greedily', { temperature: 0 }],
      ['under limits', { topK: 5 }],
      ['greedily under a penalty', { temperature: 0, repetitionPenalty: 1.2 }],
    ])(
      'are an error that names the sequence and the position, %s; tensors are given back, and other sequences can be written',
      async (_, how) => {
        const broken = await struck();
        const onToken = () => 'continue' as Reply;
        const options = { ...defaults, maxTokens: 3, onToken, ...how };
        const before = tf.memory().numTensors;
        const error: unknown = await generate(broken, [[1, 2], [3, 7, 4], [5]], options).catch((e: unknown) => e);
        expect(error).toBeInstanceOf(NonFiniteError);
        expect((error as Error).message).toMatch(
          /^generate: logits of sequence 1 for position 3, after a prompt of 3: element 0 is NaN, expected a finite number; no token can be/,
        );
        // The environment puts 7 into the second sequence after its second token: position 1 + 2 + 1.
        let taken = 0;
        const late = {
          ...options,
          maxTokens: 9,
          onToken: (sequence: number): Reply => (sequence === 1 && ++taken === 2 ? [7] : 'continue'),
        };
        await expect(generate(broken, [[1, 2], [5]], late)).rejects.toThrow(
          /^generate: logits of sequence 1 for position 4, after a prompt of 1:/,
        );
        const written = await generate(broken, [[1, 2], [5]], { ...options, maxTokens: 1 });
        expect(written.map(({ tokens }) => tokens.length)).toEqual([1, 1]);
        expect(tf.memory().numTensors).toBe(before);
        broken.dispose();
      },
    );
  });

  test.each([
    [{ temperature: '0.5' }, /the temperature should be a number from 0 \(greedy\), got "0.5"/],
    [{ temperature: null }, /the temperature should be a number from 0 \(greedy\), got null/],
    [{ temperature: Number.NaN }, /the temperature should be .*, got NaN/],
    [{ maxTokens: '4' }, /maxTokens should be a whole number above 0, got "4"/],
    [{ maxTokens: null }, /maxTokens should be .*, got null/],
    [{ maxTokens: undefined }, /options: expected an object with maxTokens, got .*, without maxTokens/],
    [{ batchSize: '2' }, /batchSize should be .*, got "2"/],
    [{ topK: '3' }, /topK should be .*, got "3"/],
    [{ topK: null }, /topK should be .*, got null/],
    [{ topP: '0.5' }, /topP should be in \(0, 1\], got "0.5"/],
    [{ topP: null }, /topP should be .*, got null/],
    [{ topP: Number.NaN }, /topP should be .*, got NaN/],
    [{ topP: true }, /topP should be .*, got true/],
    [{ minP: '0.1' }, /minP should be in \[0, 1\], got "0.1"/],
    [{ minP: null }, /minP should be .*, got null/],
    [{ repetitionPenalty: '1.2' }, /repetition penalty should be above 0, got "1.2"/],
    [{ seed: '3' }, /expected an integer as the seed, got "3"/],
    [{ seed: Number.NaN }, /expected an integer as the seed, got NaN/],
    [{ seed: null }, /expected an integer as the seed, got null/],
  ])('%o is refused by name, before anything is computed', async (change, message) => {
    const onToken = vi.fn(() => 'end' as const);
    await expect(generate(policy, [[1]], { ...defaults, onToken, ...change } as never)).rejects.toThrow(message);
    expect(onToken).not.toHaveBeenCalled();
    expect(decode).not.toHaveBeenCalled();
  });

  test('nothing to sample is nothing sampled, an empty prompt is refused', async () => {
    expect(await generate(policy, [], defaults)).toEqual([]);
    await expect(generate(policy, [[1], []], defaults)).rejects.toThrow(/prompt 1 is empty/);
  });

  describe('an environment that rewrites turns and forgets beginnings', () => {
    const TURN = 5;
    const TURNS = 4;
    /** Keeps some of a turn, changes some, adds tokens and reads the last twelve; what is kept depends on the turn alone. */
    const rewritten = (turn: readonly number[], count: number): Rewrite => ({
      takeBack: turn.length,
      own: [turn.slice(0, 2), turn, turn.slice(0, 1).concat(9, 8), []][count % 4],
      shown: [[11, 12, 13], [], [14], [15, 16]][(count + turn[0]) % 4],
      readLast: count >= 2 ? 12 : undefined,
      end: count === TURNS,
    });
    const rewriting = (late: boolean) => {
      const turns = prompts.map((): number[] => []);
      const counts = prompts.map(() => 0);
      return (sequence: number, token: number): Reply | Promise<Reply> => {
        turns[sequence].push(token);
        if (turns[sequence].length < TURN) return 'continue';
        const reply = rewritten(turns[sequence], ++counts[sequence]);
        turns[sequence] = [];
        return late && sequence % 2 ? new Promise((resolve) => setImmediate(() => resolve(reply))) : reply;
      };
    };
    /** The same by whole passes over what is to be read, one sequence at a time. */
    const bySteps = (prompt: readonly number[]): SampledSequence => {
      let known = [...prompt];
      let [own, logProbs]: [boolean[], number[]] = [[], []];
      let forgotten = 0;
      for (let count = 1; ; count++) {
        const start = known.length;
        const turn: number[] = [];
        const given: number[] = [];
        for (let t = 0; t < TURN; t++) {
          const context = [...known, ...turn].slice(forgotten);
          const row = tf.tidy(() => {
            const hidden = tf.reshape(decoder.decode(policy, Int32Array.from(context), [1, context.length]), [context.length, -1]);
            return tf
              .logSoftmax(tf.matMul(tf.slice(hidden, [context.length - 1, 0], [1, -1]), decoder.headOf(policy), false, true))
              .dataSync();
          });
          turn.push(row.indexOf(Math.max(...row)));
          given.push(forgotten > 0 ? Number.NaN : row[turn[t]]);
        }
        const reply = rewritten(turn, count);
        const same = reply.own.findIndex((token, i) => token !== turn[i]);
        known = [...known, ...reply.own, ...reply.shown];
        own = [...own, ...reply.own.map(() => true), ...reply.shown.map(() => false)];
        logProbs = [...logProbs, ...reply.own.map((_, i) => (same >= 0 && i >= same ? Number.NaN : given[i])), ...reply.shown.map(() => 0)];
        forgotten = Math.max(forgotten, known.length - (reply.readLast ?? Number.POSITIVE_INFINITY));
        expect(known.length).toBeGreaterThanOrEqual(start);
        if (reply.end) return { tokens: known.slice(prompt.length), own, logProbs, truncated: false };
      }
    };

    test.each([
      [1, false],
      [3, true],
      [40, false],
    ])('gets what whole passes over the rewritten context give, %i at a time', async (batchSize, late) => {
      const before = tf.memory().numTensors;
      const sampled = await generate(policy, prompts, { ...defaults, temperature: 0, maxTokens: 60, batchSize, onToken: rewriting(late) });
      const expected = new Map(questions.map((question) => [question, bySteps(question)]));
      sampled.forEach((sequence, i) => {
        const { logProbs, ...rest } = expected.get(prompts[i]) as SampledSequence;
        expect({ ...sequence, logProbs: [] }).toEqual({ ...rest, logProbs: [] });
        expectArraysClose(
          sequence.logProbs.map((p) => (Number.isNaN(p) ? 1 : p)),
          logProbs.map((p) => (Number.isNaN(p) ? 1 : p)),
          2e-5,
          `${i}`,
        );
      });
      expect(tf.memory().numTensors).toBe(before);
      const marks = sampled.flatMap(({ logProbs }) => logProbs.map(Number.isNaN));
      expect(new Set(marks)).toEqual(new Set([true, false]));
    });

    test.each([1, 2, 40])(
      'leaves nothing of a first turn, and its siblings still begin with the whole prompt, %i at a time',
      async (batchSize) => {
        const before = tf.memory().numTensors;
        const options = { ...defaults, temperature: 0, maxTokens: 60, batchSize };
        const asked = [...prompts.slice(0, 1), ...prompts.slice(0, 1), ...prompts.slice(0, 1), ...prompts.slice(1, 3)];
        const emptied = (ends: (sequence: number) => boolean) => {
          const turns = asked.map(() => 0);
          return (sequence: number): Reply => {
            const nothing = { takeBack: 1, own: [], shown: [], end: ends(sequence) };
            return turns[sequence]++ === 0 ? nothing : turns[sequence] === 5 ? 'end' : 'continue';
          };
        };
        const written = await generate(policy, asked, { ...options, onToken: emptied(() => false) });
        let count = 0;
        for (const [i, prompt] of asked.entries()) {
          count = 0;
          const [alone] = await generate(policy, [prompt], { ...options, onToken: () => (++count === 4 ? 'end' : 'continue') });
          expect(written[i].tokens).toEqual(alone.tokens);
        }
        const half = await generate(policy, asked, { ...options, onToken: emptied((sequence) => sequence % 2 === 0) });
        half.forEach(({ tokens }, i) => {
          expect(tokens).toEqual(i % 2 === 0 ? [] : written[i].tokens);
        });
        expect(tf.memory().numTensors).toBe(before);
      },
    );
  });
});
