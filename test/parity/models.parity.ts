/** The decoder, its gradients, LoRA, training and saving against PyTorch, Transformers and PEFT, on models drawn afresh. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { pack } from '../../src/engines/packing.js';
import { loadAdapter, saveAdapter } from '../../src/policy/adapter-files.js';
import { loadPolicy, savePolicy } from '../../src/policy/checkpoint.js';
import { type DecoderOptions, decode, headOf } from '../../src/policy/decoder.js';
import type { Policy } from '../../src/policy/policy.js';
import { openSafetensors } from '../../src/policy/safetensors.js';
import { startBackend } from '../../src/tensors/backend.js';
import { linear } from '../../src/tensors/linear.js';
import { noTokenizer } from '../policy/xs.js';
import { python, report, scratch, seed } from './python.js';

interface Batch {
  readonly rows: readonly (readonly number[])[];
  readonly scored: readonly (readonly number[])[];
  readonly continuations: readonly (readonly number[])[];
  readonly penalized: readonly (readonly number[])[];
  readonly loss: number;
  readonly losses: readonly number[];
  readonly half: 'BF16' | 'F16' | null;
  readonly about: string;
}

const MODELS = Number(process.env.PARITY_MODELS ?? 6);
const LOGITS = 1e-4;
const GRADIENTS = 1e-3;
const root = scratch('models');
python('models.py', 'draw', root, String(seed), String(MODELS));

describe.each(Array.from({ length: MODELS }, (_, i) => i))('model %i', (i) => {
  const folder = join(root, String(i));
  const batch = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as Batch;
  const expected = new Map<string, Float32Array>();
  const data = batch.rows.map((tokens, b) => ({ tokens, scored: batch.scored[b] }));
  const say = (what: string, difference: number, bound: number) => {
    report(`model ${i}`, `${what} (${batch.about})`, difference, bound);
    expect(difference, what).toBeLessThanOrEqual(bound);
  };
  beforeAll(async () => {
    const file = await openSafetensors(join(folder, 'expected.safetensors'));
    for (const name of file.records.keys()) expected.set(name, await file.read(name));
    await file.close();
  });
  const of = (name: string) => expected.get(name) as Float32Array;

  describe.each(['simd', 'cpu'] as const)('on %s', (backend) => {
    let policy: Policy;
    beforeAll(async () => {
      await startBackend({ backend });
      policy = await loadPolicy(folder);
    });
    afterAll(() => policy.dispose());

    test('logits, each row alone, padded on the right, and padded on the left', () => {
      const width = Math.max(...batch.rows.map(({ length }) => length));
      let [alone, right, left] = [0, 0, 0];
      const pad = (row: readonly number[]) => new Array<number>(width - row.length).fill(0);
      const rightPadded = logits(
        policy,
        batch.rows.map((row) => [...row, ...pad(row)]),
      );
      // Beyond a sliding window padded keys are refused: sequences are packed instead.
      const cuts = width > (policy.config.slidingWindow?.tokens ?? width);
      const padded = () =>
        logits(
          policy,
          batch.rows.map((row) => [...pad(row), ...row]),
          {
            positions: Int32Array.from(batch.rows.flatMap((row) => [...pad(row), ...row.keys()])),
            keyMask: tf.tensor2d(batch.rows.map((row) => [...pad(row), ...row.map(() => 1)])),
          },
        );
      if (cuts) expect(padded).toThrow(/exceed the sliding window/);
      const leftPadded = cuts ? null : padded();
      batch.rows.forEach((row, b) => {
        const V = policy.config.vocabSize;
        alone = Math.max(alone, far(logits(policy, [row]), of(`logits.${b}`)));
        right = Math.max(right, far(rightPadded.subarray(b * width * V, (b * width + row.length) * V), of(`logits.${b}`)));
        if (leftPadded)
          left = Math.max(left, far(leftPadded.subarray(((b + 1) * width - row.length) * V, (b + 1) * width * V), of(`logits.${b}`)));
      });
      say(`${backend}: logits`, alone, LOGITS);
      say(`${backend}: logits, padded on the right`, right, LOGITS);
      if (leftPadded) say(`${backend}: logits, padded on the left`, left, LOGITS);
    });

    test('packed into one row, where what two rows begin with is read once', () => {
      const { vocabSize: V } = policy.config;
      const whole = batch.rows.map((row) => ({ tokens: [...row, 0], scored: [...row.keys()].map((t) => t + 1) })); // a state for every token
      const { tokens, positions, segments, states, stateOf } = pack(whole);
      expect(tokens.length).toBeLessThan(batch.rows.flat().length);
      const all = logits(policy, [[...tokens]], { positions, segments, rows: states });
      const found = [...stateOf].map((row) => all.subarray(row * V, (row + 1) * V));
      let at = 0;
      const differences = batch.rows.map((row, b) => {
        const theirs = of(`logits.${b}`);
        return Math.max(...row.map((_, t) => far(found[at++], theirs.subarray(t * V, (t + 1) * V))));
      });
      say(`${backend}: logits, packed`, Math.max(...differences), LOGITS);
      say(
        `${backend}: gradients, packed, relative to their norm`,
        worst(packedGradients(policy, data, policy.weights), (name) => of(`grad.${name}`)),
        GRADIENTS,
      );
    });

    test('log-probabilities through the engine, and greedy continuations through its cache, token for token', async () => {
      const engine = inProcessEngine(policy, noTokenizer);
      const forward = await engine.forward(batch.rows.map((tokens) => ({ tokens, scored: [...tokens.keys()].slice(1) })));
      say(`${backend}: log-probabilities`, Math.max(...forward.map((values, b) => far(values, of(`logprobs.${b}`)))), LOGITS);
      const differ = async (continuations: Batch['continuations'], repetitionPenalty?: number) => {
        const maxTokens = Math.max(1, ...continuations.map(({ length }) => length));
        const written = await engine.sample(batch.rows, {
          temperature: 0,
          seed: 1,
          maxTokens,
          repetitionPenalty,
          onToken: () => 'continue',
        });
        return written.filter(({ tokens }, b) => continuations[b].some((token, t) => tokens[t] !== token)).length;
      };
      say(`${backend}: greedy continuations that differ`, await differ(batch.continuations), 0);
      say(`${backend}: with a repetition penalty`, await differ(batch.penalized, 1.3), 0);
    });

    test('the gradient of every weight', () => {
      say(
        `${backend}: gradients, relative to their norm`,
        worst(gradients(policy, data, policy.weights), (name) => of(`grad.${name}`)),
        GRADIENTS,
      );
    });

    test("PEFT's adapter: logits, gradients, merged and taken out again", async () => {
      await loadAdapter(policy, join(folder, 'adapter'));
      say(`${backend}: LoRA logits`, far(logits(policy, [batch.rows[0]]), of('lora.logits')), LOGITS);
      const variables = policy.adapter?.variables as ReadonlyMap<string, tf.Variable>;
      const found = gradients(policy, data, variables);
      expect(found.length).toBe([...expected.keys()].filter((name) => name.startsWith('lora.grad.')).length);
      say(
        `${backend}: LoRA gradients, relative to their norm`,
        worst(found, (name) => of(`lora.grad.${name}`)),
        GRADIENTS,
      );
      const before = await policy.values();
      const kept = policy.mergeAndKeepAdapter();
      say(`${backend}: merged logits`, far(logits(policy, [batch.rows[0]]), of('lora.merged')), LOGITS);
      policy.unmergeAdapter(kept);
      policy.dropAdapter();
      const after = await policy.values();
      say(
        `${backend}: weights after merging and unmerging`,
        Math.max(...[...before].map(([name, v]) => far(v, after.get(name) as Float32Array))),
        1e-6,
      );
    });
  });

  test('20 steps of AdamW', async () => {
    await startBackend({ backend: 'simd' });
    const engine = inProcessEngine(await loadPolicy(folder), noTokenizer);
    const losses: number[] = [];
    for (let step = 0; step < 20; step++) {
      losses.push((await engine.forwardBackward(crossEntropyLoss(data))).loss);
      await engine.optimStep({ learningRate: 1e-3, beta1: 0.9, beta2: 0.99, epsilon: 1e-4, weightDecay: 0.01, clipNorm: 1 });
    }
    say('AdamW: losses of 20 steps', far(losses, batch.losses), 1e-3);
    const values = await engine.policy.values();
    say('AdamW: weights after 20 steps', Math.max(...[...values].map(([name, v]) => far(v, of(`trained.${name}`)))), 1e-3);
    engine.dispose();
  });

  test('16-bit weights that stay as stored compute the same', async () => {
    if (!batch.half) return;
    await startBackend({ backend: 'simd' });
    const policy = await loadPolicy(folder, { storage: 'stored' });
    expect(policy.frozen).toBe(true);
    say('stored in 16 bits: logits', far(logits(policy, [batch.rows[0]]), of('logits.0')), LOGITS);
    await loadAdapter(policy, join(folder, 'adapter'));
    const found = gradients(policy, data, policy.adapter?.variables as ReadonlyMap<string, tf.Variable>);
    say(
      'stored in 16 bits: LoRA gradients',
      worst(found, (name) => of(`lora.grad.${name}`)),
      GRADIENTS,
    );
    policy.mergeAdapter();
    const values = await policy.values();
    // A sum in another order may lie on the other side of a rounding: one step of the 16 bits, and seldom.
    const steps = [...values].map(([name, v]) =>
      v.map((value, k) => Math.abs(value - of(`merged.${name}`)[k]) / halfStep(value, batch.half)),
    );
    const count = steps.reduce((sum, each) => sum + each.length, 0);
    say('stored in 16 bits, merged: largest difference to PEFT in steps', Math.max(...steps.map((each) => Math.max(...each))), 1);
    const other = steps.reduce((sum, each) => sum + each.filter((step) => step > 0).length, 0);
    say('stored in 16 bits, merged: share of weights that differ from PEFT', other / count, 1e-3);
    policy.dispose();
  });
});

test('what is saved opens in Transformers and PEFT', async () => {
  await startBackend({ backend: 'simd' });
  const ours: (readonly Float32Array[])[] = [];
  for (let i = 0; i < MODELS; i++) {
    const folder = join(root, String(i));
    const { rows, half } = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as Batch;
    const policy = await loadPolicy(folder, { storage: 'stored' });
    await savePolicy(policy, join(folder, 'saved'), { maxShardSize: i % 2 ? 20_000 : undefined }); // every other one in shards
    await loadAdapter(policy, join(folder, 'adapter'));
    await saveAdapter(policy, join(folder, 'saved-adapter'));
    const adapted = logits(policy, [rows[0]]);
    policy.dropAdapter();
    const plain = logits(policy, [rows[0]]);
    if (half) {
      await loadAdapter(policy, join(folder, 'adapter'));
      policy.mergeAdapter();
      await savePolicy(policy, join(folder, 'saved-merged'));
    }
    ours.push([plain, adapted, ...(half ? [logits(policy, [rows[0]])] : [])]);
    policy.dispose();
  }
  python('models.py', 'open', root, String(MODELS));
  const differences = ours.map((pair, i) => {
    const theirs = JSON.parse(readFileSync(join(root, String(i), 'opened.json'), 'utf8')) as number[][];
    return pair.map((values, part) => far(values, theirs[part]));
  });
  report('saving', `checkpoints opened in Transformers: logits`, Math.max(...differences.map(([model]) => model)), LOGITS);
  report('saving', `adapters opened in PEFT: logits`, Math.max(...differences.map(([, adapter]) => adapter)), LOGITS);
  const merged = differences.flatMap(([, , each]) => each ?? []);
  report(
    'saving',
    `${merged.length} checkpoints of 16 bits with an adapter merged, opened in Transformers: logits`,
    Math.max(...merged),
    LOGITS,
  );
  expect(Math.max(...differences.flat())).toBeLessThanOrEqual(LOGITS);
});

/** Logits of all positions, end to end. */
function logits(policy: Policy, rows: readonly (readonly number[])[], options: DecoderOptions = {}): Float32Array {
  return tf.tidy(() => {
    const [B, T] = [rows.length, rows[0].length];
    const hidden = decode(policy, Int32Array.from(rows.flat()), [B, T], options);
    return linear(tf.reshape(hidden, [-1, policy.config.hiddenSize]), headOf(policy)).dataSync() as Float32Array;
  });
}

