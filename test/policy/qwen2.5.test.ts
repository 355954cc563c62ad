import { describe, expect, test } from 'vitest';
import { memoryNeeds, qwen25Configs } from '../../src/policy/qwen2.5.js';

describe('the shapes of Qwen2.5', () => {
  // Parameters as the published safetensors count them.
  test.each([
    ['0.5b', 494_032_768],
    ['1.5b', 1_543_714_304],
    ['3b', 3_085_938_688],
    ['7b', 7_615_616_512],
  ] as const)('%s has its published number of parameters', (size, parameters) => {
    expect(memoryNeeds(qwen25Configs[size]).parameters).toBe(parameters);
  });

  test('0.5B takes 1.98 GB in float32, half in 16 bits, and 24 KB of cache a token', () => {
    const needs = memoryNeeds(qwen25Configs['0.5b'], { rank: 64 });
    expect([needs.float32, needs.fullTraining]).toEqual([4 * 494_032_768, 12 * 494_032_768]);
    // Float32 stay: 49 norms of 896, and 24 times the biases of q (896), k and v (128 each).
    const vectors = 49 * 896 + 24 * (896 + 128 + 128);
    expect(needs.half).toBe(2 * (494_032_768 - vectors) + 4 * vectors);
    expect(needs.cachePerToken).toBe(2 * 24 * 128 * 4);
    expect(needs.largestTensor).toBe(151_936 * 896 * 4);
    expect(needs.logitsPerToken).toBe(151_936 * 4);
    // Per layer, rank 64: q and o 896 + 896, k and v 896 + 128, gate, up and down 896 + 4864.
    expect(needs.adapter).toBe(16 * 24 * 64 * (2 * 1792 + 2 * 1024 + 3 * 5760));
  });
});
