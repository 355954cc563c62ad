/** The GRPO loss held to TRL 1.16's own code (test/fixtures/grpo_loss.json): every case, as a formula and through the engine. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { type AdvantageSettings, stepAdvantages } from '../../src/grpo/advantages.js';
import { type Aggregation, type GrpoDatum, type GrpoLossSettings, grpoLoss, grpoTokenLoss } from '../../src/grpo/loss.js';
import { NonFiniteError } from '../../src/non-finite.js';
import { weightShapes } from '../../src/policy/config.js';
import { Policy } from '../../src/policy/policy.js';
import { startBackend } from '../../src/tensors/backend.js';
import { expectArraysClose, gradientsThrough, noTokenizer, readFixture, tinyConfig } from '../policy/xs.js';

interface Case {
  readonly loss_type: Aggregation;
  readonly use_bias_correction_kl: boolean;
  readonly scale_rewards: 'group' | 'batch' | 'none';
  readonly tool_mask: boolean;
  readonly beta: number;
  readonly epsilon: number;
  readonly epsilon_high: number;
  readonly on_policy: boolean;
  readonly loss: number;
  readonly grad_logps: readonly number[][];
}

const f = readFixture('grpo_loss.json');
const cases = f.cases as readonly Case[];
const [rows, width] = f.shape as [number, number];

/** TRL's words in this package's. */
const settingsOf = (c: Case): GrpoLossSettings => ({
  aggregation: c.loss_type,
  clipLow: c.epsilon,
  clipHigh: c.epsilon_high,
  beta: c.beta,
  biasCorrectedKl: c.use_bias_correction_kl,
  maxCompletionLength: f.max_completion_length,
});
const scaling = (scale: Case['scale_rewards']): AdvantageSettings =>
  scale === 'none' ? { deviation: 'none' } : { deviation: 'sample', deviationOver: scale, deviationEpsilon: f.advantage_eps };

const groupsOf = (rewards: readonly number[]): number[][] =>
  Array.from({ length: rewards.length / f.num_generations }, (_, g) => rewards.slice(g * f.num_generations, (g + 1) * f.num_generations));

const scoredIn = ({ tool_mask }: Case, row: number): number[] =>
  f.completion_mask[row].flatMap((own: number, t: number) => (own && (!tool_mask || f.tool_mask[row][t]) ? [t] : []));
const pick = (values: readonly number[], places: readonly number[]) => places.map((t) => values[t]);

/** Sequences of their own tokens throughout: row b reads (width + 1) b, (width + 1) b + 1, ... */
function dataOf(c: Case): GrpoDatum[] {
  const advantages = stepAdvantages(groupsOf(f.rewards), scaling(c.scale_rewards)).flat();
  return advantages.map((advantage, row) => {
    const scored = scoredIn(c, row);
    return {
      tokens: Array.from({ length: width + 1 }, (_, t) => (width + 1) * row + t),
      scored: scored.map((t) => t + 1),
      advantage,
      ...(!c.on_policy && { oldLogProbs: pick(f.old_logps[row], scored) }),
      ...(c.beta > 0 && { referenceLogProbs: pick(f.ref_logps[row], scored) }),
    };
  });
}

const title = (c: Case) =>
  `${c.loss_type}, advantages ${c.scale_rewards}, beta ${c.beta}${c.use_bias_correction_kl ? ' corrected' : ''}, clip ${c.epsilon} ${c.epsilon_high}${c.tool_mask ? ', without tool results' : ''}${c.on_policy ? ', on policy' : ''}`;
const titled = cases.map((c) => [title(c), c] as const);

test('the fixture has the cases this file means to read', () => {
  expect(cases).toHaveLength(37);
  for (const type of ['grpo', 'bnpo', 'dr_grpo', 'dapo']) expect(cases.some((c) => c.loss_type === type)).toBe(true);
  expect(cases.filter((c) => c.on_policy || c.beta === 0 || c.epsilon !== c.epsilon_high)).toHaveLength(4);
});

