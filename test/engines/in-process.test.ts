/** The engine in process: losses, gradients and log-probabilities held to PyTorch, and to itself under other ways of cutting the batch. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import type { Engine, LogProbLoss, Paired, Scored } from '../../src/engines/engine.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { NonFiniteError } from '../../src/non-finite.js';
import { forwardKlLoss } from '../../src/ofsd/loss.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import {
  expectArraysClose,
  expectGradient,
  type ForwardFixture,
  fixtureFolder,
  gradientsThrough,
  noTokenizer,
  readFixture,
  unpadded,
} from '../policy/xs.js';

describe.each([
  ['simd', 'xs_tied'],
  ['simd', 'xs_untied'],
  ['cpu', 'xs_tied'],
] as const)('on %s, %s', (backend, name) => {
  const f = readFixture(name, 'forward.json') as ForwardFixture;
  const data = unpadded(f);
  let policy: Policy;
  beforeAll(async () => {
    await startBackend({ backend });
    policy = await loadPolicy(fixtureFolder(name));
  });
  afterAll(() => policy.dispose());

  test.each([
    ['one sequence a micro-batch', 1],
    ['all in one micro-batch', 1e9],
  ])('cross entropy, its gradients and their norm equal PyTorch: %s', async (_, memoryBudget) => {
    const engine = inProcessEngine(policy, noTokenizer, { memoryBudget });
    const { reports, gradients, gradNorm } = await gradientsThrough(engine, [crossEntropyLoss(data)], policy.weights);
    const { loss, grads, grad_total_norm } = f.cross_entropy;
    expect(reports[0].tokens).toBe(32);
    expect(Math.abs(reports[0].loss - loss)).toBeLessThanOrEqual(1e-5);
    expect(Math.abs(gradNorm - grad_total_norm)).toBeLessThanOrEqual(1e-4 * grad_total_norm);
    expect([...gradients.keys()].sort()).toEqual(Object.keys(grads).sort());
    for (const [weight, gradient] of gradients) expectGradient(weight, gradient, grads[weight]);
  });

  test('gradients are read by name between a loss of one\u2019s own and the step, equal to PyTorch', async () => {
    const engine = inProcessEngine(policy, null);
    const { grads } = f.cross_entropy;
    const own: LogProbLoss = {
      name: 'surprise',
      reads: 'logProbs',
      data,
      perToken: (logProbs) => ({ loss: tf.neg(logProbs) as tf.Tensor1D }),
    };
    expect(engine.gradients.size).toBe(0);
    await engine.forwardBackward(own);
    expect([...engine.gradients.keys()].sort()).toEqual(Object.keys(grads).sort());
    for (const [weight, gradient] of engine.gradients) expectGradient(weight, await gradient.data<'float32'>(), grads[weight]);
    await engine.optimStep({ learningRate: 0 });
    expect(engine.gradients.size).toBe(0);
    await expect(engine.forwardBackward({ ...own, perToken: () => ({ loss: tf.tensor1d([1]) }) })).rejects.toThrow(
      /^surprise: perToken gave loss as \[1\]/,
    );
    await expect(engine.forwardBackward({ ...own, name: '' })).rejects.toThrow(/^loss: name: expected what it is called/);
    await expect(engine.forwardBackward({ ...own, reads: 'hidden' } as never)).rejects.toThrow(
      /^surprise: reads: expected 'logProbs' or 'logits'/,
    );
    engine.resetOptimizer();
  });

  test('an engine without a tokenizer scores and writes token ids, and says what it lacks where text is asked of it', async () => {
    const engine = inProcessEngine(policy, null);
    expect((await engine.forward(data))[0]).toHaveLength(data[0].scored.length);
    expect((await engine.sample([[1, 2]], { temperature: 0, seed: 1, maxTokens: 3 }))[0].tokens.length).toBeGreaterThan(0);
    expect(() => engine.tokenizer.decode([1])).toThrow(/made without a tokenizer/);
    engine.resetOptimizer();
  });

  test('log-probabilities of the scored tokens, and the mean entropy, equal Transformers in any order and micro-batch', async () => {
    for (const memoryBudget of [1, 1e9]) {
      const engine = inProcessEngine(policy, noTokenizer, { memoryBudget });
      const reversed = await engine.forward([...data].reverse());
      data.forEach(({ scored, tokens }, b) => {
        const offset = f.input_ids[b].length - tokens.length;
        const expected = scored.map((t) => f.token_logprobs.values[b][t + offset - 1]);
        expectArraysClose(reversed[1 - b], expected, 2e-5, `row ${b}`);
      });
      const { metrics } = await engine.forwardBackward(crossEntropyLoss(data));
      const entropies = data.flatMap(({ scored, tokens }, b) =>
        scored.map((t) => f.entropy[b][t + f.input_ids[b].length - tokens.length - 1]),
      );
      expect(metrics.entropy).toBeCloseTo(entropies.reduce((a, b) => a + b, 0) / entropies.length, 4);
      await engine.optimStep({ learningRate: 0 });
    }
  });
});

describe('on simd', () => {
  const source = random(5, 'data');
  const ids = (n: number): number[] => Array.from({ length: n }, () => source.integer(256));
  /** Sequences of several lengths, of which some tokens are scored. */
  const data: Scored[] = [9, 14, 5, 11, 5].map((length) => ({ tokens: ids(length), scored: [2, 3, 4].concat(length > 8 ? [8] : []) }));
  /** The same tokens after a longer prompt for the teacher. */
  const paired: Paired[] = data.map((item) => {
    const more = ids(3);
    return { ...item, teacher: { tokens: [...more, ...item.tokens], scored: item.scored.map((t) => t + 3) } };
  });
  let policy: Policy;
  let engine: Engine;

  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
  });
  beforeEach(async () => {
    policy = await loadPolicy(fixtureFolder('xs_tied'));
    engine = inProcessEngine(policy, noTokenizer);
  });
  afterEach(() => engine.dispose());

  /** Moves an adapter away from its start, so that student and teacher differ. */
  async function trainedAdapter(): Promise<void> {
    engine.addAdapter({ rank: 3, alpha: 6, seed: 2 });
    for (let i = 0; i < 3; i++) {
      await engine.forwardBackward(crossEntropyLoss(data));
      await engine.optimStep({ learningRate: 0.05 });
    }
  }

  test('gradients of several calls add up until the step, and are gone after it', async () => {
    const once = await gradientsThrough(engine, [crossEntropyLoss(data)], policy.weights);
    const twice = await gradientsThrough(engine, [crossEntropyLoss(data), crossEntropyLoss(data)], policy.weights);
    for (const [name, gradient] of once.gradients)
      expectArraysClose(
        twice.gradients.get(name) as Float32Array,
        gradient.map((v) => 2 * v),
        1e-5,
        name,
      );
    await expect(engine.optimStep({ learningRate: 1 })).rejects.toThrow(/forwardBackward first/);
  });

  test.each(['forward KL', 'cross entropy'] as const)(
    'cutting the batch into micro-batches changes neither loss nor gradient: %s',
    async (kind) => {
      const loss = () => (kind === 'forward KL' ? forwardKlLoss(paired, { clamp: 0.5 }) : crossEntropyLoss(data));
      await trainedAdapter();
      const variables = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
      const whole = await gradientsThrough(engine, [loss()], variables);
      for (const memoryBudget of [1, 150_000, 250_000]) {
        const cut = await gradientsThrough(inProcessEngine(policy, noTokenizer, { memoryBudget }), [loss()], variables);
        expect(cut.reports[0].loss).toBeCloseTo(whole.reports[0].loss, 5);
        expect(cut.reports[0].tokens).toBe(whole.reports[0].tokens);
        for (const [metric, value] of Object.entries(whole.reports[0].metrics))
          expect(cut.reports[0].metrics[metric], metric).toBeCloseTo(value, 5);
        for (const [name, gradient] of whole.gradients) expectArraysClose(cut.gradients.get(name) as Float32Array, gradient, 1e-5, name);
      }
    },
  );

  test('tokens that are not scored are no targets: another one at the end of what is read changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 11, maxLength: 11 }), fc.integer({ min: 0, max: 255 }), async (mask, other) => {
        const scored = mask.flatMap((own, t) => (own ? [t + 1] : []));
        fc.pre(scored.length > 0);
        const tokens = data[1].tokens.slice(0, 12);
        // Every token after the last scored one, and every retrieved token's own log-probability, is out of sight.
        const seen = scored[scored.length - 1];
        const changed = tokens.map((token, t) => (t > seen ? other : token));
        const [a, b] = await engine.forward([
          { tokens, scored },
          { tokens: changed, scored },
        ]);
        expectArraysClose(a, b, 1e-6, 'log-probabilities');
        const all = await engine.forward([{ tokens, scored: tokens.map((_, t) => t).slice(1) }]);
        expectArraysClose(
          a,
          scored.map((t) => all[0][t - 1]),
          1e-5,
          'one mask against all tokens',
        );
      }),
      { numRuns: 15, seed: 1 },
    );
  });

  test("a loss is handed its own sequences' rows, in order, however the batch is cut", async () => {
    const probe = (seen: Map<Scored, number[]>): LogProbLoss => ({
      name: 'cross_entropy',
      reads: 'logProbs',
      data,
      perToken(logProbs, chunk) {
        const values = [...logProbs.dataSync()];
        for (const item of chunk) seen.set(item, values.splice(0, item.scored.length));
        expect(values).toEqual([]);
        return { loss: tf.neg(logProbs) };
      },
    });
    const expected = await engine.forward(data);
    for (const memoryBudget of [1, 120_000, 1e9]) {
      const seen = new Map<Scored, number[]>();
      const cut = inProcessEngine(policy, noTokenizer, { memoryBudget });
      await cut.forwardBackward(probe(seen));
      data.forEach((item, i) => {
        expectArraysClose(seen.get(item) as number[], expected[i], 1e-5, `sequence ${i}`);
      });
    }
  });

  test('a sequence with nothing scored is carried along, scored alone it is refused', async () => {
    const empty: Paired = { tokens: [1, 2, 3], scored: [], teacher: { tokens: [4, 1, 2, 3], scored: [] } };
    const [none, some] = await engine.forward([empty, data[0]]);
    expect([none.length, some.length]).toEqual([0, data[0].scored.length]);
    const [noView, view] = await engine.compare([empty, paired[0]]);
    expect([noView.kl.length, noView.teacher.length, view.kl.length]).toEqual([0, 0, data[0].scored.length]);
    expect((await engine.forwardBackward(crossEntropyLoss([empty, data[0]]))).tokens).toBe(data[0].scored.length);
    await expect(engine.forwardBackward(crossEntropyLoss([empty]))).rejects.toThrow(/no token to score in 1 sequences/);
    await expect(engine.forward([{ tokens: [1, 2], scored: [0] }])).rejects.toThrow(/position 0/);
  });

  test('computes nothing in the turn of the caller, which a notebook may cut anywhere', async () => {
    const runKernel = vi.spyOn(tf.engine(), 'runKernel');
    try {
      for (const work of [
        () => engine.forward(data),
        () => engine.compare(paired),
        () => engine.sample([[1, 2]], { temperature: 1, seed: 1, maxTokens: 2, onToken: () => 'continue' }),
        () => engine.forwardBackward(crossEntropyLoss(data)),
        () => engine.optimStep({ learningRate: 0 }),
      ]) {
        runKernel.mockClear();
        const done = work();
        expect(runKernel).not.toHaveBeenCalled();
        await done;
        expect(runKernel).toHaveBeenCalled();
      }
    } finally {
      runKernel.mockRestore();
    }
  });

  test('a loss that fails half-way leaves no part of its gradient', async () => {
    const before = tf.memory().numTensors;
    const whole = await gradientsThrough(engine, [crossEntropyLoss(data)], policy.weights);
    engine.resetOptimizer();
    const cut = inProcessEngine(policy, noTokenizer, { memoryBudget: 1 });
    let parts = 0;
    const failing: LogProbLoss = {
      ...crossEntropyLoss(data),
      reads: 'logProbs',
      perToken(logProbs) {
        if (++parts === 3) throw new Error('the third part fails');
        return { loss: tf.neg(logProbs) };
      },
    };
    await expect(cut.forwardBackward(failing)).rejects.toThrow('the third part fails');
    await expect(cut.optimStep({ learningRate: 1 })).rejects.toThrow(/forwardBackward first/);
    const after = await gradientsThrough(cut, [crossEntropyLoss(data)], policy.weights);
    for (const [name, gradient] of whole.gradients) expectArraysClose(after.gradients.get(name) as Float32Array, gradient, 1e-5, name);
    cut.resetOptimizer();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('takes no memory for an optimiser until it trains', async () => {
    const before = tf.memory().numTensors;
    const fresh = inProcessEngine(policy, noTokenizer);
    await fresh.forward(data);
    expect(tf.memory().numTensors).toBe(before);
    await fresh.forwardBackward(crossEntropyLoss(data));
    await fresh.optimStep({ learningRate: 0 });
    expect(tf.memory().numTensors).toBeGreaterThan(before);
    fresh.resetOptimizer();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a snapshot keeps the weights of its moment, frozen those without the adapter', async () => {
    const before = await engine.forward(data);
    const snapshot = engine.snapshot();
    await engine.forwardBackward(crossEntropyLoss(data));
    await engine.optimStep({ learningRate: 0.01 });
    const trained = await engine.forward(data);
    expect(trained[0]).not.toEqual(before[0]);
    expect(await engine.forward(data, snapshot)).toEqual(before);
    snapshot.dispose();
    await trainedAdapter();
    expect(await engine.forward(data, 'frozen')).toEqual(trained);
    expect((await engine.forward(data))[0]).not.toEqual(trained[0]);
    engine.dropAdapter();
    expect(await engine.forward(data)).toEqual(trained);
  });

  test('a snapshot taken with an adapter on says what the policy with the adapter says, then and later', async () => {
    await trainedAdapter();
    const adapted = await engine.forward(data);
    const snapshot = engine.snapshot();
    expect(await engine.forward(data, snapshot)).toEqual(adapted);
    expect((await engine.forward(data, 'frozen'))[0]).not.toEqual(adapted[0]);
    await engine.forwardBackward(crossEntropyLoss(data));
    await engine.optimStep({ learningRate: 0.05 });
    expect((await engine.forward(data))[0]).not.toEqual(adapted[0]);
    expect(await engine.forward(data, snapshot)).toEqual(adapted);
    engine.dropAdapter();
    expect(await engine.forward(data, snapshot)).toEqual(adapted);
    snapshot.dispose();
  });

  test('weights that there are not, or not any more, are refused', async () => {
    const snapshot = engine.snapshot();
    snapshot.dispose();
    await expect(engine.forward(data, snapshot)).rejects.toThrow(/snapshot 0 is disposed: take another/);
    await expect(engine.forward(data, 'latest' as never)).rejects.toThrow(
      new TypeError(`weights: expected 'current', 'frozen' or a snapshot, got "latest"`),
    );
    const nothing = { temperature: 1, seed: 1, maxTokens: 1, onToken: () => 'end' as const, weights: snapshot };
    await expect(engine.sample([[1]], nothing)).rejects.toThrow(/snapshot 0 is disposed/);
  });

  test('data that does not fit is refused by every method, before anything is computed', async () => {
    const wrong = [{ tokens: [1, 2, 3, 4], scored: [3, 1] }];
    const teacher = [{ tokens: [1, 2], scored: [1], teacher: { tokens: [1, 3], scored: [1] } }];
    await expect(engine.forward(wrong)).rejects.toThrow(/^forward: sequence 0: scored\[1\]/);
    await expect(engine.forward(data, 'current', 0)).rejects.toThrow(/^forward: temperature: expected a number above 0, got 0/);
    await expect(engine.compare(teacher)).rejects.toThrow(/^compare: sequence 0, the teacher's view: scored\[0\] names token 3/);
    await expect(engine.forwardBackward(crossEntropyLoss(wrong))).rejects.toThrow(/^cross_entropy: sequence 0: scored\[1\]/);
    await expect(engine.forwardBackward(forwardKlLoss(teacher, { clamp: 1 }))).rejects.toThrow(
      /^forward_kl: sequence 0, the teacher's view/,
    );
    await expect(engine.sample([[1, 256]], { temperature: 1, seed: 1, maxTokens: 1, onToken: () => 'end' })).rejects.toThrow(
      /^sample: prompt 0: element 1 is 256/,
    );
    await engine.forwardBackward(crossEntropyLoss(data));
    await expect(engine.optimStep({ learningRate: -1 })).rejects.toThrow(/^learningRate: expected a number from 0, got -1/);
  });

  test('a loss that gives another number of values than there are tokens is refused', async () => {
    const loss = crossEntropyLoss(data);
    const one = { ...loss, perToken: (logProbs: tf.Tensor1D) => ({ loss: tf.mean(logProbs) as unknown as tf.Tensor1D }) };
    await expect(engine.forwardBackward(one)).rejects.toThrow(
      /^cross_entropy: perToken gave loss as \[\], expected \[\d+\], a value for each/,
    );
    const metric = { ...loss, perToken: (logProbs: tf.Tensor1D) => ({ loss: logProbs, metrics: { rate: tf.tensor1d([1]) } }) };
    await expect(engine.forwardBackward(metric)).rejects.toThrow(/perToken gave rate as \[1\]/);
  });

  test('the loss is the sum over the tokens by its divisor, its metrics are means', async () => {
    const loss = crossEntropyLoss(data);
    const mean = await gradientsThrough(engine, [loss], policy.weights);
    const [{ loss: value, tokens, metrics }] = mean.reports;
    const divided = await gradientsThrough(engine, [{ ...loss, divisor: 4 }], policy.weights);
    expect(divided.reports[0].loss).toBeCloseTo((value * tokens) / 4, 4);
    expect(divided.reports[0].metrics.entropy).toBeCloseTo(metrics.entropy, 5);
    expect(divided.gradNorm / mean.gradNorm).toBeCloseTo(tokens / 4, 4);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('a loss of %d is an error that names it, and leaves no gradient', async (value) => {
    const before = tf.memory().numTensors;
    const loss = crossEntropyLoss(data);
    let calls = 0;
    const cut = inProcessEngine(policy, noTokenizer, { memoryBudget: 1 });
    const failing = { ...loss, perToken: (p: tf.Tensor1D) => ({ loss: tf.mul(p, calls++ === 1 ? value : 1) as tf.Tensor1D }) };
    const error: unknown = await cut.forwardBackward(failing).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as Error).message).toMatch(
      /^cross_entropy: loss of 1 sequences, the first is \d: is (NaN|-Infinity), expected a finite number; the weights are untouched and no gradient is kept$/,
    );
    await expect(cut.optimStep({ learningRate: 1 })).rejects.toThrow(/forwardBackward first/);
    const metric = { ...loss, perToken: (p: tf.Tensor1D) => ({ loss: p, metrics: { kl: tf.mul(p, value) as tf.Tensor1D } }) };
    await expect(cut.forwardBackward(metric)).rejects.toThrow(/^cross_entropy: kl of /);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('what is not finite is an error that names the sequence; once it is mended, the engine goes on', async () => {
    const values = await policy.values();
    (values.get('model.norm.weight') as Float32Array)[3] = Number.NaN;
    const broken = inProcessEngine(Policy.fromValues(policy.config, values), noTokenizer);
    await expect(broken.forward(data)).rejects.toThrow(/^forward: log-probabilities of sequence \d: element 0 is NaN/);
    await expect(broken.compare(paired)).rejects.toThrow(/^compare: kl of sequence \d: element 0 is NaN/);
    const options = { temperature: 1, seed: 1, maxTokens: 3, onToken: () => 'continue' as const };
    const tensors = tf.memory().numTensors;
    await expect(broken.sample([[1, 2]], options)).rejects.toThrow(
      /^generate: logits of sequence 0 for position 2, after a prompt of 2: element/,
    );
    expect(tf.memory().numTensors).toBe(tensors);
    const norm = policy.weights.get('model.norm.weight') as tf.Variable;
    broken.policy.weights.get('model.norm.weight')?.assign(norm);
    expect(await broken.sample([[1, 2]], options)).toEqual(await engine.sample([[1, 2]], options));
    broken.dispose();
  });

  test.each([
    [undefined, /^sample: options: expected an object, got undefined/],
    [{ maxTokens: undefined }, /^sample: maxTokens: expected a whole number from 1, got undefined/],
    [{ maxTokens: '4' }, /^sample: maxTokens: expected a whole number from 1, got "4"/],
    [{ onToken: 'end' }, /^generate: onToken: expected a function, got "end"/],
    [{ endIds: [1.5] }, /^generate: endIds\[0\] is 1\.5, expected a token id from 0 to/],
    [{ temperature: '1' }, /the temperature should be a number/],
    [{ topK: -1 }, /topK should be a whole number/],
    [{ topP: '0.5' }, /topP should be in \(0, 1\], got "0.5"/],
    [{ topP: null }, /topP should be in \(0, 1\], got null/],
    [{ minP: null }, /minP should be in \[0, 1\], got null/],
    [{ seed: '1' }, /expected an integer as the seed, got "1"/],
    [{ top_p: 0.5 }, /^sample: there is no option top_p; expected temperature, topK, topP/],
  ])('sampling with %j is refused before anything is computed', async (change, message) => {
    const options = change && { temperature: 1, seed: 1, maxTokens: 1, onToken: () => 'end' as const, ...change };
    await expect(engine.sample([[1]], options as never)).rejects.toThrow(message);
  });

  test('a gradient that is not finite is an error that names its tensor; nothing is applied, and the next step is as if it had not been', async () => {
    const step = async () => {
      await engine.forwardBackward(crossEntropyLoss(data));
      await engine.optimStep({ learningRate: 0.01 });
    };
    await step();
    const loss = crossEntropyLoss(data);
    const poisoned = tf.customGrad((x) => ({ value: tf.clone(x as tf.Tensor), gradFunc: (dy: tf.Tensor) => tf.mul(dy, Number.NaN) })) as (
      x: tf.Tensor1D,
    ) => tf.Tensor1D;
    await engine.forwardBackward({ ...loss, perToken: (p: tf.Tensor1D) => ({ loss: poisoned(p) }) });
    const before = await policy.values();
    const error: unknown = await engine.optimStep({ learningRate: 0.01, clipNorm: 1 }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as Error).message).toMatch(/gradient of model\..*: element \d+ is NaN/);
    expect(await policy.values()).toEqual(before);
    await expect(engine.optimStep({ learningRate: 1 })).rejects.toThrow(/forwardBackward first/);
    await step();
    const found = await policy.values();
    engine.dispose();
    policy = await loadPolicy(fixtureFolder('xs_tied'));
    engine = inProcessEngine(policy, noTokenizer);
    await step();
    await step();
    expect(found).toEqual(await policy.values());
  });

  test('dropping or merging an adapter forgets its gradients', async () => {
    for (const end of ['dropAdapter', 'mergeAdapter'] as const) {
      engine.addAdapter({ rank: 1, alpha: 1, seed: 1 });
      await engine.forwardBackward(crossEntropyLoss(data));
      engine[end]();
      await expect(engine.optimStep({ learningRate: 1 })).rejects.toThrow(/forwardBackward first/);
      await engine.forwardBackward(crossEntropyLoss(data));
      await engine.optimStep({ learningRate: 0 });
    }
  });

  test('compare shows the divergence and both log-probabilities that a plain computation gives', async () => {
    await trainedAdapter();
    const views = await engine.compare(paired);
    const student = await engine.forward(data);
    const teacher = await engine.forward(
      paired.map((item) => item.teacher),
      'frozen',
    );
    const { metrics } = await engine.forwardBackward(forwardKlLoss(paired, { clamp: 0.1 }));
    views.forEach((view, i) => {
      expectArraysClose(view.student, student[i], 1e-5, `student ${i}`);
      expectArraysClose(view.teacher, teacher[i], 1e-5, `teacher ${i}`);
      expect(Math.min(...view.kl)).toBeGreaterThan(-1e-6);
    });
    const kl = views.flatMap((view) => [...view.kl]);
    expect(metrics.kl_unclamped).toBeCloseTo(kl.reduce((a, b) => a + b, 0) / kl.length, 5);
  });

  test('its methods work on their own, apart from the object', async () => {
    const { addAdapter, dropAdapter, mergeAdapter, forward, forwardBackward, optimStep, save, load, snapshot } = engine;
    const folder = await mkdtemp(join(tmpdir(), 'engine-'));
    try {
      const before = await forward(data);
      addAdapter({ rank: 1, alpha: 1, seed: 1 });
      dropAdapter();
      addAdapter({ rank: 1, alpha: 1, seed: 1 });
      mergeAdapter();
      await save(folder);
      await forwardBackward(crossEntropyLoss(data));
      await optimStep({ learningRate: 0.1 });
      await load(folder);
      const reference = snapshot();
      expect(await forward(data, reference)).toEqual(before);
      reference.dispose();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('nothing is left on the backend after work and dispose', async () => {
    const before = tf.memory().numTensors;
    const own = inProcessEngine(await loadPolicy(fixtureFolder('xs_tied')), noTokenizer);
    const snapshot = own.snapshot();
    own.addAdapter({ rank: 2, alpha: 2, seed: 1 });
    for (const loss of [crossEntropyLoss(data), forwardKlLoss(paired, { clamp: 1 })]) {
      await own.forwardBackward(loss);
      await own.optimStep({ learningRate: 0.01 });
    }
    await own.forward(data, snapshot);
    await own.compare(paired);
    own.mergeAdapter();
    await own.sample([[1, 2], [3]], { temperature: 1, seed: 1, maxTokens: 5, onToken: () => 'continue' });
    await own.forwardBackward(crossEntropyLoss(data));
    snapshot.dispose();
    own.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
