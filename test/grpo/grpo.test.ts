/** The GRPO loop on a tiny policy: which questions, which groups train, which reference, what is reported. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import type { Engine, Loss, Scored } from '../../src/engines/engine.js';
import { type InProcessEngine, inProcessEngine } from '../../src/engines/in-process.js';
import { type GrpoMetrics, grpo, questionsOfStep, rolloutMetrics } from '../../src/grpo/grpo.js';
import { type GrpoDatum, grpoLoss } from '../../src/grpo/loss.js';
import { classroomGrpo, type GrpoSettings } from '../../src/grpo/settings.js';
import { NonFiniteError } from '../../src/non-finite.js';
import { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import type { Group } from '../../src/rollout/trajectory.js';
import type { AdamWSettings } from '../../src/tensors/adamW.js';
import { startBackend } from '../../src/tensors/backend.js';
import { expectArraysClose } from '../policy/xs.js';
import { tokenizer } from '../rollout/scripted.js';
import { taughtEngine, tinyConfig, tinyEnvironment, tinyQuestions, weightsOf } from '../rollout/tiny-policy.js';

const settings: GrpoSettings = {
  ...classroomGrpo,
  steps: 2,
  questionsPerStep: 4,
  groupSize: 4,
  warmUpSteps: 5,
  optimizer: { ...classroomGrpo.optimizer, learningRate: 0.01 },
};

/** Nothing moves. */
const still: GrpoSettings = { ...settings, optimizer: { ...settings.optimizer, learningRate: 0 } };

test('questions come in passes over the whole set, each shuffled anew', () => {
  const questions = tinyQuestions;
  const drawn = Array.from({ length: 6 }, (_, step) => questionsOfStep(questions, step, { questionsPerStep: 4, seed: 1 })).flat();
  const passes = [0, 6, 12, 18].map((at) => drawn.slice(at, at + 6).map(({ id }) => id));
  for (const pass of passes) expect([...pass].sort()).toEqual(questions.map(({ id }) => id));
  expect(new Set(passes.map((pass) => pass.join())).size).toBeGreaterThan(1);
  const [one, other] = [1, 2].map((seed) => questionsOfStep(questions, 0, { questionsPerStep: 6, seed }).map(({ id }) => id));
  expect(one).not.toEqual(other);
  expect(one).not.toEqual(questions.map(({ id }) => id));
  expect(questionsOfStep(questions, 0, { questionsPerStep: 15, seed: 1 })).toEqual(drawn.slice(0, 15));
  expect(questionsOfStep(questions, 3, { questionsPerStep: 5, seed: 1 })).toEqual(drawn.slice(15, 20));
  expect(questionsOfStep(questions, 0, { questionsPerStep: 100_000, seed: 1 })).toHaveLength(100_000);
  // By name, so that a recorded run can be drawn again.
  expect(drawn.slice(6, 12)).toEqual(random(1, 'questions', 1).shuffle(questions));
  expect(() => questionsOfStep([], 0, { questionsPerStep: 1, seed: 1 })).toThrow(/at least one question/);
});

