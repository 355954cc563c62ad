import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { groupAdvantages } from '../../src/grpo/advantages.js';
import { random } from '../../src/random.js';

const reward = fc.double({ min: -100, max: 100, noNaN: true });
const group = fc.array(reward, { minLength: 2, maxLength: 8 });

describe('group advantages', () => {
  test('of 1, 0, 0, 0, 0 are, by hand, 4 / sqrt 5 and -1 / sqrt 5', () => {
    // mean 0.2, deviation with n - 1: sqrt((0.64 + 4 * 0.04) / 4) = sqrt(0.2)
    const [first, ...rest] = groupAdvantages([1, 0, 0, 0, 0]);
    expect(first).toBeCloseTo(0.8 / (Math.sqrt(0.2) + 1e-6), 12);
    for (const a of rest) expect(a).toBeCloseTo(-0.2 / (Math.sqrt(0.2) + 1e-6), 12);
  });

  test('are all 0 where the rewards are equal, whatever they are', () => {
    fc.assert(fc.property(reward, fc.integer({ min: 2, max: 9 }), (r, n) => groupAdvantages(new Array(n).fill(r)).every((a) => a === 0)));
  });

  test('are permuted as the siblings are', () => {
    fc.assert(
      fc.property(group, fc.integer(), (rewards, seed) => {
        const order = random(seed).shuffle(rewards.map((_, i) => i));
        const advantages = groupAdvantages(rewards);
        groupAdvantages(order.map((i) => rewards[i])).forEach((a, at) => {
          expect(Math.abs(a - advantages[order[at]])).toBeLessThan(1e-6);
        });
      }),
    );
  });

  test('do not change when all rewards rise by the same', () => {
    // Of whole numbers, so that the sum is exact: 0 and 1 in practice.
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 2, maxLength: 8 }),
        fc.integer({ min: -99, max: 99 }),
        (rewards, constant) => {
          const advantages = groupAdvantages(rewards);
          groupAdvantages(rewards.map((r) => r + constant)).forEach((a, i) => {
            expect(Math.abs(a - advantages[i])).toBeLessThan(1e-9);
          });
        },
      ),
    );
  });

  test('sum to 0 and rise with the reward', () => {
    fc.assert(
      fc.property(group, (rewards) => {
        const advantages = groupAdvantages(rewards);
        expect(Math.abs(advantages.reduce((a, b) => a + b, 0))).toBeLessThan(1e-6);
        rewards.forEach((r, i) => {
          for (let j = 0; j < i; j++) if (r > rewards[j]) expect(advantages[i]).toBeGreaterThanOrEqual(advantages[j]);
        });
      }),
    );
  });

  test('need two to compare', () => {
    expect(() => groupAdvantages([1])).toThrow(/at least 2 rewards to compare, got 1/);
  });
});
