import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareGreedy, compareValues, notFinite } from '../../bench/check.js';

describe('two sides agree', () => {
  test('where every named value is within its tolerance, relative to values above 1', () => {
    expect(compareValues({ loss: [7.6, 7.5] }, { loss: [7.6, 7.5] }, { loss: 1e-6 })).toEqual({ error: 0, problems: [] });
    expect(compareValues({ norm: 1000.1 }, { norm: 1000 }, { norm: 1e-3 }).problems).toEqual([]);
    expect(compareValues({ p: [[0.1001], [0.2]] }, { p: [[0.1], [0.2]] }, { p: 1e-3 }).error).toBeCloseTo(1e-4);
  });

  test('and not where one is outside, missing or no number', () => {
    const problem = (ours: object, peer: object) => compareValues({ ...ours }, { ...peer }, { loss: 1e-4 }).problems[0];
    expect(problem({ loss: [7.6, 7.51] }, { loss: [7.6, 7.5] })).toContain('ours 7.51, the peer 7.5 (value 2 of 2');
    expect(problem({ loss: [7.6] }, { loss: [7.6, 7.5] })).toBe('loss: ours has 1 values, the peer 2');
    expect(problem({ loss: Number.NaN }, { loss: 7.6 })).toContain('ours NaN');
    expect(problem({ loss: [1, 2, 3] }, { loss: [1, Number.NaN, 3] })).toContain('the peer NaN');
    expect(problem({}, { loss: 7.6 })).toContain('ours NaN');
    expect(problem({ loss: [] }, { loss: [] })).toContain('0 values');
  });

  test('never, whatever the values, where one is moved by more than the tolerance', () => {
    const numbers = fc.array(fc.double({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(numbers, fc.nat(), (values, at) => {
        const moved = values.map((v, i) => (i === at % values.length ? v + 0.01 * Math.max(1, Math.abs(v)) : v));
        expect(compareValues({ v: moved }, { v: values }, { v: 1e-3 }).problems).toHaveLength(1);
      }),
    );
  });
});

describe('greedy tokens agree', () => {
  const margins = [[0.5, 0.00001, 0.5]];
  test('where they are the same, or part at a tie', () => {
    expect(compareGreedy([[1, 2, 3]], [[1, 2, 3]], margins)).toEqual([]);
    expect(compareGreedy([[1, 9, 9]], [[1, 2, 3]], margins)).toEqual([]);
  });

  test('and not where the peer clearly preferred another', () => {
    expect(compareGreedy([[1, 2, 9]], [[1, 2, 3]], margins)).toEqual([
      'greedy row 0, token 2: ours 9, the peer 3, which was better by 0.5 nats',
    ]);
    expect(compareGreedy([[9, 2, 3]], [[1, 2, 3]], margins)).toHaveLength(1);
    expect(compareGreedy([[1, 2]], [[1, 2, 3]], margins)).toHaveLength(1);
    expect(compareGreedy([], [[1, 2, 3]], margins)).toHaveLength(1);
  });
});

test('without a peer a result must at least be finite', () => {
  expect(notFinite({ loss: [1, 2], tokens: [[1], [2]] })).toEqual([]);
  expect(notFinite({ loss: [1, Number.NaN], gradNorm: 3 })).toEqual(['loss is not finite']);
});
