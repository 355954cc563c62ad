/** The GRPO loop on a tiny policy: which questions, which groups train, which reference, what is reported. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Loss } from '../../src/engines/engine.js';
import { type GrpoMetrics, grpo, questionsOfStep, rolloutMetrics } from '../../src/grpo/grpo.js';
import type { GrpoDatum } from '../../src/grpo/loss.js';
import { classroomGrpo, type GrpoSettings } from '../../src/grpo/settings.js';
import type { Group } from '../../src/rollout/trajectory.js';
import { startBackend } from '../../src/tensors/backend.js';
import { taughtEngine, tinyEnvironment, tinyQuestions, weightsOf } from '../rollout/tiny-policy.js';

const settings: GrpoSettings = {
  ...classroomGrpo,
  steps: 2,
  questionsPerStep: 4,
  groupSize: 4,
  warmUpSteps: 5,
  optimizer: { ...classroomGrpo.optimizer, learningRate: 0.01 },
};

test('questions come in passes over the whole set, each shuffled anew', () => {
  const questions = tinyQuestions;
  const drawn = Array.from({ length: 6 }, (_, step) => questionsOfStep(questions, step, { questionsPerStep: 4, seed: 1 })).flat();
  const passes = [0, 6, 12, 18].map((at) => drawn.slice(at, at + 6).map(({ id }) => id));
  for (const pass of passes) expect([...pass].sort()).toEqual(questions.map(({ id }) => id));
  expect(new Set(passes.map((pass) => pass.join())).size).toBeGreaterThan(1);
  expect(questionsOfStep(questions, 0, { questionsPerStep: 15, seed: 1 })).toHaveLength(15);
  expect(() => questionsOfStep([], 0, { questionsPerStep: 1, seed: 1 })).toThrow(/at least one question/);
});

describe('training a tiny policy', () => {
  let engine: Awaited<ReturnType<typeof taughtEngine>>;
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
  });
  beforeEach(async () => {
    engine?.dispose();
    engine = await taughtEngine();
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
    const still = { ...settings.optimizer, learningRate: 0 };
    const { data, history } = await spied({ steps: 1, temperature: 0.6, miniBatches: 1, optimizer: still });
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
    engine = await taughtEngine();
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
      trajectories: [attempt(0, ['search', 'search', 'answer'], [true, true, true]), attempt(0, ['invalid'], [false, true, true])],
    },
  ];
  expect(rolloutMetrics(groups)).toEqual({
    'reward/mean': 1 / 4,
    frac_reward_zero_std: 1 / 2,
    'env/number_of_valid_search': 3 / 4,
    'env/ratio_of_valid_action': 5 / 8,
    'env/finish_ratio': 2 / 4,
    'completions/mean_own_length': 8 / 4,
  });
});