/** Gradients of the mean cross entropy over the scored tokens. */
function gradients(
  policy: Policy,
  data: readonly { readonly tokens: readonly number[]; readonly scored: readonly number[] }[],
  variables: ReadonlyMap<string, tf.Variable>,
): [string, Float32Array][] {
  return gradientsOf(variables, () => {
    const count = data.reduce((sum, { scored }) => sum + scored.length, 0);
    const losses = data.map(({ tokens, scored }) => {
      const hidden = tf.reshape(decode(policy, Int32Array.from(tokens), [1, tokens.length]), [tokens.length, policy.config.hiddenSize]);
      const rows = scored.map((t) => t - 1);
      const mean = crossEntropy(
        policy,
        hidden as tf.Tensor2D,
        rows,
        scored.map((t) => tokens[t]),
      );
      return tf.mul(mean, scored.length / count);
    });
    return tf.addN(losses) as tf.Scalar;
  });
}

/** Mean of -log p of the chosen tokens, each read off one row of the hidden states [n, d]. */
function crossEntropy(policy: Policy, hidden: tf.Tensor2D, rows: ArrayLike<number>, chosen: readonly number[]): tf.Scalar {
  const states = tf.gather(hidden, tf.tensor1d(Int32Array.from(rows), 'int32'));
  const targets = tf.oneHot(tf.tensor1d(Int32Array.from(chosen), 'int32'), policy.config.vocabSize);
  return tf.neg(tf.div(tf.sum(tf.mul(tf.logSoftmax(linear(states, headOf(policy))), targets)), chosen.length)) as tf.Scalar;
}

