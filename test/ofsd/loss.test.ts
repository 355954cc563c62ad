/** The forward KL loss through the engine: what it is the mean of, and what it must never see. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Paired } from '../../src/engines/engine.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { forwardKlLoss } from '../../src/ofsd/loss.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { decode, headOf } from '../../src/policy/decoder.js';
import type { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { linear } from '../../src/tensors/linear.js';
import { expectArraysClose, fixtureFolder, gradientsThrough, noTokenizer } from '../policy/xs.js';

const LENGTH = 12;
const source = random(3, 'tokens');
const ids = (n: number): number[] => Array.from({ length: n }, () => source.integer(256));
const completion = ids(LENGTH);
const [standard, privileged] = [ids(3), ids(7)];

/** One completion after both prompts; `mask` says which of its tokens are own. */
function pair(tokens: readonly number[], mask: readonly boolean[], teacherPrompt: readonly number[] = privileged): Paired {
  const own = mask.flatMap((is, t) => (is ? [t] : []));
  return {
    tokens: [...standard, ...tokens],
    scored: own.map((t) => standard.length + t),
    teacher: { tokens: [...teacherPrompt, ...tokens], scored: own.map((t) => teacherPrompt.length + t) },
  };
}

/** The distributions [N][V] that predict the scored tokens, by one plain pass. */
function distributions(
  policy: Policy,
  { tokens, scored }: { tokens: readonly number[]; scored: readonly number[] },
  adapter: boolean,
): number[][] {
  return tf.tidy(() => {
    const model = adapter ? policy : { config: policy.config, weights: policy.weights };
    const hidden = tf.reshape(decode(model, Int32Array.from(tokens), [1, tokens.length]), [tokens.length, policy.config.hiddenSize]);
    const probabilities = tf.softmax(linear(hidden, headOf(policy)) as tf.Tensor2D).arraySync() as number[][];
    return scored.map((t) => probabilities[t - 1]);
  });
}

function plainLoss(policy: Policy, data: readonly Paired[], clamp: number): number {
  const perToken = data.flatMap((item) => {
    const student = distributions(policy, item, true);
    return distributions(policy, item.teacher, false).map((teacher, n) =>
      teacher.reduce((sum, p, v) => sum + Math.min(p * (Math.log(p) - Math.log(student[n][v])), clamp), 0),
    );
  });
  return perToken.reduce((a, b) => a + b, 0) / perToken.length;
}

let policy: Policy;
let variables: ReadonlyMap<string, tf.Variable>;
beforeAll(async () => {
  await startBackend({ backend: 'simd' });
});
afterAll(() => policy.dispose());
beforeEach(async () => {
  policy?.dispose();
  policy = await loadPolicy(fixtureFolder('xs_tied'));
  policy.addAdapter({ rank: 2, alpha: 4, seed: 1 });
  variables = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
  // Away from its start, where it changes nothing and A has no gradient.
  const stream = random(9, 'B');
  for (const [name, variable] of variables) {
    if (name.includes('lora_B'))
      tf.tidy(() =>
        variable.assign(
          tf.tensor(
            Float32Array.from({ length: variable.size }, () => 0.2 * stream.normal()),
            variable.shape,
          ),
        ),
      );
  }
});
const engineOf = (memoryBudget = 1e9) => inProcessEngine(policy, noTokenizer, { memoryBudget });

test.each([0, -1, Number.NaN])('a clamp of %d is refused before anything is computed', (clamp) => {
  expect(() => forwardKlLoss([], { clamp })).toThrow(`forwardKlLoss: clamp: expected nats above 0, or Infinity for none, got ${clamp}`);
});