describe.each(['simd', 'cpu'] as const)('on %s', (backend) => {
  beforeAll(async () => {
    await startBackend({ backend });
  });

  test.each(titled)('loss and gradients equal TRL: %s', (_, c) => {
    const data = dataOf(c);
    const loss = grpoLoss(data, settingsOf(c));
    const logProbs = data.flatMap((_, row) => pick(f.logps[row], scoredIn(c, row)));
    const { value, grad } = tf.valueAndGrad((p) => tf.div(tf.sum(loss.perToken(p as tf.Tensor1D, data).loss), loss.divisor as number))(
      tf.tensor1d(logProbs),
    );
    expect(Math.abs(value.dataSync()[0] - c.loss)).toBeLessThanOrEqual(1e-6);
    const left = [...grad.dataSync()];
    const gradients = data.map((_, row) => {
      const line = new Array(width).fill(0);
      for (const t of scoredIn(c, row)) line[t] = left.shift();
      return line;
    });
    expectArraysClose(gradients.flat(), c.grad_logps.flat(), 1e-6, 'gradient');
  });

  test('the metrics are k3 and whether the clip took the gradient away (counted by hand)', () => {
    // ratios 1.5, 1.5, 0.5, 0.5, 1.1 at clip 0.2: the clip binds above for a good attempt and below for a bad one.
    const [old, reference] = [[1.5, 1.5, 0.5, 0.5, 1.1].map((r) => -1 - Math.log(r)), [-1, -2, -1, -1, -1]];
    const inputs = { old: tf.tensor1d(old), reference: tf.tensor1d(reference), advantages: tf.tensor1d([1, -1, 1, -1, 1]) };
    const at = (settings: Partial<GrpoLossSettings>) =>
      grpoTokenLoss(tf.fill([5], -1) as tf.Tensor1D, inputs, { clipLow: 0.2, clipHigh: 0.2, beta: 0.1, ...settings });
    const { kl, clipped, loss } = at({});
    expect([...clipped.dataSync()]).toEqual([1, 0, 0, 1, 0]);
    expectArraysClose((kl as tf.Tensor).dataSync(), [0, Math.exp(-1), 0, 0, 0], 1e-6, 'k3');
    expectArraysClose(loss.dataSync(), [-1.2, 1.5 + 0.1 * Math.exp(-1), -0.5, 0.8, -1.1], 1e-6, 'loss');
    const corrected = at({ biasCorrectedKl: true });
    expectArraysClose((corrected.kl as tf.Tensor).dataSync(), [0, 1.5 * Math.exp(-1), 0, 0, 0], 1e-6, 'k3 by the ratio');
    // Either clip on its own: above at 0.6 the ratio of 1.5 is free, below at 0.6 that of 0.5.
    expect([...at({ clipHigh: 0.6 }).clipped.dataSync()]).toEqual([0, 0, 0, 1, 0]);
    expect([...at({ clipLow: 0.6 }).clipped.dataSync()]).toEqual([1, 0, 0, 0, 0]);
  });

  test('without a reference there is no divergence to report, and the loss is that of the policy alone', () => {
    const [logProbs, advantages] = [tf.tensor1d([-1, -2]), tf.tensor1d([1, -3])];
    const { loss, kl } = grpoTokenLoss(logProbs, { advantages }, { clipLow: 0.2, clipHigh: 0.2, beta: 0 });
    expect(kl).toBeUndefined();
    expect([...loss.dataSync()]).toEqual([-1, 3]);
    const data = [{ tokens: [1, 2], scored: [1], advantage: 2 }];
    const metrics = grpoLoss(data, { clipLow: 0.2, clipHigh: 0.2, beta: 0 }).perToken(tf.tensor1d([-1]), data).metrics;
    expect(Object.keys(metrics ?? {})).toEqual(['clip_ratio']);
  });

  test('log-probabilities however far apart leave loss and gradient finite: bounded as in verl, with no gradient beyond', () => {
    const at = (logProb: number, { old = logProb, reference = logProb, advantage = 0 }) => {
      const inputs = { old: tf.tensor1d([old]), reference: tf.tensor1d([reference]), advantages: tf.tensor1d([advantage]) };
      const settings = { clipLow: 0.2, clipHigh: 0.2, beta: 1 };
      const { value, grad } = tf.valueAndGrad((p) => tf.sum(grpoTokenLoss(p as tf.Tensor1D, inputs, settings).loss))(
        tf.tensor1d([logProb]),
      );
      return [value.dataSync()[0], grad.dataSync()[0]];
    };
    // k3: e^20 - 21 and 20 - 1, both above 10.
    expectArraysClose(at(-120, { reference: 0 }), [10, 0], 0, 'k3');
    expectArraysClose(at(0, { reference: -120 }), [10, 0], 0, 'k3');
    // Within the bound it is k3: e^2 - 3 with the gradient 1 - e^2, and e^-9 + 8 with 1 - e^-9.
    expectArraysClose(at(-2, { reference: 0 }), [Math.exp(2) - 3, 1 - Math.exp(2)], 1e-5, 'k3 at 2');
    expectArraysClose(at(0, { reference: -9 }), [Math.exp(-9) + 8, 1 - Math.exp(-9)], 1e-5, 'k3 at -9');
    // The ratio: e^20 at most and e^-20 at least, where a bad and a good attempt are not clipped.
    expectArraysClose(at(0, { old: -120, advantage: -1 }), [Math.exp(20), 0], 1e-5, 'ratio');
    expectArraysClose(at(-120, { old: 0, advantage: 1 }), [-Math.exp(-20), 0], 1e-12, 'ratio');
    expectArraysClose(at(0, { old: -19, advantage: -1 }), [Math.exp(19), Math.exp(19)], 1e-5, 'ratio at 19');
  });
});

