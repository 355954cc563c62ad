import { describe, expect, test } from 'vitest';
import { type Architecture, forward, loraTraining, parameters, sampling, training } from '../../bench/flops.js';
import { LARGER, MODEL_S, TINY } from '../../bench/model.js';

/** Multiply-adds counted one by one, as the decoder does them. */
function counted(a: Architecture, length: number, scored: number): number {
  const hd = a.hiddenSize / a.heads;
  const kv = a.kvHeads * hd;
  const block =
    [a.hiddenSize, kv, kv, a.hiddenSize].reduce((sum, out) => sum + out * a.hiddenSize, 0) + 3 * a.intermediateSize * a.hiddenSize;
  let multiplyAdds = scored * a.vocabSize * a.hiddenSize;
  for (let t = 0; t < length; t++) {
    multiplyAdds += a.layers * block;
    for (let key = 0; key <= t; key++) multiplyAdds += a.layers * a.heads * 2 * hd; // score and mix
  }
  return 2 * multiplyAdds;
}

describe('useful operations', () => {
  test('are two a multiply-add of a causal pass', () => {
    for (const model of [TINY, MODEL_S]) expect(forward(model, { to: 17, scored: 5 })).toBe(counted(model, 17, 5));
  });

  test('of a pass in two parts are those of the whole', () => {
    const parts = forward(MODEL_S, { to: 40, scored: 0 }) + forward(MODEL_S, { from: 40, to: 100, scored: 60 });
    expect(parts).toBe(forward(MODEL_S, { to: 100, scored: 60 }));
  });

  test('of training are three passes; of LoRA between two and three', () => {
    const row = { to: 64, scored: 32 };
    const whole = training(MODEL_S, row);
    expect(whole).toBe(3 * counted(MODEL_S, 64, 32));
    expect(loraTraining(MODEL_S, row, 16)).toBeGreaterThan((whole * 2) / 3);
    expect(loraTraining(MODEL_S, row, 16)).toBeLessThan(whole);
    expect(loraTraining(MODEL_S, row, 32)).toBeGreaterThan(loraTraining(MODEL_S, row, 16));
  });

  test('of sampling leave out the last token, which is never read', () => {
    expect(sampling(TINY, 8, 1)).toBe(counted(TINY, 8, 1));
  });
});

test('the models have the sizes that the tables name', () => {
  expect(parameters(MODEL_S)).toBe(989_312);
  expect(LARGER.map((model) => (parameters(model) / 1e6).toFixed(1))).toEqual(['3.4', '10.6', '24.3']);
});
