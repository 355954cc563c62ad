/** The GRPO loss held to TRL 1.16's own code (test/fixtures/grpo_loss.json): the cases that are the paper's form. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { groupAdvantages } from '../../src/grpo/advantages.js';
import { type GrpoDatum, grpoLoss, grpoTokenLoss } from '../../src/grpo/loss.js';
import { startBackend } from '../../src/tensors/backend.js';
import { expectArraysClose, readFixture } from '../policy/xs.js';

interface Case {
  readonly loss_type: string;
  readonly use_bias_correction_kl: boolean;
  readonly scale_rewards: 'group' | 'none';
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
/** One mean over all own tokens (bnpo; dapo on one process), k3 as it is, one clip for both sides. */
const tokenMean = cases.filter((c) => ['dapo', 'bnpo'].includes(c.loss_type) && !c.use_bias_correction_kl && c.epsilon === c.epsilon_high);
/** A mean over sequences of their own means: ours on one sequence at a time. */
const sequenceMean = cases.filter((c) => c.loss_type === 'grpo' && !c.use_bias_correction_kl && c.epsilon === c.epsilon_high);
const [rows, width] = f.shape as [number, number];

const maskOf = ({ tool_mask }: Case, row: number): number[] =>
  f.completion_mask[row].flatMap((own: number, t: number) => (own && (!tool_mask || f.tool_mask[row][t]) ? [t] : []));
const pick = (values: readonly number[], places: readonly number[]) => places.map((t) => values[t]);

function datum(c: Case, row: number): GrpoDatum {
  const scored = maskOf(c, row);
  const { advantages } = f as { advantages: Record<string, number[]> };
  return {
    tokens: new Array(width + 1).fill(0),
    scored: scored.map((t) => t + 1),
    advantage: advantages[c.scale_rewards][row],
    oldLogProbs: pick((c.on_policy ? f.logps : f.old_logps)[row], scored),
    referenceLogProbs: pick(f.ref_logps[row], scored),
  };
}

/** Loss and gradient [rows, width] of the mean over the rows' own tokens; 0 where a token is not own. */
function meanLoss(c: Case, which: readonly number[]): { loss: number; gradients: number[][] } {
  const data = which.map((row) => datum(c, row));
  const logProbs = which.flatMap((row) => pick(f.logps[row], maskOf(c, row)));
  const { value, grad } = tf.valueAndGrad((p) =>
    tf.mean(grpoLoss(data, { clipLow: c.epsilon, clipHigh: c.epsilon, beta: c.beta }).perToken(p as tf.Tensor1D, data).loss),
  )(tf.tensor1d(logProbs));
  const flat = [...grad.dataSync()];
  const gradients = which.map((row) => {
    const line = new Array(width).fill(0);
    for (const t of maskOf(c, row)) line[t] = flat.shift();
    return line;
  });
  return { loss: value.dataSync()[0], gradients };
}

const title = (c: Case) =>
  `${c.loss_type}, advantages ${c.scale_rewards}, beta ${c.beta}${c.tool_mask ? ', without tool results' : ''}${c.on_policy ? ', on policy' : ''}`;

describe.each(['simd', 'cpu'] as const)('on %s', (backend) => {
  beforeAll(async () => {
    await startBackend({ backend });
  });

  test('the fixture has the cases this file means to read', () => {
    expect([tokenMean.length, sequenceMean.length]).toEqual([8, 7]);
  });

  test.each(tokenMean.map((c) => [title(c), c] as const))('loss and gradients equal TRL: %s', (_, c) => {
    const { loss, gradients } = meanLoss(c, [...Array(rows).keys()]);
    expect(Math.abs(loss - c.loss)).toBeLessThanOrEqual(1e-6);
    expectArraysClose(gradients.flat(), c.grad_logps.flat(), 1e-6, 'gradient');
  });

  test.each(sequenceMean.map((c) => [title(c), c] as const))('so do the sequences one by one: %s', (_, c) => {
    const each = [...Array(rows).keys()].map((row) => meanLoss(c, [row]));
    const mean = each.reduce((sum, { loss }) => sum + loss, 0) / rows;
    expect(Math.abs(mean - c.loss)).toBeLessThanOrEqual(1e-6);
    const gradients = each.flatMap((one) => one.gradients.flat().map((g) => g / rows));
    expectArraysClose(gradients, c.grad_logps.flat(), 1e-6, 'gradient');
  });

  test('the metrics are k3 and whether the clip took the gradient away (counted by hand)', () => {
    // ratios 1.5, 1.5, 0.5, 0.5, 1.1 at clip 0.2: the clip binds above for a good attempt and below for a bad one.
    const [old, reference] = [[1.5, 1.5, 0.5, 0.5, 1.1].map((r) => -1 - Math.log(r)), [-1, -2, -1, -1, -1]];
    const advantages = [1, -1, 1, -1, 1];
    const { kl, clipped, loss } = grpoTokenLoss(
      tf.fill([5], -1) as tf.Tensor1D,
      { old: tf.tensor1d(old), reference: tf.tensor1d(reference), advantages: tf.tensor1d(advantages) },
      { clipLow: 0.2, clipHigh: 0.2, beta: 0.1 },
    );
    expect([...clipped.dataSync()]).toEqual([1, 0, 0, 1, 0]);
    expectArraysClose((kl as tf.Tensor1D).dataSync(), [0, Math.exp(-1) + 1 - 1, 0, 0, 0], 1e-6, 'k3');
    expectArraysClose(loss.dataSync(), [-1.2, 1.5 + 0.1 * Math.exp(-1), -0.5, 0.8, -1.1], 1e-6, 'loss');
  });
});

test("advantages equal TRL's and torch's on the fixture's groups, all 0 in the group that scored the same", () => {
  const size = f.num_generations as number;
  const groups = [0, 1, 2].map((g) => (f.rewards as number[]).slice(g * size, (g + 1) * size));
  expectArraysClose(
    groups.flatMap((g) => groupAdvantages(g)),
    f['advantages_group_eps_1e-6'],
    1e-6,
    'epsilon 1e-6',
  );
  expectArraysClose(
    groups.flatMap((g) => groupAdvantages(g, { deviationEpsilon: 1e-4 })),
    f.advantages.group,
    1e-6,
    'epsilon 1e-4',
  );
  expect(groupAdvantages(groups[1])).toEqual([0, 0, 0, 0]);
});
