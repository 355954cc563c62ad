import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { slope, speedRatio, summarize } from '../../bench/statistics.js';

const values = fc.array(fc.double({ min: 0.001, max: 1000, noNaN: true }), { minLength: 1, maxLength: 15 });

describe('a summary', () => {
  test('has the middle value, or the mean of the two in the middle', () => {
    expect(summarize([5, 1, 3])).toEqual({ median: 3, least: 1, most: 5 });
    expect(summarize([4, 1, 3, 2]).median).toBe(2.5);
    expect(() => summarize([])).toThrow('no value');
  });

  test('is the same in any order, and one slow repetition in three moves no median above the others', () => {
    fc.assert(fc.property(values, (v) => summarize([...v].reverse()).median === summarize(v).median));
    fc.assert(fc.property(fc.double({ min: 10, max: 1e6, noNaN: true }), (slow) => summarize([1, 2, slow]).median === 2));
  });
});

describe('the speed ratio', () => {
  test('compares neighbours: where both slow down together it stays what it was', () => {
    expect(speedRatio([1, 2, 10], [2, 4, 20])).toEqual({ median: 2, least: 2, most: 2 });
    fc.assert(
      fc.property(
        values,
        (v) =>
          Math.abs(
            speedRatio(
              v,
              v.map((s) => 3 * s),
            ).median - 3,
          ) < 1e-12,
      ),
    );
  });

  test('is above 1 where ours takes less time', () => {
    expect(speedRatio([1], [3]).median).toBe(3);
    expect(speedRatio([3], [1]).median).toBeCloseTo(1 / 3);
  });

  test('takes the rounds that both have', () => {
    expect(speedRatio([1, 1, 1], [2, 2]).median).toBe(2); // interrupted before the peer's third
    expect(() => speedRatio([1], [])).toThrow(RangeError);
  });
});

test('the slope of a line is its own, whatever its height', () => {
  fc.assert(
    fc.property(fc.integer({ min: -50, max: 50 }), fc.integer({ min: -1e6, max: 1e6 }), fc.integer({ min: 2, max: 40 }), (a, b, n) => {
      const line = Array.from({ length: n }, (_, i) => a * i + b);
      expect(slope(line)).toBeCloseTo(a, 6);
    }),
  );
  expect(slope([7])).toBe(0);
});
