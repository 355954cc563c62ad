/** A whole GRPO step on WebGPU: the same numbers as on the cpu backend, no tensor and no buffer left over, however often; and what ends it. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import { type InProcessEngine, inProcessEngine } from '../../src/engines/in-process.js';
import { type GrpoDatum, grpoLoss } from '../../src/grpo/loss.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { decode, headOf } from '../../src/policy/decoder.js';
import { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { linear } from '../../src/tensors/linear.js';
import { webGpuDevice } from '../../src/tensors/webgpu/device.js';
import { expectArraysClose, fixtureFolder, noTokenizer, readFixture, tinyConfig } from '../policy/xs.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';

const prompts = [
  [1, 2, 3],
  [4, 5, 6, 7],
  [8, 9, 10],
];

const newEngine = (): InProcessEngine =>
  inProcessEngine(Policy.initialize(tinyConfig, random(1, 'weights'), { scale: 0.3 }), noTokenizer, { memoryBudget: 60_000 });

/** Draws greedily, scores, takes one optimiser step. */
async function step(engine: InProcessEngine) {
  const drawn = await engine.sample(prompts, { temperature: 0, seed: 1, maxTokens: 5, onToken: () => 'continue' });
  const data = drawn.map(({ tokens, logProbs }, i) => ({
    tokens: [...prompts[i], ...tokens],
    scored: tokens.map((_, t) => prompts[i].length + t),
    oldLogProbs: logProbs,
    advantage: i - 1,
  }));
  const reference = await engine.forward(data, 'frozen');
  const whole: GrpoDatum[] = data.map((datum, i) => ({ ...datum, referenceLogProbs: reference[i] }));
  const { loss, metrics } = await engine.forwardBackward(grpoLoss(whole, { clipLow: 0.2, clipHigh: 0.2, beta: 0.1 }));
  const { gradNorm } = await engine.optimStep({ learningRate: 1e-3, clipNorm: 1 });
  return { tokens: drawn.map(({ tokens }) => tokens), loss, metrics, gradNorm };
}

describe.skipIf(!swiftShaderCanRun)('the engine on WebGPU', { timeout: 300_000 }, () => {
  beforeAll(useSwiftShader);
  afterAll(async () => {
    await startBackend({ backend: 'cpu' });
  });

  test.each([false, true])('takes the step that the cpu backend takes, with an adapter: %s', async (adapted) => {
    const steps = [];
    const weights: Map<string, Float32Array>[] = [];
    for (const backend of ['cpu', 'webgpu'] as const) {
      await startBackend({ backend });
      const engine = newEngine();
      if (adapted) engine.addAdapter({ rank: 2, alpha: 4, seed: 1 });
      steps.push([await step(engine), await step(engine)]);
      if (adapted) engine.mergeAdapter();
      weights.push(await engine.policy.values());
      engine.dispose();
    }
    const [onCpu, onGpu] = steps;
    onCpu.forEach((expected, i) => {
      expect(onGpu[i].tokens).toEqual(expected.tokens);
      expect(onGpu[i].loss).toBeCloseTo(expected.loss, 4);
      expect(onGpu[i].gradNorm / expected.gradNorm).toBeCloseTo(1, 3);
      expect(onGpu[i].metrics.entropy).toBeCloseTo(expected.metrics.entropy, 4);
    });
    for (const [name, values] of weights[0]) {
      const other = weights[1].get(name) as Float32Array;
      const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i])), 0);
      expect(worst, name).toBeLessThan(2e-4); // a fifth of a step: where a gradient is near 0, Adam takes its sign
    }
  });

  test('leaves no tensor and no buffer over', async () => {
    await startBackend({ backend: 'webgpu' });
    const engine = newEngine();
    await step(engine);
    await step(engine);
    const memory = () => tf.memory() as unknown as { numTensors: number; numBytesInGPU: number; numBytesAllocatedInGPU: number };
    const before = memory();
    for (let i = 0; i < 8; i++) await step(engine);
    const after = memory();
    expect(after.numTensors).toBe(before.numTensors);
    expect(after.numBytesInGPU).toBeLessThanOrEqual(before.numBytesInGPU * 1.01);
    expect(after.numBytesAllocatedInGPU).toBeLessThanOrEqual(before.numBytesAllocatedInGPU * 1.5); // the pool fills up to its limit
    engine.dispose();
  });

  test('a checkpoint that stays in 16 bits computes what Transformers computes, takes an adapter, and is not there in float32', async () => {
    await startBackend({ backend: 'webgpu' });
    const held = () => (tf.memory() as unknown as { numBytesInGPU: number }).numBytesInGPU;
    const before = held();
    const f = readFixture('xs_tied', 'bf16', 'forward.json');
    const policy = await loadPolicy(fixtureFolder('xs_tied', 'bf16'), { storage: 'stored' });
    const row = f.input_ids[0] as number[];
    const logits = tf.tidy(() => {
      const hidden = tf.reshape(decode(policy, Int32Array.from(row), [1, row.length]), [row.length, policy.config.hiddenSize]);
      return linear(hidden, headOf(policy));
    });
    expectArraysClose([...(await logits.data())], f.logits_row0.flat(), 2e-5, 'logits');
    logits.dispose();
    expect(held() - before).toBeLessThan(2.2 * policy.parameters); // two bytes each, the vectors four
    const stored = inProcessEngine(policy, noTokenizer);
    stored.addAdapter({ rank: 2, alpha: 4, seed: 1 });
    const data = [{ tokens: row, scored: [5, 6, 7, 8, 9] }];
    const { loss } = await stored.forwardBackward(crossEntropyLoss(data));
    await stored.optimStep({ learningRate: 0.01 });
    expect((await stored.forwardBackward(crossEntropyLoss(data))).loss).toBeLessThan(loss);
    stored.dispose();
  });

  test('a device that is lost in the middle of a step ends the step with the reason', async () => {
    await startBackend({ backend: 'webgpu' });
    const engine = newEngine();
    const stepping = step(engine);
    webGpuDevice()?.backend.device.destroy();
    await expect(stepping).rejects.toThrow(/WebGPU device was (closed|lost).*start again/i);
    await expect(step(engine)).rejects.toThrow(/WebGPU/);
  });
});