describe('training a tiny policy', () => {
  let engine: InProcessEngine;
  let taught: Map<string, Float32Array>;
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    engine = await taughtEngine();
    taught = await engine.policy.values();
  });
  beforeEach(() => {
    engine.dispose();
    engine = inProcessEngine(Policy.fromValues(tinyConfig, taught), tokenizer);
  });
  afterAll(() => engine.dispose());

  /** Runs and keeps what the engine was asked to learn. */
  async function spied(change: Partial<GrpoSettings> = {}, startStep = 0, questions = tinyQuestions) {
    const losses: Loss[] = [];
    const groups: (readonly Group[])[] = [];
    const { forwardBackward } = engine;
    const spy = {
      ...engine,
      forwardBackward(loss: Loss) {
        losses.push(loss);
        return forwardBackward(loss);
      },
    };
    const history = await grpo(
      spy,
      tinyEnvironment,
      questions,
      { ...settings, ...change },
      { startStep, onStep: (_, g) => void groups.push(g) },
    );
    return { losses, groups, history, data: losses.map(({ data }) => data as readonly Required<GrpoDatum>[]) };
  }

  test('compares distributions at the temperature of sampling', async () => {
    const { data, history } = await spied({ steps: 1, temperature: 0.6, miniBatches: 1, optimizer: still.optimizer });
    const [batch] = data;
    expect(batch.length).toBeGreaterThan(0);
    const [warm, plain] = [await engine.forward(batch, 'current', 0.6), await engine.forward(batch)];
    batch.forEach(({ oldLogProbs, referenceLogProbs }, i) => {
      for (const [t, p] of warm[i].entries()) {
        expect(oldLogProbs[t]).toBeCloseTo(p, 4);
        expect(referenceLogProbs[t]).toBeCloseTo(p, 4);
      }
    });
    expect(batch.some(({ oldLogProbs }, i) => plain[i].some((p, t) => Math.abs(p - oldLogProbs[t]) > 0.01))).toBe(true);
    expect(history[0].kl).toBeCloseTo(0, 6);
    expect(history[0].clip_ratio).toBe(0);
    await expect(spied({ temperature: 0 })).rejects.toThrow(/^temperature: expected a number above 0, got 0/);
  });

  test('learns from every attempt of every group once, own tokens only; those of a group that scored the same have no advantage', async () => {
    const hopeless = tinyQuestions.map((q, i) => (i % 2 ? q : { ...q, goldenAnswers: ['Mill'] }));
    const { groups, data } = await spied({ steps: 1, questionsPerStep: 6 }, 0, hopeless);
    const mixed = groups[0].map(({ trajectories }) => new Set(trajectories.map(({ reward }) => reward)).size > 1);
    expect(mixed).toContain(true);
    expect(mixed).toContain(false);
    expect(data.flat()).toHaveLength(6 * 4);
    const sizes = data.map((part) => part.length);
    expect(sizes).toEqual([12, 12]);
    for (const [g, { trajectories }] of groups[0].entries())
      for (const { prompt, tokens, own, logProbs, reward } of trajectories) {
        const datum = data
          .flat()
          .find(
            (d) => d.tokens.join() === [...prompt, ...tokens].join() && Math.sign(d.advantage) === (mixed[g] ? Math.sign(reward - 0.5) : 0),
          ) as Required<GrpoDatum>;
        expect(datum.scored).toEqual(own.flatMap((is, t) => (is ? [prompt.length + t] : [])));
        expect(Array.from(datum.oldLogProbs)).toEqual(logProbs.filter((_, t) => own[t]));
        expect(datum.referenceLogProbs).toHaveLength(datum.scored.length);
      }
  });

  test('draws the episodes of each step, and of each seed, from a seed of their own, and the same again', async () => {
    const seedsOf = async (seed: number) => {
      const seeds: number[] = [];
      const spy: Engine = {
        ...engine,
        sample(prompts, options) {
          seeds.push(options.seed);
          expect(options.temperature).toBe(0.7);
          return engine.sample(prompts, options);
        },
      };
      await grpo(spy, tinyEnvironment, tinyQuestions, { ...still, steps: 3, temperature: 0.7, seed });
      return seeds;
    };
    const [first, again, other] = [await seedsOf(1), await seedsOf(1), await seedsOf(2)];
    expect(new Set([...first, ...other]).size).toBe(6);
    expect(again).toEqual(first);
    expect(first).toEqual([0, 1, 2].map((step) => random(1, 'grpo', step).integer(2 ** 31))); // by name, so that a recorded run can be drawn again
  });

  test('shuffles the attempts into mini-batches, anew each step', async () => {
    const { data, groups } = await spied({ ...still, steps: 2 });
    const places = [0, 1].map((step) => {
      const attempts = groups[step].flatMap(({ trajectories }) => trajectories);
      const lines = attempts.map(({ prompt, tokens }) => [...prompt, ...tokens].join());
      const taken = new Set<number>();
      return data.slice(2 * step, 2 * step + 2).map((part) =>
        part.map(({ tokens, oldLogProbs }) => {
          const at = lines.findIndex((line, i) => !taken.has(i) && line === tokens.join() && attempts[i].logProbs.includes(oldLogProbs[0]));
          taken.add(at);
          return at;
        }),
      );
    });
    for (const parts of places) {
      expect([...parts.flat()].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i));
      // Neither cut in the middle nor dealt out in turn, as they would be in order.
      expect(parts[0]).not.toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(parts[0]).not.toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    }
    expect(places[0]).not.toEqual(places[1]);
    // By name, and dealt out in turn.
    const texts = groups[1].flatMap(({ trajectories }) => trajectories.map(({ prompt, tokens }) => [...prompt, ...tokens].join()));
    const order = random(settings.seed, 'mini-batches', 1).shuffle(texts);
    for (const part of [0, 1]) expect(data[2 + part].map(({ tokens }) => tokens.join())).toEqual(order.filter((_, i) => i % 2 === part));
  });

  test('holds every step to the policy of the start, not to the one that the step before left', async () => {
    const start = engine.snapshot();
    const { data } = await spied({ steps: 2, optimizer: { ...settings.optimizer, learningRate: 0.05 } });
    const last = data[3];
    const [atStart, byNow] = [await engine.forward(last, start), await engine.forward(last)];
    last.forEach(({ referenceLogProbs }, i) => {
      expectArraysClose(referenceLogProbs, atStart[i], 1e-5, `sequence ${i}`);
    });
    expect(atStart.some((row, i) => row.some((p, t) => Math.abs(p - byNow[i][t]) > 0.01))).toBe(true);
    start.dispose();
  });

  test('with an adapter on, the policy of the start has it on: no divergence in the first step, and some later', async () => {
    engine.addAdapter({ rank: 2, alpha: 4, seed: 1 });
    const elsewhere = [{ tokens: [5, 6, 7, 8], scored: [1, 2, 3] }];
    for (let i = 0; i < 3; i++) {
      await engine.forwardBackward(crossEntropyLoss(elsewhere));
      await engine.optimStep({ learningRate: 0.05 });
    }
    const [adapted, bare] = [await engine.forward(elsewhere), await engine.forward(elsewhere, 'frozen')];
    expect(Math.abs(adapted[0][0] - bare[0][0])).toBeGreaterThan(0.1);
    const { history } = await spied({ steps: 3, miniBatches: 1 });
    expect(Math.abs(history[0].kl as number)).toBeLessThan(1e-6);
    expect(history[2].kl).toBeGreaterThan(1e-6);
    engine.dropAdapter();
  });

  test('takes no snapshot where a reference is given, and asks it at the temperature of sampling', async () => {
    const reference = engine.snapshot();
    const asked: unknown[] = [];
    const signal = new AbortController().signal;
    const spy: Engine = {
      ...engine,
      snapshot() {
        throw new Error('there is a reference');
      },
      forward(data, weights, temperature) {
        asked.push([weights === reference, temperature]);
        return engine.forward(data, weights, temperature);
      },
      sample(prompts, options) {
        asked.push(options.signal === signal);
        return engine.sample(prompts, options);
      },
    };
    await grpo(spy, tinyEnvironment, tinyQuestions, { ...settings, steps: 1, temperature: 0.8 }, { reference, signal });
    expect(asked).toEqual([true, [true, 0.8]]);
    expect(await engine.forward([{ tokens: [1, 2], scored: [1] }], reference)).toHaveLength(1); // it is the caller's still
    reference.dispose();
  });

  test('interrupted while the reference reads, learns nothing', async () => {
    const abort = new AbortController();
    const refuse = () => {
      throw new Error('nothing is to be learned');
    };
    const spy: Engine = {
      ...engine,
      forward(...given) {
        abort.abort(new Error('enough'));
        return engine.forward(...given);
      },
      forwardBackward: refuse,
    };
    await expect(grpo(spy, tinyEnvironment, tinyQuestions, settings, { signal: abort.signal })).rejects.toThrow('enough');
  });

  test('with a beta of 0 neither takes nor computes a reference, and reports no divergence, but trains', async () => {
    const before = await weightsOf(engine);
    const refuse = () => {
      throw new Error('there is no reference at beta 0');
    };
    const given = engine.snapshot();
    for (const reference of [undefined, given]) {
      const [metrics] = await grpo(
        { ...engine, snapshot: refuse, forward: refuse },
        tinyEnvironment,
        tinyQuestions,
        { ...settings, steps: 1, beta: 0 },
        { reference },
      );
      expect(metrics).not.toHaveProperty('kl');
      expect(metrics.entropy).toBeGreaterThan(0);
      expect(metrics.grad_norm).toBeGreaterThan(0);
    }
    given.dispose();
    expect(await weightsOf(engine)).not.toEqual(before);
  });

  test.each(['grpo', 'bnpo', 'dr_grpo', 'dapo'] as const)(
    'divides by %s’s count, of all groups, and reports the step’s loss by it',
    async (aggregation) => {
      const { data, history, losses } = await spied({
        ...still,
        steps: 1,
        miniBatches: 3,
        aggregation,
        maxCompletionLength: 40,
        beta: 0.5,
      });
      const tokens = data.map((part) => part.reduce((sum, { scored }) => sum + scored.length, 0));
      const all = tokens[0] + tokens[1] + tokens[2];
      const divisors = {
        grpo: [6, 5, 5],
        bnpo: tokens,
        dr_grpo: [240, 200, 200],
        dapo: [all / 3, all / 3, all / 3],
      }[aggregation];
      expect(losses.map(({ divisor }) => divisor)).toEqual(divisors);
      const whole = grpoLoss(data.flat(), { ...settings, aggregation, maxCompletionLength: 40, beta: 0.5 });
      expect(history[0].loss).toBeCloseTo((await engine.forwardBackward(whole)).loss, 5);
      engine.resetOptimizer();
    },
  );

  test('tells the loss its own settings: both clips, the correction, the deviation', async () => {
    const change = { clipLow: 0.1, clipHigh: 0.4, beta: 0.5, biasCorrectedKl: true, deviation: 'none' as const };
    const { data, losses, groups } = await spied({ ...still, steps: 1, ...change });
    const centred = groups[0].flatMap(({ trajectories }) => {
      const mean = trajectories.reduce((sum, { reward }) => sum + reward, 0) / trajectories.length;
      return trajectories.map(({ reward }) => reward - mean);
    });
    expect(
      data
        .flat()
        .map(({ advantage }) => advantage)
        .sort(),
    ).toEqual(centred.sort());
    const logProbs = tf.tensor1d([-1, -1, -1, -1]);
    const probe = [
      {
        tokens: [0, 1, 2, 3, 4],
        scored: [1, 2, 3, 4],
        advantage: 1,
        oldLogProbs: [-1.3, -1.4, -2, -0.7],
        referenceLogProbs: [-1, -1, -2, -1],
      },
    ];
    const asked = losses[0] as ReturnType<typeof grpoLoss>;
    // Only asked about the data it was made of, a loss answers for any with old and reference log-probabilities.
    expectArraysClose(
      asked.perToken(logProbs, probe).loss.dataSync(),
      grpoLoss(probe, { ...settings, ...change })
        .perToken(logProbs, probe)
        .loss.dataSync(),
      0,
      'loss',
    );
  });

  test('reports means over the step: of its mini-batches by their tokens, of their gradients’ norms each as one', async () => {
    let calls = 0;
    const tokens: number[] = [];
    const rates: AdamWSettings[] = [];
    const scripted: Engine = {
      ...engine,
      async forwardBackward({ data }) {
        const part = calls++;
        tokens.push(data.reduce((sum: number, { scored }: Scored) => sum + scored.length, 0));
        return { loss: part, tokens: tokens[part], metrics: { entropy: 1 + part, kl: 10 + part, clip_ratio: part / 4, other: 7 } };
      },
      async optimStep(given) {
        rates.push(given);
        return { gradNorm: rates.length };
      },
    };
    const [metrics] = await grpo(scripted, tinyEnvironment, tinyQuestions, {
      ...settings,
      steps: 1,
      miniBatches: 3,
      aggregation: 'bnpo',
      seed: 2,
    });
    const weighted = (values: readonly number[]) =>
      values.reduce((sum, v, i) => sum + v * tokens[i], 0) / (tokens[0] + tokens[1] + tokens[2]);
    expect(new Set(tokens).size).toBeGreaterThan(1);
    expect(metrics.loss).toBeCloseTo(weighted([0, 1, 2]), 10);
    expect(metrics.entropy).toBeCloseTo(weighted([1, 2, 3]), 10);
    expect(metrics.kl).toBeCloseTo(weighted([10, 11, 12]), 10);
    expect(metrics.clip_ratio).toBeCloseTo(weighted([0, 0.25, 0.5]), 10);
    expect(metrics.grad_norm).toBeCloseTo(2, 10);
    expect(metrics).not.toHaveProperty('other');
    expect(rates).toEqual([1, 2, 3].map((n) => ({ ...settings.optimizer, learningRate: 0.01 * (n / 5) })));
  });

  test('without warm-up begins at the full rate', async () => {
    const { history } = await spied({ steps: 1, warmUpSteps: 0 });
    expect(history[0].learning_rate).toBe(0.01);
  });

  test('has no more mini-batches than attempts', async () => {
    const { data } = await spied({ ...still, steps: 1, questionsPerStep: 1, groupSize: 2, miniBatches: 5 });
    expect(data.map((part) => part.length)).toEqual([1, 1]);
  });

  test('tells of its rollouts and steps in order, with the time that each half took', async () => {
    const said: string[] = [];
    const begun = performance.now();
    const history = await grpo(
      engine,
      tinyEnvironment,
      tinyQuestions,
      { ...still, steps: 3 },
      {
        startStep: 1,
        onRollouts: (step, finished, total) => {
          if (finished === total) said.push(`${total} attempts of step ${step}`);
        },
        async onStep({ step }, groups) {
          await new Promise((resolve) => setTimeout(resolve, 5));
          said.push(`step ${step} of ${groups.length} questions`);
        },
      },
    );
    const taken = (performance.now() - begun) / 1000;
    expect(said).toEqual(['16 attempts of step 1', 'step 2 of 4 questions', '16 attempts of step 2', 'step 3 of 4 questions']);
    const sum = history.reduce((total, m) => total + m.seconds_sampling + m.seconds_training, 0);
    expect(sum).toBeLessThanOrEqual(taken);
    expect(sum).toBeGreaterThan(taken / 4);
    for (const m of history) expect(Math.min(m.seconds_sampling, m.seconds_training)).toBeGreaterThan(0);
  });

  test('nothing to do is done at once', async () => {
    const refuse = () => {
      throw new Error('nothing is to be sampled');
    };
    expect(await grpo({ ...engine, sample: refuse }, tinyEnvironment, tinyQuestions, settings, { startStep: 2 })).toEqual([]);
  });

  test.each([
    [{ groupSize: 1 }, {}, /^groupSize: expected a whole number from 2, got 1/],
    [{}, { startStep: -1 }, /^startStep: expected a whole number from 0, got -1/],
    [{}, { startStep: 0.5 }, /^startStep: expected a whole number from 0, got 0.5/],
  ])('refuses %j with %j before it takes a snapshot', async (change, options, message) => {
    const before = tf.memory().numTensors;
    await expect(grpo(engine, tinyEnvironment, tinyQuestions, { ...settings, ...change }, options)).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('refuses to train on no question', async () => {
    await expect(grpo(engine, tinyEnvironment, [], settings)).rejects.toThrow(new RangeError('GRPO needs at least one question, got none'));
  });

  describe('a number that is not finite', () => {
    /** Trains three steps of two mini-batches, of which the n-th has a loss of NaN. */
    async function broken(call: number, part: Partial<Engine> = {}) {
      let calls = 0;
      const states = [await weightsOf(engine)];
      const spy: Engine = {
        ...engine,
        async forwardBackward(loss, options) {
          return engine.forwardBackward(++calls === call ? ({ ...loss, perToken: spoilt(loss) } as Loss) : loss, options);
        },
        async optimStep(given) {
          const done = await engine.optimStep(given);
          states.push(await weightsOf(engine));
          return done;
        },
        ...part,
      };
      const error = await grpo(spy, tinyEnvironment, tinyQuestions, { ...settings, steps: 3 }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(NonFiniteError);
      expect(await weightsOf(engine)).toEqual(states[states.length - 1]);
      return { message: (error as Error).message, updates: states.length - 1 };
    }
    // biome-ignore lint/suspicious/noExplicitAny: whichever loss it is
    const spoilt = (loss: any) => (logProbs: tf.Tensor1D, chunk: unknown) => ({
      ...loss.perToken(logProbs, chunk),
      loss: tf.mul(logProbs, Number.NaN),
    });
    test('in the first mini-batch of a step is named with the step, and leaves the weights of the step before', async () => {
      const { message, updates } = await broken(3);
      expect(message).toMatch(
        /^GRPO step 2, mini-batch 1 of 2: grpo: loss of .* is NaN, expected a finite number; the weights are those after step 1; a lower learning rate may help$/,
      );
      expect(updates).toBe(2);
    });

    test('at the start leaves the weights of the start', async () => {
      const { message, updates } = await broken(1);
      expect(message).toMatch(/^GRPO step 1, mini-batch 1 of 2: .*; the weights are those of the start; /);
      expect(updates).toBe(0);
    });

    test('in a later mini-batch leaves the weights of the mini-batch before', async () => {
      const { message, updates } = await broken(4);
      expect(message).toMatch(/^GRPO step 2, mini-batch 2 of 2: .*; the weights are those after mini-batch 1 of this step; /);
      expect(updates).toBe(3);
    });

    test('among the reference’s log-probabilities is named with the step', async () => {
      const forward: Engine['forward'] = async (data) => data.map(({ scored }) => new Float32Array(scored.length).fill(Number.NaN));
      const { message } = await broken(9, { forward });
      expect(message).toMatch(/^GRPO step 1, mini-batch 1 of 2: GRPO: referenceLogProbs of sequence 0: element 0 is NaN/);
    });

    test('among the rollouts is named with the step', async () => {
      const sample: Engine['sample'] = async () => {
        throw new NonFiniteError('logits', Number.NaN, 3);
      };
      const { message } = await broken(9, { sample });
      expect(message).toMatch(/^GRPO step 1: logits: element 3 is NaN, .*; the weights are those of the start/);
    });
  });

  test('passes on other errors as they are', async () => {
    const failing: Engine = {
      ...engine,
      async optimStep() {
        throw new RangeError('the disk is full');
      },
    };
    await expect(grpo(failing, tinyEnvironment, tinyQuestions, settings)).rejects.toThrow(new RangeError('the disk is full'));
    engine.resetOptimizer();
  });

  test('starts on policy: ratio 1, no clipping, no divergence from the reference that it began with', async () => {
    const { history, data } = await spied({ steps: 1, miniBatches: 1 });
    expect(history[0].clip_ratio).toBe(0);
    expect(Math.abs(history[0].kl as number)).toBeLessThan(1e-6);
    for (const { oldLogProbs, referenceLogProbs } of data.flat()) {
      Array.from(oldLogProbs).forEach((p, i) => {
        expect(Math.abs(p - referenceLogProbs[i])).toBeLessThan(1e-4);
      });
    }
    const { history: later } = await spied({ steps: 3, seed: 2 });
    expect(later[2].kl).toBeGreaterThan(0);
  });

  test('warms up by optimiser steps, counted over the whole stage', async () => {
    const { history } = await spied({ steps: 3 });
    // Two mini-batches a step: the last of each step is the second, fourth and sixth of five.
    expect(history.map(({ learning_rate }) => learning_rate)).toEqual([0.01 * (2 / 5), 0.01 * (4 / 5), 0.01]);
    expect(history.map(({ step }) => step)).toEqual([1, 2, 3]);
    const { history: resumed } = await spied({ steps: 3 }, 2);
    expect(resumed.map(({ step, learning_rate }) => [step, learning_rate])).toEqual([[3, 0.01]]);
  });

  test('without a group that scored differently is held to its reference alone, and says what it is: entropy, divergence and rate', async () => {
    const hopeless = tinyQuestions.map((q) => ({ ...q, goldenAnswers: ['Mill'] }));
    const elsewhere = await taughtEngine(2);
    const reference = elsewhere.snapshot();
    const [metrics] = await grpo(engine, tinyEnvironment, hopeless, { ...settings, steps: 1, beta: 0.5 }, { reference });
    expect(metrics).toMatchObject({ 'reward/mean': 0, frac_reward_zero_std: 1, clip_ratio: 0, learning_rate: 0.01 * (2 / 5) });
    expect(metrics.entropy).toBeGreaterThan(0.1);
    expect(metrics.kl).toBeGreaterThan(0.01);
    expect(metrics.loss).toBeCloseTo(0.5 * (metrics.kl as number), 5);
    expect(metrics.grad_norm).toBeGreaterThan(0);
    reference.dispose();
    elsewhere.dispose();
  });

  test('raises the reward of a task that a few steps can learn', async () => {
    const easy = tinyQuestions.map((q) => ({ ...q, goldenAnswers: ['Ada'] }));
    const history = await grpo(engine, tinyEnvironment, easy, { ...settings, steps: 8, questionsPerStep: 6 });
    const mean = (part: readonly GrpoMetrics[]) => part.reduce((sum, m) => sum + m['reward/mean'], 0) / part.length;
    expect(mean(history.slice(-2))).toBeGreaterThan(mean(history.slice(0, 2)) + 0.15);
  });

  /** Trains until the signal fires within the n-th call of forwardBackward; `over` tells how it ended. */
  function interruptedAt(call: number) {
    const abort = new AbortController();
    const steps: number[] = [];
    let calls = 0;
    let fired = () => {};
    const firing = new Promise<void>((resolve) => {
      fired = resolve;
    });
    const { forwardBackward } = engine;
    const stopping = {
      ...engine,
      forwardBackward(...given: Parameters<typeof forwardBackward>) {
        if (++calls === call) {
          abort.abort(new Error('enough'));
          fired();
        }
        return forwardBackward(...given);
      },
    };
    const run = (startStep = 0, signal?: AbortSignal) =>
      grpo(stopping, tinyEnvironment, tinyQuestions, settings, {
        reference,
        startStep,
        signal,
        onStep: ({ step }) => void steps.push(step),
      });
    const reference = engine.snapshot();
    const over = run(0, abort.signal).catch((error: unknown) => error);
    return { over, firing, run, steps, reference };
  }

  test('interrupted before any of a batch is learned, leaves nothing of the step', async () => {
    const before = await weightsOf(engine);
    const { over, steps, reference } = interruptedAt(1);
    expect(await over).toMatchObject({ message: 'enough' });
    expect(steps).toEqual([]);
    expect(await weightsOf(engine)).toEqual(before);
    await expect(engine.optimStep({ learningRate: 1 })).rejects.toThrow(/forwardBackward first/);
    reference.dispose();
  });

  test('interrupted amid a batch, finishes the step, and what is started meanwhile waits for it: as if never interrupted', async () => {
    const { over, firing, run, steps, reference } = interruptedAt(2);
    await firing;
    const next = run(1); // as the reader's next cell, at once
    expect(await over).toMatchObject({ message: 'enough' });
    await next;
    expect(steps).toEqual([1, 2]);
    const resumed = await weightsOf(engine);
    reference.dispose();
    engine.dispose();
    engine = inProcessEngine(Policy.fromValues(tinyConfig, taught), tokenizer);
    await grpo(engine, tinyEnvironment, tinyQuestions, settings);
    expect(resumed).toEqual(await weightsOf(engine));
  });

  test('stops between steps, and gives back its reference', async () => {
    const before = tf.memory().numTensors;
    const abort = new AbortController();
    const onStep = () => abort.abort(new Error('enough'));
    await expect(grpo(engine, tinyEnvironment, tinyQuestions, settings, { signal: abort.signal, onStep })).rejects.toThrow('enough');
    engine.resetOptimizer(); // its moments stay for the next step
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('the metrics of rollouts are what their names say (counted by hand)', () => {
  const question = tinyQuestions[0];
  const attempt = (reward: number, kinds: ('search' | 'answer' | 'invalid')[], own: boolean[]) => ({
    question,
    prompt: [1],
    tokens: own.map(() => 1),
    own,
    logProbs: own.map(() => 0),
    turns: kinds.map((kind) => ({ kind, start: 0, end: 1, query: '', passages: [], answer: '', reason: '' })),
    searches: kinds.filter((kind) => kind === 'search').length,
    answer: null,
    finish: kinds[kinds.length - 1] === 'answer' ? ('answer' as const) : ('turns' as const),
    reward,
  });
  const groups = [
    { question, trajectories: [attempt(1, ['search', 'answer'], [true, true, false]), attempt(0, ['invalid', 'invalid'], [true])] },
    {
      question,
      trajectories: [attempt(0, ['search', 'search', 'search'], [true, true, true]), attempt(0, ['invalid'], [false, true, true])],
    },
  ];
  expect(rolloutMetrics(groups)).toEqual({
    'reward/mean': 1 / 4,
    frac_reward_zero_std: 1 / 2,
    'env/number_of_valid_search': 4 / 4,
    'env/ratio_of_valid_action': 5 / 8,
    'env/finish_ratio': 1 / 4,
    'completions/mean_own_length': 8 / 4,
  });
  const failing = groups.map(({ trajectories }) => ({
    question,
    trajectories: trajectories.map((t) => ({ ...t, failedSearches: t.searches })),
  }));
  expect(rolloutMetrics(failing)).toEqual({ ...rolloutMetrics(groups), 'env/failed_searches': 4 });
});

test('episodes without a turn have no action that could be valid', () => {
  const question = tinyQuestions[0];
  const silent = {
    question,
    prompt: [1],
    tokens: [],
    own: [],
    logProbs: [],
    turns: [],
    searches: 0,
    answer: null,
    finish: 'length' as const,
    reward: 0,
  };
  expect(rolloutMetrics([{ question, trajectories: [silent, silent] as unknown as Group['trajectories'] }])).toMatchObject({
    'env/ratio_of_valid_action': 0,
    'completions/mean_own_length': 0,
    frac_reward_zero_std: 1,
  });
});
