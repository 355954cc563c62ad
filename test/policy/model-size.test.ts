import { describe, expect, test } from 'vitest';
import { modelSize, QWEN25 } from '../../src/policy/model-size.js';

describe('modelSize', () => {
  // Numbers of weights in the published safetensors files; a tied head is counted once.
  test.each([
    ['Qwen2.5-0.5B', 494_032_768],
    ['Qwen2.5-1.5B', 1_543_714_304],
    ['Qwen2.5-3B', 3_085_938_688],
    ['Qwen2.5-7B', 7_615_616_512],
  ])('counts the weights of %s', (name, parameters) => {
    expect(modelSize(QWEN25[name]).parameters).toBe(parameters);
  });

  test('adds keys and values to the weights', () => {
    const config = QWEN25['Qwen2.5-0.5B'];
    const { parameters, writing, largestWeight } = modelSize(config, { sequences: 2, length: 10 });
    // 24 layers, keys and values, 2 heads of 64, 4 bytes: 24,576 bytes a token.
    expect(writing).toBe(4 * parameters + 2 * 10 * 24_576);
    expect(largestWeight).toBe(4 * 151_936 * 896);
  });

  test('counts five copies of the weights where all are trained, and one where an adapter is', () => {
    const config = QWEN25['Qwen2.5-0.5B'];
    const none = { tokensPerMicroBatch: 0, scored: 0 };
    const { parameters, whole, adapter } = modelSize(config, none);
    expect(whole).toBe(4 * 5 * parameters);
    expect(modelSize(config, { ...none, rank: 2 }).adapter - modelSize(config, { ...none, rank: 1 }).adapter).toBe(
      4 * 4 * 24 * (2 * (896 + 896) + 2 * (128 + 896) + 3 * (4864 + 896)), // q and o, k and v, the three of the MLP
    );
    expect(adapter).toBeLessThan(whole);
  });
});
