import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AdvantageSettings, groupAdvantages, stepAdvantages } from '../../src/grpo/advantages.js';
import { NonFiniteError } from '../../src/non-finite.js';
import { random } from '../../src/random.js';
import { expectArraysClose, readFixture } from '../policy/xs.js';

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

describe('deviations by name (of 1, 0, 0, 0 and 1, 1, 0, 1, by hand)', () => {
  const groups = [
    [1, 0, 0, 0],
    [1, 1, 0, 1],
  ];
  const of = (settings: AdvantageSettings) => stepAdvantages(groups, { deviationEpsilon: 0, ...settings }).flat();
  const centred = [0.75, -0.25, -0.25, -0.25, 0.25, 0.25, -0.75, 0.25];
  const over = (deviation: number) => centred.map((a) => a / deviation);

  test('with n - 1 of a group: squares of 0.75 over 3', () => {
    expectArraysClose(of({}), over(0.5), 1e-12, 'default');
    expectArraysClose(of({ deviation: 'sample', deviationOver: 'group' }), over(0.5), 1e-12, 'by name');
  });

  test('with n of a group: squares of 0.75 over 4', () => {
    expectArraysClose(of({ deviation: 'population' }), over(Math.sqrt(0.1875)), 1e-12, 'population');
  });

  test('of all eight rewards, of mean 0.5: squares of 2 over 7 or 8, while the mean stays the group’s', () => {
    expectArraysClose(of({ deviationOver: 'batch' }), over(Math.sqrt(2 / 7)), 1e-12, 'sample');
    expectArraysClose(of({ deviationOver: 'batch', deviation: 'population' }), over(0.5), 1e-12, 'population');
  });

  test('none at all, whoever they would be of', () => {
    for (const deviationOver of ['group', 'batch'] as const)
      expectArraysClose(of({ deviation: 'none', deviationOver, deviationEpsilon: 1 }), centred, 0, deviationOver);
  });

  test('with an epsilon beside it', () => {
    expectArraysClose(of({ deviationEpsilon: 0.5 }), over(1), 1e-12, 'group');
    expectArraysClose(of({ deviationOver: 'batch', deviation: 'population', deviationEpsilon: 0.5 }), over(1), 1e-12, 'batch');
    expectArraysClose(groupAdvantages(groups[0], { deviationEpsilon: 0.5 }), centred.slice(0, 4), 1e-12, 'one group');
  });
});

test('a group that scored the same has advantages of exactly 0 in any scaling, and so has a step of such groups', () => {
  const same = [0.1, 0.1, 0.1];
  for (const deviation of ['sample', 'population', 'none'] as const)
    for (const deviationOver of ['group', 'batch'] as const) {
      expect(stepAdvantages([same, [1, 0, 0]], { deviation, deviationOver })[0]).toEqual([0, 0, 0]);
      expect(stepAdvantages([same, same], { deviation, deviationOver, deviationEpsilon: 0 })).toEqual([
        [0, 0, 0],
        [0, 0, 0],
      ]);
    }
  expect(stepAdvantages([], {})).toEqual([]);
});

test("advantages equal TRL's in its three scalings, and torch's with 1e-6", () => {
  const f = readFixture('grpo_loss.json');
  const groups = [0, 4, 8].map((at) => (f.rewards as number[]).slice(at, at + 4));
  const found = (settings?: AdvantageSettings) => stepAdvantages(groups, settings).flat();
  expectArraysClose(found({ deviationEpsilon: 1e-4 }), f.advantages.group, 1e-6, 'group');
  expectArraysClose(found({ deviationOver: 'batch', deviationEpsilon: 1e-4 }), f.advantages.batch, 1e-6, 'batch');
  expectArraysClose(found({ deviation: 'none' }), f.advantages.none, 1e-6, 'none');
  expectArraysClose(found(), f['advantages_group_eps_1e-6'], 1e-6, 'epsilon 1e-6');
});

test('rewards that are not finite are refused, by the group and the place', () => {
  for (const reward of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    expect(() =>
      stepAdvantages([
        [0, 1],
        [1, reward, 0],
      ]),
    ).toThrow(NonFiniteError);
  expect(() =>
    stepAdvantages([
      [0, 1],
      [1, Number.NaN, 0],
    ]),
  ).toThrow(/^rewards of group 1: element 1 is NaN/);
  expect(() => groupAdvantages([1, Number.NaN, 0])).toThrow(/^rewards of group 0: element 1 is NaN/);
});

test('rewards that are no numbers are refused: texts would be joined, not added', () => {
  for (const [reward, shown] of [
    ['2', '"2"'],
    [null, 'null'],
    [true, 'true'],
    [undefined, 'undefined'],
  ])
    expect(() => groupAdvantages([1, reward as never])).toThrow(
      new TypeError(`rewards of group 0: element 1 is ${shown}, expected a number`),
    );
  expect(() => groupAdvantages(undefined as never)).toThrow(new TypeError('rewards of group 0: expected an array, got undefined'));
});

test('settings that there are not are refused by name', () => {
  const told = (settings: object) => () => groupAdvantages([0, 1], settings);
  expect(told({ deviation: 'all' })).toThrow(new TypeError(`deviation: expected 'sample' or 'population' or 'none', got "all"`));
  expect(told({ deviationOver: 'all' })).toThrow(new TypeError(`deviationOver: expected 'group' or 'batch', got "all"`));
  expect(told({ deviationEpsilon: -1 })).toThrow(new RangeError('deviationEpsilon: expected a number from 0, got -1'));
  expect(told({ deviationEpsilon: 0 })).not.toThrow();
});