describe('the forward KL loss', () => {
  const data = [
    pair(
      completion,
      completion.map((_, t) => t % 3 !== 1),
    ),
    pair(
      ids(LENGTH),
      completion.map((_, t) => t > 8),
    ),
  ];

  test.each([Number.POSITIVE_INFINITY, 0.5, 0.02])(
    'is the mean over all own tokens that a plain recomputation gives, clamp %d',
    async (clamp) => {
      const { loss, tokens, metrics } = await engineOf().forwardBackward(forwardKlLoss(data, { clamp }));
      expect(tokens).toBe(8 + 3);
      expect(loss).toBeCloseTo(plainLoss(policy, data, clamp), 5);
      expect(metrics.kl_unclamped).toBeCloseTo(plainLoss(policy, data, Number.POSITIVE_INFINITY), 5);
    },
  );

  test("has the gradient that differences of the plain loss give, in the student's adapter alone", async () => {
    const clamp = 0.05;
    const weights = await policy.values();
    const { gradients } = await gradientsThrough(engineOf(), [forwardKlLoss(data, { clamp })], variables);
    expect([...gradients.keys()]).toEqual([...variables.keys()]);
    expect(await policy.values()).toEqual(weights);
    // Along the gradient itself: the slope is its norm.
    for (const name of ['model.layers.0.self_attn.v_proj.lora_A.weight', 'model.layers.1.mlp.down_proj.lora_B.weight']) {
      const variable = variables.get(name) as tf.Variable;
      const gradient = gradients.get(name) as Float32Array;
      const norm = Math.hypot(...gradient);
      const start = Float32Array.from(variable.dataSync());
      const lossAt = (step: number) => {
        tf.tidy(() =>
          variable.assign(
            tf.tensor(
              start.map((x, i) => x + (step * gradient[i]) / norm),
              variable.shape,
            ),
          ),
        );
        return plainLoss(policy, data, clamp);
      };
      const slope = (lossAt(1e-2) - lossAt(-1e-2)) / 2e-2;
      lossAt(0);
      expect(Math.abs(slope - norm), name).toBeLessThan(0.02 * norm);
    }
  });

  test('never sees which token was retrieved: other targets at masked places change neither loss nor gradient', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { minLength: LENGTH, maxLength: LENGTH }),
        fc.nat(LENGTH - 1),
        fc.integer({ min: 0, max: 255 }),
        async (mask, end, other) => {
          fc.pre(mask.includes(true));
          const last = mask.lastIndexOf(true);
          // A masked token that nothing scored comes after: what it is cannot matter at all.
          const changed = completion.map((token, t) => (t > last && t >= end ? other : token));
          const through = (tokens: readonly number[]) =>
            gradientsThrough(engineOf(), [forwardKlLoss([pair(tokens, mask)], { clamp: 0.5 })], variables);
          const first = await through(completion);
          const second = await through(changed);
          expect(second.reports).toEqual(first.reports);
          expect(second.gradients).toEqual(first.gradients);
        },
      ),
      { numRuns: 8, seed: 4 },
    );
  });

  test('is the sum over own tokens, each as it is when scored alone: masked ones in between add nothing', async () => {
    const alone = await Promise.all(
      completion.map(
        async (_, t) =>
          (
            await engineOf().compare([
              pair(
                completion,
                completion.map((__, u) => u === t),
              ),
            ])
          )[0].kl[0],
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: LENGTH, maxLength: LENGTH }), async (mask) => {
        fc.pre(mask.includes(true));
        const { loss } = await engineOf().forwardBackward(forwardKlLoss([pair(completion, mask)], { clamp: Number.POSITIVE_INFINITY }));
        const own = alone.filter((_, t) => mask[t]);
        expect(loss).toBeCloseTo(own.reduce((a, b) => a + b, 0) / own.length, 5);
      }),
      { numRuns: 12, seed: 2 },
    );
  });

  test('is 0 and moves nothing where the teacher knows no more than the student', async () => {
    policy.dropAdapter();
    const engine = engineOf();
    engine.addAdapter({ rank: 2, alpha: 4, seed: 1 });
    const same = data.map(({ tokens, scored }): Paired => ({ tokens, scored, teacher: { tokens, scored } }));
    const fresh = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
    const { reports, gradients, gradNorm } = await gradientsThrough(engine, [forwardKlLoss(same, { clamp: 0.5 })], fresh);
    expect(Math.abs(reports[0].loss)).toBeLessThan(1e-6);
    expect(gradNorm).toBeLessThan(1e-5);
    for (const [name, gradient] of gradients) expectArraysClose(gradient, new Float32Array(gradient.length), 1e-5, name);
  });
});