describe('through the engine', () => {
  const size = rows * (width + 1);
  const config = {
    ...tinyConfig,
    vocabSize: size,
    hiddenSize: size,
    intermediateSize: 2,
    layers: 1,
    heads: 1,
    headDim: 2,
    tiedEmbeddings: false,
  };
  const at = (to: number, from: number) => to * size + from;
  let engine: Engine;
  let policy: Policy;

  /**
   * A policy that gives the fixture's log-probabilities: its block adds nothing, so that after token u the hidden state is sqrt(d) e_u, and the head's
   * entry [u + 1, u] alone is not 0, but such that token u + 1 has probability p: logit = log p + log(V - 1) - log(1 - p).
   */
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
    const values = new Map(
      [...weightShapes(config)].map(([name, shape]) => [
        name,
        new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(name.endsWith('norm.weight') ? 1 : 0),
      ]),
    );
    const head = values.get('lm_head.weight') as Float32Array;
    const embeddings = values.get('model.embed_tokens.weight') as Float32Array;
    for (let u = 0; u < size; u++) embeddings[at(u, u)] = 100;
    for (let row = 0; row < rows; row++)
      for (let t = 0; t < width; t++) {
        const u = (width + 1) * row + t;
        head[at(u + 1, u)] = (f.logps[row][t] + Math.log(size - 1) - Math.log1p(-Math.exp(f.logps[row][t]))) / Math.sqrt(size);
      }
    policy = Policy.fromValues(config, values);
    engine = inProcessEngine(policy, noTokenizer, { memoryBudget: 1e6 });
  });
  afterAll(() => engine.dispose());

  test('the policy gives the fixture’s log-probabilities', async () => {
    const data = dataOf(cases[0]);
    (await engine.forward(data)).forEach((found, row) => {
      expectArraysClose(found, pick(f.logps[row], scoredIn(cases[0], row)), 1e-5, `row ${row}`);
    });
  });

  test.each(titled)('loss and gradients equal TRL: %s', async (_, c) => {
    const { reports, gradients } = await gradientsThrough(engine, [grpoLoss(dataOf(c), settingsOf(c))], policy.weights);
    expect(Math.abs(reports[0].loss - c.loss)).toBeLessThanOrEqual(2e-6);
    expect(reports[0].tokens).toBe(dataOf(c).reduce((sum, { scored }) => sum + scored.length, 0));
    const ofHead = gradients.get('lm_head.weight') as Float32Array;
    const found = (f.logps as number[][]).map((line, row) =>
      line.map((logProb, t) => {
        const u = (width + 1) * row + t;
        return ofHead[at(u + 1, u)] / ((1 - Math.exp(logProb)) * Math.sqrt(size)); // d log p / d logit = 1 - p
      }),
    );
    const own = found.flatMap((line, row) => pick(line, scoredIn(c, row)));
    expectArraysClose(
      own,
      c.grad_logps.flatMap((line, row) => pick(line, scoredIn(c, row))),
      2e-6,
      'gradient',
    );
  });
});

