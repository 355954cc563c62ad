/** GRPO's losses against TRL's own code, sampling distributions and chat templates against Transformers', on inputs drawn afresh. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { grpoTokenLoss } from '../../src/grpo/loss.js';
import { type ChatMessage, chatTemplate } from '../../src/policy/chat-template.js';
import { limitedDistribution, penalize } from '../../src/policy/sampling.js';
import { startBackend } from '../../src/tensors/backend.js';
import { python, report, scratch, seed } from './python.js';

interface Recorded {
  readonly grpo: readonly {
    readonly loss_type: string;
    readonly beta: number;
    readonly epsilon: number;
    readonly logps: number[][];
    readonly old: number[][];
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

/** How much each own token counts, by TRL's `loss_type`: the engine's own mean over tokens is bnpo's and, on one process, dapo's. */
function weights(type: string, mask: readonly (readonly number[])[]): number[][] {
  const total = mask.flat().reduce((a, b) => a + b, 0);
  return mask.map((row) => {
    const own = row.reduce((a, b) => a + b, 0);
    return row.map((each) => {
      if (type === 'grpo') return each / Math.max(1, own) / mask.length;
      if (type === 'dr_grpo') return each / (mask.length * row.length);
      return each / Math.max(1, total);
    });
  });
}

test.each(['simd', 'cpu'] as const)('on %s the loss and its gradient under each of TRL’s aggregations', async (backend) => {
  await startBackend({ backend });
  for (const type of ['grpo', 'bnpo', 'dr_grpo', 'dapo']) {
    let [loss, gradient] = [0, 0];
    for (const c of recorded.grpo.filter((each) => each.loss_type === type)) {
      const flat = (rows: readonly (readonly number[])[]) => tf.tensor1d(rows.flat());
      const inputs = { old: flat(c.old), reference: flat(c.ref), advantages: flat(c.mask.map((row, b) => row.map(() => c.advantages[b]))) };
      const { value, grad } = tf.valueAndGrad((p) =>
        tf.sum(tf.mul(grpoTokenLoss(p as tf.Tensor1D, inputs, { clipLow: c.epsilon, clipHigh: c.epsilon, beta: c.beta }).loss, flat(weights(type, c.mask)))),
      )(flat(c.logps));
      loss = Math.max(loss, Math.abs(value.dataSync()[0] - c.loss));
      const expected = c.grad.flat();
      grad.dataSync().forEach((g, i) => {
        gradient = Math.max(gradient, Math.abs(g - expected[i]));
      });
    }
    report('GRPO', `${backend}: loss of TRL's ${type}`, loss, 1e-5);
    report('GRPO', `${backend}: gradient of TRL's ${type}`, gradient, 1e-5);
    expect(Math.max(loss, gradient)).toBeLessThanOrEqual(1e-5);
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
