/** What products in float16 change: logits, log-probabilities and gradients of one policy on the same tokens, beside float32 on the same card. */
import * as tf from '@tensorflow/tfjs-core';
import { generate, startBackend } from '../../src/index.js';
import { decode, headOf } from '../../src/policy/decoder.js';
import type { Policy } from '../../src/policy/index.js';
import { random } from '../../src/random.js';
import { type Compute, linear, selectedLogProbs } from '../../src/tensors/index.js';

/** Largest and mean absolute difference. */
export interface Difference {
  readonly max: number;
  readonly mean: number;
}

export interface Precision {
  readonly policy: string;
  readonly tokens: number;
  /** Standard deviation of the logits, to compare their difference with. */
  readonly spread: number;
  readonly logits: Difference;
  /** Nats. */
  readonly logProbs: Difference;
  /** |difference| / |gradient|, over all weights together, and of the weight where it is largest. */
  readonly gradient: { readonly relative: number; readonly worst: number; readonly worstWeight: string };
}

interface Batch {
  readonly sequences: number;
  readonly prompt: number;
  readonly drawn: number;
}

/** The policy draws in float32 what is then scored and differentiated in both. */
export async function precisionOf(name: string, policy: Policy, batch: Batch): Promise<Precision> {
  const { sequences, prompt, drawn } = batch;
  const length = prompt + drawn;
  await startBackend({ backend: 'webgpu', compute: 'float32' });
  const model = { config: { ...policy.config, endIds: [] }, weights: policy.weights };
  const stream = random(5, 'precision');
  const prompts = Array.from({ length: sequences }, () => Array.from({ length: prompt }, () => stream.integer(policy.config.vocabSize)));
  const written = await generate(model, prompts, { temperature: 1, seed: 1, maxTokens: drawn, onToken: () => 'continue' });
  const tokens = Int32Array.from(written.flatMap(({ tokens }, i) => [...prompts[i], ...tokens]));
  const targets = Int32Array.from(written.flatMap(({ tokens }) => [...tokens]));
  const signs = Float32Array.from({ length: targets.length }, (_, i) => (Math.floor(i / drawn) % 2 ? 1 : -1));

  const scored = (): tf.Tensor2D => {
    const hidden = decode(model, tokens, [sequences, length]);
    return tf.reshape(tf.slice(hidden, [0, prompt - 1, 0], [-1, drawn, -1]), [sequences * drawn, -1]); // [N, d]
  };
  const selected = () => selectedLogProbs(scored(), headOf(model), tf.tensor1d(targets)).logProbs;
  const measure = async (compute: Compute) => {
    await startBackend({ backend: 'webgpu', compute });
    return tf.tidy(() => {
      const logits = linear(scored(), headOf(model)) as tf.Tensor2D;
      const logProbs = selected();
      const { grads } = tf.variableGrads(() => tf.mean(tf.mul(selected(), signs)) as tf.Scalar, [...policy.trainable.values()]);
      return { logits, logProbs, grads };
    });
  };
  const [exact, rounded] = [await measure('float32'), await measure('float16')];
  await startBackend({ backend: 'webgpu', compute: 'float32' });
  const number = async (formula: () => tf.Tensor) => {
    const result = tf.tidy(formula);
    const [value] = await result.data();
    result.dispose();
    return value;
  };
  const difference = async (a: tf.Tensor, b: tf.Tensor): Promise<Difference> => ({
    max: await number(() => tf.max(tf.abs(tf.sub(a, b)))),
    mean: await number(() => tf.mean(tf.abs(tf.sub(a, b)))),
  });
  let [off, whole, worst, worstWeight] = [0, 0, 0, ''];
  const names = new Map([...policy.trainable].map(([weight, variable]) => [variable.name, weight]));
  for (const [variable, gradient] of Object.entries(exact.grads)) {
    const offHere = await number(() => tf.sum(tf.square(tf.sub(rounded.grads[variable], gradient))));
    const here = await number(() => tf.sum(tf.square(gradient)));
    off += offHere;
    whole += here;
    if (here > 0 && offHere / here > worst) [worst, worstWeight] = [offHere / here, names.get(variable) ?? variable];
  }
  const result: Precision = {
    policy: name,
    tokens: targets.length,
    spread: Math.sqrt(await number(() => tf.moments(exact.logits).variance)),
    logits: await difference(exact.logits, rounded.logits),
    logProbs: await difference(exact.logProbs, rounded.logProbs),
    gradient: { relative: Math.sqrt(off / whole), worst: Math.sqrt(worst), worstWeight },
  };
  tf.dispose([exact, rounded]);
  return result;
}
