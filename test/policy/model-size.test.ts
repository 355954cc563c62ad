import { describe, expect, test } from 'vitest';
import { modelSize } from '../../src/policy/model-size.js';
import { qwen25Configs } from '../../src/policy/qwen2.5.js';

describe('modelSize', () => {
  // Numbers of weights in the published safetensors files; a tied head is counted once.
  test.each([
    ['0.5b', 494_032_768],
    ['1.5b', 1_543_714_304],
    ['3b', 3_085_938_688],
    ['7b', 7_615_616_512],
  ] as const)('counts the weights of %s', (name, parameters) => {
    expect(modelSize(qwen25Configs[name]).parameters).toBe(parameters);
  });

  test('adds keys and values to the weights', () => {
    const config = qwen25Configs['0.5b'];
    const { parameters, writing, largestWeight } = modelSize(config, { sequences: 2, length: 10 });
    // 24 layers, keys and values, 2 heads of 64, 4 bytes: 24,576 bytes a token.
    expect(writing).toBe(4 * parameters + 2 * 10 * 24_576);
    expect(largestWeight).toBe(4 * 151_936 * 896);
  });

  test('counts five copies of the weights where all are trained, and one where an adapter is, beside a micro-batch', () => {
    const config = qwen25Configs['0.5b'];
    const none = { tokensPerMicroBatch: 0, scored: 0 };
    const { parameters, whole, adapter } = modelSize(config, none);
    // A micro-batch of nothing has gradients all the same, and those of the tied table twice more while they are added up.
    expect(whole).toBe(4 * (5 * parameters + parameters + 2 * 151_936 * 896));
    expect(modelSize(config, { ...none, rank: 2 }).adapter - modelSize(config, { ...none, rank: 1 }).adapter).toBe(
      4 * 5 * 24 * (2 * (896 + 896) + 2 * (128 + 896) + 3 * (4864 + 896)), // q and o, k and v, the three of the MLP
    );
    expect(adapter).toBeLessThan(whole);
  });

  test('keeps in float32 what is no matrix', () => {
    // 49 norms of 896, and 24 times the biases of q (896), k and v (128 each).
    const vectors = 49 * 896 + 24 * (896 + 128 + 128);
    expect(modelSize(qwen25Configs['0.5b']).halfSaves).toBe(2 * (494_032_768 - vectors));
  });
});
