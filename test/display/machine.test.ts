/** What is said of a machine: figures that can be read, and models that fit by memory and by the largest tensor. */
import { describe, expect, it } from 'vitest';
import { machineText, modelFits } from '../../src/display/machine.js';
import { modelSize } from '../../src/policy/model-size.js';
import { qwen25Configs } from '../../src/policy/qwen2.5.js';
import type { Inspection } from '../../src/tensors/inspect.js';

const GIB = 2 ** 30;

const onCard = (largestTensor: number): Inspection => ({
  processor: 'a processor',
  cores: 16,
  memory: 128 * GIB,
  free: 100 * GIB,
  cards: [{ name: 'a card', driver: '1.2', memory: 80 * GIB, free: 79 * GIB }],
  backends: [
    { name: 'tensorflow', reason: 'not installed', remedy: 'npm run setup:tensorflow' },
    {
      name: 'webgpu',
      report: { name: 'webgpu', description: 'WebGPU (Dawn) on a card', kernels: 'wgsl', compute: 'float32', device: 'gpu', notes: [] },
      speed: { gigaflops: 33_934.2, n: 8192, gigabytes: 3456.7 },
      memory: 80 * GIB,
      largestTensor,
    },
  ],
  chosen: 'webgpu',
  why: 'the first that computes on a graphics card',
});

describe('machineText', () => {
  it('says device, speed, memory, what is missing and the command for it', () => {
    const text = machineText(onCard(2 * GIB));
    expect(text).toContain('a card, driver 1.2, 80.0 GiB, 79.0 GiB free');
    expect(text).toMatch(/^webgpu +gpu +33,900 +3,460 +80\.0 GiB +wgsl/m);
    expect(text).toContain('tensorflow: not installed. Run: npm run setup:tensorflow');
    expect(text).toContain('taken: webgpu, the first that computes on a graphics card');
  });
});

describe('modelFits', () => {
  it('refuses a model with a weight beyond the largest tensor, which 16 bits halve', () => {
    const { largestWeight, writing } = modelSize(qwen25Configs['7b']);
    expect(writing).toBeLessThan(80 * GIB);
    const [fit] = modelFits(onCard(largestWeight - 4), { '7b': qwen25Configs['7b'] });
    expect(fit).toMatchObject({ backend: 'webgpu', writing: false, writingHalf: true, adapter: false, adapterHalf: true, whole: false });
    expect(modelFits(onCard(largestWeight), { '7b': qwen25Configs['7b'] })[0]).toMatchObject({ writing: true, adapter: true });
  });
});

describe('how fast a model is', () => {
  const slow = (gigaflops: number): Inspection => ({
    ...onCard(80 * GIB),
    backends: [{ name: 'cpu', speed: { gigaflops, n: 256, gigabytes: 10 }, memory: 128 * GIB }],
  });

  it('counts with its usefulness: what fits but takes a minute a token is too slow, not a yes', () => {
    const [fit] = modelFits(slow(0.9), { '3b': qwen25Configs['3b'] });
    expect(fit).toMatchObject({ writing: true, adapter: true });
    // By hand: 3,085,938,688 weights, 2 operations each for a token of 8 sequences, at 0.9e9 a second.
    expect(fit.seconds?.writing).toBeCloseTo((3_085_938_688 * 2 * 8) / 0.9e9, 6);
    expect(machineText(slow(0.9), [fit])).toMatch(/^3b +3\.09 billion +cpu +too slow \([\d.]+ GiB, 55 s\)/m);
  });

  it('is a yes at a hundred times the speed, and waits for memory where reading the weights takes longer than multiplying', () => {
    const [fit] = modelFits(slow(90), { '3b': qwen25Configs['3b'] });
    expect(machineText(slow(90), [fit])).toMatch(/^3b +3\.09 billion +cpu +yes \(/m);
    expect(fit.seconds?.writing).toBeCloseTo((3_085_938_688 * 4) / 10e9, 6);
  });
});