describe('what the tokens’ losses are divided by', () => {
  const settings: GrpoLossSettings = { clipLow: 0.2, clipHigh: 0.2, beta: 0 };
  /** Three sequences of 2, 0 and 4 own tokens. */
  const data: GrpoDatum[] = [2, 0, 4].map((own) => ({ tokens: [0, 1, 2, 3, 4], scored: [1, 2, 3, 4].slice(0, own), advantage: 1 }));
  const divisor = (change: Partial<GrpoLossSettings>, ...step: [] | [{ tokens: number; miniBatches: number }]) =>
    grpoLoss(data, { ...settings, ...change }, ...step).divisor;

  test('is by hand 3 sequences, 6 own tokens, 3 times 100, or the step’s 30 tokens over 4 mini-batches', () => {
    expect(divisor({ aggregation: 'grpo' })).toBe(3);
    expect(divisor({ aggregation: 'bnpo' }, { tokens: 30, miniBatches: 4 })).toBe(6);
    expect(divisor({ aggregation: 'dr_grpo', maxCompletionLength: 100 })).toBe(300);
    expect(divisor({ aggregation: 'dapo' }, { tokens: 30, miniBatches: 4 })).toBe(7.5);
    expect(divisor({ aggregation: 'dapo' })).toBe(6);
    expect(divisor({})).toBe(6);
    expect(divisor({}, { tokens: 30, miniBatches: 4 })).toBe(7.5);
  });

  test('counts a token of the sequence mean by its sequence’s length, and otherwise as one', () => {
    const logProbs = tf.tensor1d([-1, -1, -1, -1, -1, -1]);
    const values = (aggregation: Aggregation) => [
      ...grpoLoss(data, { ...settings, aggregation, maxCompletionLength: 9 })
        .perToken(logProbs, data)
        .loss.dataSync(),
    ];
    expect(values('grpo')).toEqual([-0.5, -0.5, -0.25, -0.25, -0.25, -0.25]);
    for (const aggregation of ['bnpo', 'dr_grpo', 'dapo'] as const) expect(values(aggregation)).toEqual([-1, -1, -1, -1, -1, -1]);
  });
});

test('the engine is told the name, the data and the temperature', () => {
  const data = [{ tokens: [1, 2], scored: [1], advantage: 1 }];
  const loss = grpoLoss(data, { clipLow: 0.2, clipHigh: 0.2, beta: 0, temperature: 0.7 });
  expect(loss).toMatchObject({ name: 'grpo', reads: 'logProbs', temperature: 0.7, data });
});

