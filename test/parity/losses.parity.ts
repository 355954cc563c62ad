/** GRPO's losses against TRL's own code, sampling distributions and chat templates against Transformers', on inputs drawn afresh. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { type AdvantageSettings, stepAdvantages } from '../../src/grpo/advantages.js';
import { type Aggregation, type GrpoDatum, grpoLoss } from '../../src/grpo/loss.js';
import { type ChatMessage, chatTemplate } from '../../src/policy/chat-template.js';
import { limitedDistribution, penalize } from '../../src/policy/sampling.js';
import { startBackend } from '../../src/tensors/backend.js';
import { python, report, scratch, seed } from './python.js';

interface Recorded {
  readonly grpo: readonly {
    readonly loss_type: Aggregation;
    readonly beta: number;
    readonly epsilon: number;
    readonly epsilon_high: number;
    readonly bias_corrected: boolean;
    readonly scale_rewards: 'group' | 'batch' | 'none';
    readonly rewards: number[];
    readonly logps: number[][];
    /** Null on policy. */
    readonly old: number[][] | null;
    readonly ref: number[][];
    readonly mask: number[][];
    readonly advantages: number[];
    readonly loss: number;
    readonly grad: number[][];
  }[];
  readonly sampling: readonly {
    readonly logits: number[];
    readonly held: number[];
    readonly penalty: number;
    readonly temperature: number;
    readonly topK: number;
    readonly topP: number;
    readonly minP: number;
    readonly probabilities: number[];
  }[];
  readonly chats: readonly {
    readonly template: string;
    readonly messages: ChatMessage[];
    readonly tools: unknown;
    readonly generation: boolean;
    readonly text: string;
  }[];
}

const path = join(scratch('losses'), 'recorded.json');
python('losses.py', path, String(seed));
const recorded = JSON.parse(readFileSync(path, 'utf8')) as Recorded;

test.each(['simd', 'cpu'] as const)('on %s the advantages, the loss and its gradient under each of TRL’s aggregations', async (backend) => {
  await startBackend({ backend });
  for (const type of ['grpo', 'bnpo', 'dr_grpo', 'dapo'] as const) {
    let [advantage, loss, gradient] = [0, 0, 0];
    for (const c of recorded.grpo.filter((each) => each.loss_type === type)) {
      const scaling: AdvantageSettings =
        c.scale_rewards === 'none' ? { deviation: 'none' } : { deviationOver: c.scale_rewards, deviationEpsilon: 1e-4 };
      const advantages = stepAdvantages([c.rewards.slice(0, 4), c.rewards.slice(4)], scaling).flat();
      advantage = Math.max(advantage, ...advantages.map((a, b) => Math.abs(a - c.advantages[b])));
      const places = c.mask.map((row) => row.flatMap((own, t) => (own ? [t] : [])));
      const own = (rows: readonly (readonly number[])[], b: number) => places[b].map((t) => rows[b][t]);
      const data = c.mask.map((row, b): GrpoDatum => {
        const logProbs = { ...(c.old && { oldLogProbs: own(c.old, b) }), ...(c.beta > 0 && { referenceLogProbs: own(c.ref, b) }) };
        return { tokens: [0, ...row], scored: places[b].map((t) => t + 1), advantage: advantages[b], ...logProbs };
      });
      const clips = { clipLow: c.epsilon, clipHigh: c.epsilon_high };
      const settings = {
        ...clips,
        beta: c.beta,
        biasCorrectedKl: c.bias_corrected,
        aggregation: type,
        maxCompletionLength: c.mask[0].length,
      };
      const ours = grpoLoss(data, settings);
      const { value, grad } = tf.valueAndGrad((p) => tf.div(tf.sum(ours.perToken(p as tf.Tensor1D, data).loss), ours.divisor as number))(
        tf.tensor1d(data.flatMap((_, b) => own(c.logps, b))),
      );
      loss = Math.max(loss, Math.abs(value.dataSync()[0] - c.loss));
      const expected = data.flatMap((_, b) => own(c.grad, b));
      grad.dataSync().forEach((g, i) => {
        gradient = Math.max(gradient, Math.abs(g - expected[i]));
      });
    }
    report('GRPO', `${backend}: advantages of TRL's ${type}`, advantage, 1e-5);
    report('GRPO', `${backend}: loss of TRL's ${type}`, loss, 1e-5);
    report('GRPO', `${backend}: gradient of TRL's ${type}`, gradient, 1e-5);
    expect(Math.max(advantage, loss, gradient)).toBeLessThanOrEqual(1e-5);
  }
});

test('distributions under a repetition penalty, temperature, top-k, top-p and min-p', () => {
  let most = 0;
  for (const { logits, temperature, probabilities, held, penalty, ...limits } of recorded.sampling) {
    const found = limitedDistribution(penalize(Float32Array.from(logits), held, penalty), temperature, limits);
    probabilities.forEach((p, v) => {
      most = Math.max(most, Math.abs(p - found[v]));
    });
  }
  report('sampling', `${recorded.sampling.length} distributions`, most, 1e-5);
  expect(most).toBeLessThanOrEqual(1e-5);
});

test('chat templates, to the character', () => {
  const specials = { eos_token: '<eos>', pad_token: '<pad>', unk_token: 'a' };
  const wrong = recorded.chats.filter(
    ({ template, messages, tools, generation, text }) =>
      chatTemplate(template, specials)(messages, { addGenerationPrompt: generation, variables: tools ? { tools } : {} }) !== text,
  );
  report('chat templates', `${recorded.chats.length} conversations that differ`, wrong.length);
  expect(wrong.slice(0, 2)).toEqual([]);
});