function gradientsOf(variables: ReadonlyMap<string, tf.Variable>, loss: () => tf.Scalar): [string, Float32Array][] {
  const { value, grads } = tf.variableGrads(loss, [...variables.values()]);
  value.dispose();
  return [...variables].map(([name, variable]) => {
    const gradient = grads[variable.name];
    const values = gradient.dataSync() as Float32Array;
    gradient.dispose();
    return [name, Float32Array.from(values)];
  });
}

/** From a number of 16 bits to the next. */
function halfStep(value: number, format: 'BF16' | 'F16' | null): number {
  const exponent = Math.floor(Math.log2(Math.abs(value) || 1e-30));
  return format === 'BF16' ? 2 ** (exponent - 7) : 2 ** (Math.max(exponent, -14) - 10);
}

function far(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let k = 0; k < a.length; k++) {
    const difference = Math.abs(a[k] - b[k]);
    most = Math.max(most, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  return most;
}

/** The same, all rows in one. */
function packedGradients(
  policy: Policy,
  data: readonly { readonly tokens: readonly number[]; readonly scored: readonly number[] }[],
  variables: ReadonlyMap<string, tf.Variable>,
): [string, Float32Array][] {
  return gradientsOf(variables, () => {
    const { tokens, positions, segments, states, stateOf } = pack(data);
    const hidden = tf.reshape(decode(policy, tokens, [1, tokens.length], { positions, segments, rows: states }), [
      states.length,
      policy.config.hiddenSize,
    ]);
    const chosen = data.flatMap(({ tokens, scored }) => scored.map((t) => tokens[t]));
    return crossEntropy(policy, hidden as tf.Tensor2D, stateOf, chosen);
  });
}

/**
 * The largest difference of a gradient over the norm of what is expected. A gradient that is a thousandth of all, as those of the keys' biases, is what
 * cancellation leaves of larger numbers, in PyTorch as here: it is measured against that thousandth.
 */
function worst(found: readonly (readonly [string, Float32Array])[], of: (name: string) => Float32Array): number {
  const all = Math.hypot(...found.map(([name]) => Math.hypot(...of(name))));
  return Math.max(...found.map(([name, gradient]) => far(gradient, of(name)) / Math.max(1e-3 * all, Math.hypot(...of(name)))));
}