describe('refused is', () => {
  const settings: GrpoLossSettings = { clipLow: 0.2, clipHigh: 0.2, beta: 0.1 };
  const datum: GrpoDatum = { tokens: [1, 2, 3], scored: [1, 2], advantage: 1, oldLogProbs: [-1, -1], referenceLogProbs: [-1, -1] };

  test.each<[unknown, typeof RangeError | typeof TypeError, RegExp]>([
    [{ clipLow: -0.1 }, RangeError, /^clipLow: expected a number from 0, got -0.1/],
    [{ clipHigh: -0.1 }, RangeError, /^clipHigh: expected a number from 0, got -0.1/],
    [{ clipLow: undefined }, TypeError, /^clipLow: expected a number from 0, got undefined/],
    [{ beta: -1 }, RangeError, /^beta: expected a number from 0, got -1/],
    [{ aggregation: 'mean' }, TypeError, /^aggregation: expected 'grpo' or 'bnpo' or 'dr_grpo' or 'dapo', got "mean"/],
    [{ aggregation: 'dr_grpo' }, TypeError, /^maxCompletionLength: expected a whole number from 1, got undefined/],
    [{ maxCompletionLength: 0 }, RangeError, /^maxCompletionLength: expected a whole number from 1, got 0/],
    [{ maxCompletionLength: 1.5 }, RangeError, /^maxCompletionLength/],
    [{ biasCorrectedKl: 1 }, TypeError, /^biasCorrectedKl: expected true or false, got 1/],
    [{ temperature: 0 }, RangeError, /^temperature: expected a number above 0, got 0/],
  ])('%j', (change, type, message) => {
    const make = () => grpoLoss([datum], { ...settings, ...(change as object) });
    expect(make).toThrow(type);
    expect(make).toThrow(message);
  });

  test.each<[string, Partial<GrpoDatum>, RegExp]>([
    [
      'another number of old log-probabilities',
      { oldLogProbs: [-1] },
      /oldLogProbs of sequence 1: expected one for each of its 2 scored tokens, got 1$/,
    ],
    ['old log-probabilities of some', { oldLogProbs: undefined }, /oldLogProbs of sequence 1: .* got none$/],
    ['another number of the reference’s', { referenceLogProbs: [-1, -1, -1] }, /referenceLogProbs of sequence 1: .* got 3$/],
    ['the reference’s of some', { referenceLogProbs: undefined }, /referenceLogProbs of sequence 1: .* got none$/],
  ])('%s', (_, change, message) => {
    const make = () => grpoLoss([datum, { ...datum, ...change }], settings);
    expect(make).toThrow(RangeError);
    expect(make).toThrow(message);
  });

  test.each<[string, Partial<GrpoDatum>, RegExp]>([
    ['an advantage', { advantage: Number.NaN }, /^GRPO: advantage of sequence 1: is NaN/],
    ['an old log-probability', { oldLogProbs: [-1, Number.NEGATIVE_INFINITY] }, /^GRPO: oldLogProbs of sequence 1: element 1 is -Infinity/],
    ['one of the reference', { referenceLogProbs: [Number.NaN, 0] }, /^GRPO: referenceLogProbs of sequence 1: element 0 is NaN/],
  ])('%s that is not finite', (_, change, message) => {
    const make = () => grpoLoss([datum, { ...datum, ...change }], settings);
    expect(make).toThrow(NonFiniteError);
    expect(make).toThrow(message);
  });

  test.each([undefined, null, '1'])('the advantage %j, which is no number', (advantage) => {
    expect(() => grpoLoss([datum, { ...datum, advantage: advantage as never }], settings)).toThrow(
      /^GRPO: advantage of sequence 1: expected a number/,
    );
  });

  test('a beta without a reference', () => {
    const { referenceLogProbs: _, ...without } = datum;
    expect(() => grpoLoss([without], settings)).toThrow(
      new TypeError('beta 0.1 needs referenceLogProbs in the data; at 0 there is no reference'),
    );
    expect(() => grpoLoss([without], { ...settings, beta: 0 })).not.toThrow();
  });

  test('nothing at the ends of the ranges', () => {
    expect(() => grpoLoss([datum], { clipLow: 0, clipHigh: 0, beta: 0, maxCompletionLength: 1 })).not.toThrow();
  });
});
