/** Offline self-distillation: who reads what, and that an interrupted run leaves no trace. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import type { Loss, Paired } from '../../src/engines/engine.js';
import { NonFiniteError } from '../../src/non-finite.js';
import { forwardKlLoss } from '../../src/ofsd/loss.js';
import {
  batchesOf,
  checkOfsdSettings,
  classroomOfsd,
  type OfsdSettings,
  ofsd,
  opsdV3,
  pairedSequences,
  schedule,
  trainAdapter,
} from '../../src/ofsd/ofsd.js';
import { ownText, privilegedPrompt } from '../../src/ofsd/privileged-prompt.js';
import type { LoraOptions } from '../../src/policy/lora.js';
import { random } from '../../src/random.js';
import { classroomProtocol } from '../../src/rollout/protocol.js';
import { rollout, rolloutGroups } from '../../src/rollout/rollout.js';
import { type Pair, pairSiblings } from '../../src/siblings/siblings.js';
import { startBackend } from '../../src/tensors/backend.js';
import { scriptedEngine, shelf, tokenizer } from '../rollout/scripted.js';
import { taughtEngine, tinyEnvironment, tinyQuestions, weightsOf } from '../rollout/tiny-policy.js';

const question = { id: 'q', dataset: 'nq-mini', question: 'who is the author of Amber Falcon ?', goldenAnswers: ['Ada Stone'] };
const REFERENCE = '<search> Amber Falcon author</search><answer> Ada Stone</answer>';
const STUDENT = '<think> a</think><search> Falcon</search></search><answer> Eva</answer>';

const privilegedText = (asked: string, shown: string) => `<question> ${asked}</question><reference>${shown}</reference>`;

async function pairOf(): Promise<Pair> {
  const [reference, student] = await rollout(
    scriptedEngine([REFERENCE, STUDENT]),
    shelf('a book . author Ada Stone . publisher Mill Press .'),
    [question, question],
  );
  return { reference, student, distance: 1, reason: '' };
}

describe('what teacher and student score', () => {
  test("is the student's own tokens, the same ids for both, after another prompt", async () => {
    const pair = await pairOf();
    const { tokens, scored, teacher } = pairedSequences({ tokenizer }, classroomProtocol, pair);
    expect(tokenizer.decode(tokens)).toMatch(/^<question> who is the author of Amber Falcon \?<\/question><think> a<\/think>/);
    expect(teacher.scored.length).toBe(scored.length);
    expect(teacher.scored.map((t) => teacher.tokens[t])).toEqual(scored.map((t) => tokens[t]));
    expect(tokenizer.decode(scored.map((t) => tokens[t]))).toBe(STUDENT);
    // The same completion, passages and feedback included, follows both prompts.
    const completion = pair.student.tokens;
    expect(tokens.slice(-completion.length)).toEqual(completion);
    expect(teacher.tokens.slice(-completion.length)).toEqual(completion);
    expect(teacher.scored[0] - scored[0]).toBe(teacher.tokens.length - tokens.length);
  });

  test("shows the teacher the reference's own text and none of its passages", async () => {
    const pair = await pairOf();
    const { teacher } = pairedSequences({ tokenizer }, classroomProtocol, pair);
    const prompt = tokenizer.decode(teacher.tokens.slice(0, teacher.tokens.length - pair.student.tokens.length));
    expect(prompt).toBe(`<question> ${question.question}</question><reference>${REFERENCE}</reference>`);
    expect(prompt).not.toContain('publisher');
    expect(prompt).not.toContain('<information>');
    expect(ownText(pair.reference, tokenizer)).toBe(REFERENCE);
    expect(tokenizer.decode(pair.reference.tokens)).toContain('publisher');
  });

  test('is the same for both in the control without a reference', async () => {
    const { tokens, scored, teacher } = pairedSequences({ tokenizer }, classroomProtocol, await pairOf(), 'none');
    expect(teacher).toEqual({ tokens, scored });
    expect(privilegedPrompt(classroomProtocol, tokenizer, 'who ?', null)).toEqual(classroomProtocol.prompt('who ?'));
  });
});

test('the rate climbs over the warm-up and falls to a tenth at the last step', () => {
  const rates = Array.from({ length: 10 }, (_, i) => schedule(i, 10, 4));
  const expected = [0.25, 0.5, 0.75, 1, 1, 0.82, 0.64, 0.46, 0.28, 0.1];
  rates.forEach((rate, i) => {
    expect(rate).toBeCloseTo(expected[i], 12);
  });
  expect(schedule(0, 5, 0)).toBe(1);
  expect(schedule(4, 5, 0)).toBeCloseTo(0.1, 12);
  expect([0, 1, 2].map((i) => schedule(i, 3, 5))).toEqual([0.2, 0.4, 0.6]);
});

test('batches hold every pair once an epoch, in an order of their own', () => {
  const data = Array.from({ length: 10 }, (_, i) => i);
  const batches = batchesOf(data, { epochs: 3, batchSize: 4, seed: 1 });
  expect(batches.map((b) => b.length)).toEqual([4, 4, 2, 4, 4, 2, 4, 4, 2]);
  const epochs = [0, 3, 6].map((at) => batches.slice(at, at + 3).flat());
  for (const epoch of epochs) expect([...epoch].sort((a, b) => a - b)).toEqual(data);
  expect(epochs[0]).not.toEqual(epochs[1]);
  expect(batchesOf(data, { epochs: 3, batchSize: 4, seed: 1 })).toEqual(batches);
  expect(batchesOf(data, { epochs: 1, batchSize: 99, seed: 1 })).toHaveLength(1);
  // Their draw is named by seed, purpose and epoch, as every draw of a run is.
  expect(epochs).toEqual([0, 1, 2].map((epoch) => random(1, 'ofsd', epoch).shuffle(data)));
});

test('OPSD v3 is named with what its authors published: rank, alpha, clip, rate, batch (siyan-zhao/OPSD, March 2026)', () => {
  expect(opsdV3).toMatchObject({
    rank: 64,
    alpha: 128,
    clamp: 0.05,
    batchSize: 32,
    optimizer: { learningRate: 5e-6, beta2: 0.999, clipNorm: 0.1 },
  });
  for (const settings of [opsdV3, classroomOfsd]) checkOfsdSettings(settings);
  expect(forwardKlLoss([], opsdV3).name).toBe('forward_kl');
});

test.each<[string, Record<string, unknown>, string]>([
  ['a clamp of 0, which passes no gradient', { clamp: 0 }, 'ofsd.clamp: expected nats above 0, or Infinity for none, got 0'],
  ['a clamp that is no number', { clamp: Number.NaN }, 'ofsd.clamp'],
  ['an unknown teacher', { privileged: 'answer' }, `ofsd.privileged: expected 'reference' or 'none', got "answer"`],
  ['no epoch', { epochs: 0 }, 'ofsd.epochs: expected an integer of at least 1, got 0'],
  ['empty batches', { batchSize: 0 }, 'ofsd.batchSize: expected an integer of at least 1, got 0'],
  ['a rank of 0', { rank: 0 }, 'ofsd.rank: expected an integer of at least 1, got 0'],
  ['a warm-up of less than no step', { warmUpSteps: -1 }, 'ofsd.warmUpSteps: expected an integer of at least 0, got -1'],
  ['a seed below 0', { seed: -1 }, 'ofsd.seed: expected an integer of at least 0, got -1'],
  ['an alpha of 0, which is no adapter', { alpha: 0 }, 'ofsd.alpha: expected a number above 0, got 0'],
  ['an alpha below 0', { alpha: -1 }, 'ofsd.alpha'],
  ['an alpha without end', { alpha: Number.POSITIVE_INFINITY }, 'ofsd.alpha'],
  ['an alpha that is no number', { alpha: Number.NaN }, 'ofsd.alpha'],
  ['a rate below 0', { optimizer: { learningRate: -1 } }, 'ofsd.optimizer.learningRate: expected a number of at least 0, got -1'],
  ['a rate without end', { optimizer: { learningRate: Number.POSITIVE_INFINITY } }, 'ofsd.optimizer.learningRate'],
  ['a rate that is no number', { optimizer: { learningRate: Number.NaN } }, 'ofsd.optimizer.learningRate'],
  ['no optimiser', { optimizer: undefined }, 'ofsd.optimizer.learningRate: expected a number of at least 0, got undefined'],
])('%s is refused', (_, change, message) => {
  expect(() => checkOfsdSettings({ ...classroomOfsd, ...change } as OfsdSettings)).toThrow(message);
});

test('settings at their bounds are let in', () => {
  const { optimizer } = classroomOfsd;
  checkOfsdSettings({ ...classroomOfsd, epochs: 1, batchSize: 1, rank: 1, warmUpSteps: 0, seed: 0, clamp: Number.POSITIVE_INFINITY });
  checkOfsdSettings({ ...classroomOfsd, alpha: 1e-9, optimizer: { ...optimizer, learningRate: 0 }, privileged: 'none' });
});

describe('distillation of a tiny policy', () => {
  let engine: Awaited<ReturnType<typeof taughtEngine>>;
  let pairs: readonly Pair[];
  let before: Awaited<ReturnType<typeof weightsOf>>;
  const settings: OfsdSettings = {
    ...classroomOfsd,
    epochs: 8,
    batchSize: 4,
    optimizer: { ...classroomOfsd.optimizer, learningRate: 0.02 },
  };

  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    engine = await taughtEngine();
    const groups = await rolloutGroups(engine, tinyEnvironment, tinyQuestions, 6, { seed: 1, maxTokens: 60 });
    pairs = pairSiblings(groups).pairs;
    expect(pairs.length).toBeGreaterThan(1);
  });
  beforeEach(async () => {
    before = await weightsOf(engine);
  });
  afterAll(() => engine.dispose());

  test('stopped or failed, leaves the policy bit for bit as it was', async () => {
    const abort = new AbortController();
    await expect(
      ofsd(engine, tinyEnvironment.protocol, pairs, settings, {
        signal: abort.signal,
        onStep: ({ step }) => {
          if (step === 2) abort.abort(new Error('stop'));
        },
      }),
    ).rejects.toThrow('stop');
    expect(engine.policy.adapter).toBeNull();
    expect(await weightsOf(engine)).toEqual(before);
    await expect(
      ofsd(engine, tinyEnvironment.protocol, pairs, settings, {
        onStep: () => {
          throw new Error('disk full');
        },
      }),
    ).rejects.toThrow('disk full');
    expect(await weightsOf(engine)).toEqual(before);
    await expect(ofsd(engine, tinyEnvironment.protocol, [], settings)).rejects.toThrow(/at least one pair/);
  });

  test('interrupted within a step, makes way for one that is started at once', async () => {
    const abort = new AbortController();
    const { forwardBackward } = engine;
    let fired = () => {};
    const firing = new Promise<void>((resolve) => {
      fired = resolve;
    });
    const stopping = {
      ...engine,
      forwardBackward(...given: Parameters<typeof forwardBackward>) {
        abort.abort(new Error('stop'));
        fired();
        return forwardBackward(...given);
      },
    };
    const over = ofsd(stopping, tinyEnvironment.protocol, pairs, settings, { signal: abort.signal }).catch((error: unknown) => error);
    await firing;
    const again = await ofsd(stopping, tinyEnvironment.protocol, pairs, { ...settings, optimizer: { learningRate: 0 } });
    expect(await over).toMatchObject({ message: 'stop' });
    expect(again.length).toBeGreaterThan(1);
    expect(await weightsOf(engine)).toEqual(before);
  });

  /** Distils without moving the weights; what the engine was asked for. */
  async function still(change: Partial<OfsdSettings>) {
    const losses: Loss[] = [];
    const adapters: LoraOptions[] = [];
    const spy = {
      ...engine,
      addAdapter(options: LoraOptions) {
        adapters.push(options);
        engine.addAdapter(options);
      },
      forwardBackward(loss: Loss) {
        losses.push(loss);
        return engine.forwardBackward(loss);
      },
    };
    const optimizer = { ...settings.optimizer, learningRate: 0 };
    const history = await ofsd(spy, tinyEnvironment.protocol, pairs, { ...settings, epochs: 1, optimizer, ...change });
    return { data: losses.flatMap(({ data }) => data as readonly Paired[]), adapters, history };
  }

  test('shows every teacher the reference of its own pair', async () => {
    const { data } = await still({});
    const shown = ({ tokens, teacher }: Paired) => {
      const completion = pairs.map(({ student }) => student).find((s) => tokens.join().endsWith([...s.prompt, ...s.tokens].join()));
      return tokenizer.decode(teacher.tokens.slice(0, teacher.tokens.length - (completion?.tokens.length ?? 0)));
    };
    expect(new Set(pairs.map(({ reference }) => ownText(reference, tokenizer))).size).toBeGreaterThan(1);
    const expected = pairs.map(({ student, reference }) => privilegedText(student.question.question, ownText(reference, tokenizer)));
    expect(data.map(shown).sort()).toEqual(expected.sort());
  });

  test('minimises the divergence itself where the clamp is off, and less than it where a clamp binds', async () => {
    const [off, low] = [await still({ clamp: Number.POSITIVE_INFINITY }), await still({ clamp: 1e-3 })];
    for (const { loss, kl_unclamped } of off.history) expect(Math.abs(loss - kl_unclamped)).toBeLessThan(1e-6);
    for (const [i, { loss, kl_unclamped }] of low.history.entries()) {
      expect(kl_unclamped).toBeCloseTo(off.history[i].kl_unclamped, 6);
      expect(loss).toBeLessThan(kl_unclamped - 1e-4);
    }
  });

  test('adds the adapter that is set: its rank, its alpha, its draw', async () => {
    expect((await still({ rank: 3, alpha: 7, seed: 11 })).adapters).toEqual([{ rank: 3, alpha: 7, seed: 11 }]);
  });

  test('goes on after a step that was saved as if never interrupted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
    const short = { ...settings, epochs: 2 };
    try {
      const whole = await ofsd(engine, tinyEnvironment.protocol, pairs, short, {
        onStep: ({ step }) => engine.save(join(folder, String(step))),
      });
      const after = await weightsOf(engine);
      for (const step of [1, 2, whole.length]) {
        // after the last step there is only the merging left
        restore(engine, before);
        const rest = await ofsd(engine, tinyEnvironment.protocol, pairs, short, { from: { step, folder: join(folder, String(step)) } });
        expect(rest).toEqual(whole.slice(step));
        expect(await weightsOf(engine)).toEqual(after);
      }
      for (const step of [0, 1.5, whole.length + 1])
        await expect(ofsd(engine, tinyEnvironment.protocol, pairs, short, { from: { step, folder } })).rejects.toThrow(
          `from.step: expected a step from 1 to ${whole.length}, got ${step}`,
        );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    restore(engine, before);
  });

  test('takes its steps at the rate that is set times the schedule, hands its signal on, and needs nobody who listens', async () => {
    const signals: unknown[] = [];
    const rates: unknown[] = [];
    const spy = {
      ...engine,
      forwardBackward(loss: Loss, options?: { readonly signal?: AbortSignal }) {
        signals.push(options?.signal);
        return engine.forwardBackward(loss, options);
      },
      optimStep(given: Parameters<typeof engine.optimStep>[0]) {
        rates.push(given.learningRate);
        return engine.optimStep({ ...given, learningRate: 0 });
      },
    };
    const { signal } = new AbortController();
    const data = pairs.map((pair) => pairedSequences(engine, tinyEnvironment.protocol, pair));
    const few = { ...settings, epochs: 2, warmUpSteps: 2 };
    await trainAdapter(spy, data, (batch) => forwardKlLoss(batch, few), few, { signal });
    expect(rates.length).toBeGreaterThan(2);
    expect(rates).toEqual(rates.map((__, i) => 0.02 * schedule(i, rates.length, 2)));
    expect(signals).toEqual(rates.map(() => signal));
    expect(await weightsOf(engine)).toEqual(before);
  });

  test('a number that is not finite is named with the step, and leaves the weights of before; other errors are passed on', async () => {
    const failing = async (at: number, spoil: (loss: Loss) => Promise<Loss>) => {
      let calls = 0;
      const spy = {
        ...engine,
        forwardBackward: async (loss: Loss, options?: object) => engine.forwardBackward(++calls === at ? await spoil(loss) : loss, options),
      };
      return ofsd(spy, tinyEnvironment.protocol, pairs, settings).catch((e: unknown) => e);
    };
    const nan = async (loss: Loss) => {
      // biome-ignore lint/suspicious/noExplicitAny: whichever loss it is
      const { perToken } = loss as any;
      const spoilt = (...given: unknown[]) => ({ ...perToken(...given), loss: tf.mul(perToken(...given).loss, Number.NaN) });
      return { ...loss, perToken: spoilt } as Loss;
    };
    const total = batchesOf(pairs, settings).length;
    const error = await failing(2, nan);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as Error).message).toMatch(
      new RegExp(
        `^step 2 of ${total} of the adapter: .*loss of .* is NaN, expected a finite number; the weights are those before the adapter, which is taken off; a lower learning rate may help$`,
      ),
    );
    expect(engine.policy.adapter).toBeNull();
    expect(await weightsOf(engine)).toEqual(before);
    const full = new RangeError('the disk is full');
    expect(await failing(1, () => Promise.reject(full))).toBe(full);
  });

  test('refuses settings that cannot be meant, and no pairs at all', async () => {
    const refused = (change: Partial<OfsdSettings>, given = pairs) =>
      ofsd(engine, tinyEnvironment.protocol, given, { ...settings, ...change });
    await expect(refused({ clamp: -1 })).rejects.toThrow('ofsd.clamp: expected nats above 0');
    await expect(refused({ seed: 0.5 })).rejects.toThrow('ofsd.seed: expected an integer of at least 0, got 0.5');
    await expect(refused({}, [])).rejects.toThrow(/at least one pair/);
    await expect(trainAdapter(engine, [], crossEntropyLoss, settings)).rejects.toThrow(/at least one sequence/);
    await expect(trainAdapter(engine, [], crossEntropyLoss, { ...settings, rank: 0 })).rejects.toThrow('ofsd.rank');
  });

  test('without a reference in the teacher, has nothing to learn', async () => {
    const history = await ofsd(engine, tinyEnvironment.protocol, pairs, { ...settings, epochs: 1, privileged: 'none' });
    for (const { loss, kl_unclamped, grad_norm } of history.slice(0, 1)) {
      expect(Math.abs(loss)).toBeLessThan(1e-6);
      expect(Math.abs(kl_unclamped)).toBeLessThan(1e-6);
      expect(grad_norm).toBeLessThan(1e-4);
    }
    restore(engine, before);
  });

  test('brings the student to the teacher, on the same tokens, and merges what it learned', async () => {
    const history = await ofsd(engine, tinyEnvironment.protocol, pairs, settings);
    const perEpoch = Math.ceil(pairs.length / 4);
    expect(history.map(({ step }) => step)).toEqual(Array.from({ length: 8 * perEpoch }, (_, i) => i + 1));
    const mean = (values: readonly { kl_unclamped: number }[]) =>
      values.reduce((sum, { kl_unclamped }) => sum + kl_unclamped, 0) / values.length;
    expect(mean(history.slice(-perEpoch))).toBeLessThan(0.7 * mean(history.slice(0, perEpoch)));
    expect(engine.policy.adapter).toBeNull();
    expect(await weightsOf(engine)).not.toEqual(before);
  });
});

function restore(engine: Awaited<ReturnType<typeof taughtEngine>>, values: Awaited<ReturnType<typeof weightsOf>>): void {
  for (const [name, weight] of engine.policy.weights) tf.tidy(() => weight.assign(tf.tensor(values[name], weight.shape)));
}
