import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { adjustedWald, type Estimate, mcNemar, weightedMean, wilson } from '../../src/benchmarks/intervals.js';
import { random } from '../../src/random.js';

const holds = ({ low, high }: Estimate, truth: number) => low <= truth && truth <= high;

/** Share of `rounds` seeded samples whose interval holds the truth. */
function coverage(truth: number, rounds: number, intervalOf: (draw: () => number) => Estimate): number {
  let held = 0;
  for (let round = 0; round < rounds; round++) if (holds(intervalOf(random(7, 'coverage', truth, round).uniform), truth)) held++;
  return held / rounds;
}

const hits = (n: number, p: number, draw: () => number) => Array.from({ length: n }, () => (draw() < p ? 1 : 0));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe('Wilson’s interval', () => {
  it('equals published values', () => {
    // Newcombe 1998 (Statistics in Medicine 17), Table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for (const [successes, n, low, high] of [
      [81, 263, 0.2553, 0.3662],
      [15, 148, 0.0624, 0.1605],
      [0, 20, 0, 0.1611],
      [1, 29, 0.0061, 0.1718],
    ]) {
      expect(wilson(successes, n).low).toBeCloseTo(low, 4);
      expect(wilson(successes, n).high).toBeCloseTo(high, 4);
    }
  });

  it('has the limits at which a score test just rejects', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.constantFrom(0.8, 0.95, 0.99),
        (n, share, confidence) => {
          const z = { 0.8: 1.2815516, 0.95: 1.959964, 0.99: 2.5758293 }[confidence] as number;
          const { value, low, high } = wilson(share * n, n, confidence);
          for (const limit of [low, high].filter((each) => each > 1e-9 && each < 1 - 1e-9))
            expect(Math.abs(value - limit) / Math.sqrt((limit * (1 - limit)) / n)).toBeCloseTo(z, 3);
        },
      ),
    );
  });

  it('refuses what is no share, and no confidence', () => {
    expect(() => wilson(0, 0)).toThrow(/n > 0, got 0 of 0/);
    expect(() => wilson(3, 2)).toThrow(/got 3 of 2/);
    expect(() => wilson(-1, 2)).toThrow(/got -1 of 2/);
    expect(() => wilson(Number.NaN, 2)).toThrow(/got NaN of 2/);
    for (const confidence of [0, 1, 95, Number.NaN]) expect(() => wilson(1, 2, confidence)).toThrow(/confidence between 0 and 1/);
  });

  it('holds the mean of scores that are not only 0 and 1 at least as often as it says', () => {
    // F1 as it is: 0 in half of the answers, 1 in a fifth, between them in the rest. Mean .2 + .3 * .5
    const f1 = (draw: () => number) => {
      const kind = draw();
      return kind < 0.5 ? 0 : kind < 0.7 ? 1 : draw();
    };
    for (const n of [10, 100])
      expect(
        coverage(0.35, 1500, (draw) =>
          wilson(
            Array.from({ length: n }, () => f1(draw)).reduce((total, each) => total + each, 0),
            n,
          ),
        ),
      ).toBeGreaterThan(0.94);
  });
});

describe('the adjusted Wald interval', () => {
  it('is Bonett and Price’s for paired proportions', () => {
    // n = 10, b = 4 only the second, c = 1 only the first: p = 5/12 and 2/12, centre 3/12, variance (7/12 - 1/16) / 12.
    const { value, low, high } = adjustedWald([1, 1, 1, 1, -1, 0, 0, 0, 0, 0], [-1, 1]);
    const half = 1.959964 * Math.sqrt((7 / 12 - 1 / 16) / 12);
    expect(value).toBeCloseTo(0.3, 12);
    expect(low).toBeCloseTo(1 / 4 - half, 6);
    expect(high).toBeCloseTo(1 / 4 + half, 6);
  });

  it('keeps a width where every value is the same, the narrower the more there are, and the value in it', () => {
    fc.assert(
      fc.property(fc.constantFrom(-1, 0, 1), fc.integer({ min: 1, max: 300 }), (same, n) => {
        const width = (count: number) => {
          const { value, low, high } = adjustedWald(new Array(count).fill(same), [-1, 1]);
          expect(value).toBe(same);
          expect(low).toBeLessThanOrEqual(value);
          expect(high).toBeGreaterThanOrEqual(value);
          expect(low).toBeGreaterThanOrEqual(-1);
          expect(high).toBeLessThanOrEqual(1);
          return high - low;
        };
        expect(width(n)).toBeGreaterThan(0);
        expect(width(4 * n)).toBeLessThan(width(n));
      }),
    );
  });

  it('scales with the bounds', () => {
    const values = [0, 1, 1, 2, 0.5];
    const [plain, scaled] = [
      adjustedWald(values, [0, 4]),
      adjustedWald(
        values.map((each) => 10 * each),
        [0, 40],
      ),
    ];
    for (const key of ['value', 'low', 'high'] as const) expect(scaled[key]).toBeCloseTo(10 * plain[key], 9);
  });

  it.each([
    [20, 0.1, 0.1],
    [20, 0.02, 0.02],
    [100, 0.02, 0.1],
    [100, 0.3, 0.05],
  ])('holds a paired difference about as often as it says: %i questions, %d only one, %d only the other', (n, onlyA, onlyB) => {
    const difference = (draw: () => number) => {
      const kind = draw();
      return kind < onlyA ? -1 : kind < onlyA + onlyB ? 1 : 0;
    };
    const share = coverage(onlyB - onlyA, 1500, (draw) =>
      adjustedWald(
        Array.from({ length: n }, () => difference(draw)),
        [-1, 1],
      ),
    );
    expect(share).toBeGreaterThan(0.93);
  });

  it('holds a mean number of searches about as often as it says', () => {
    const searches = (draw: () => number) => {
      const kind = draw();
      return kind < 0.1 ? 0 : kind < 0.6 ? 1 : kind < 0.9 ? 2 : 4; // mean .5 + .6 + .4
    };
    for (const n of [15, 100])
      expect(
        coverage(1.5, 1500, (draw) =>
          adjustedWald(
            Array.from({ length: n }, () => searches(draw)),
            [0, 4],
          ),
        ),
      ).toBeGreaterThan(0.93);
  });

  it('refuses values outside the bounds, and none', () => {
    expect(() => adjustedWald([], [0, 1])).toThrow(/got none/);
    expect(() => adjustedWald([0, 5], [0, 4])).toThrow(/within \[0, 4\], got 5/);
    expect(() => adjustedWald([0, -5], [0, 4])).toThrow(/got -5/);
    expect(() => adjustedWald([Number.NaN], [0, 4])).toThrow(/got NaN/);
    expect(() => adjustedWald([1], [1, 1])).toThrow(/within/);
  });
});

describe('a weighted mean by MOVER', () => {
  it('adds the distances of the limits as standard errors', () => {
    // weights 1/4 and 3/4: .25 * .4 + .75 * .8 = .7; down sqrt((.25 * .4)² + (.75 * .2)²), up sqrt((.25 * .2)² + (.75 * .1)²)
    const { value, low, high } = weightedMean(
      [
        { value: 0.4, low: 0, high: 0.6 },
        { value: 0.8, low: 0.6, high: 0.9 },
      ],
      [2, 6],
    );
    expect(value).toBeCloseTo(0.7, 12);
    expect(low).toBeCloseTo(0.7 - Math.sqrt(0.1 ** 2 + 0.15 ** 2), 12);
    expect(high).toBeCloseTo(0.7 + Math.sqrt(0.05 ** 2 + 0.075 ** 2), 12);
  });

  it('leaves a single estimate as it is, whatever its weight', () => {
    const one = wilson(3, 20);
    for (const weight of [1, 7]) {
      const { value, low, high } = weightedMean([one], [weight]);
      expect([value, low, high].map((each) => each.toFixed(12))).toEqual([one.value, one.low, one.high].map((each) => each.toFixed(12)));
    }
  });

  it.each([
    ['seven easy and hard sets of 20', 20, [0.02, 0.1, 0.3, 0.5, 0.3, 0.05, 0.8]],
    ['seven sets of three, nearly hopeless', 3, [0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]],
    ['seven sets of 100', 100, [0.4, 0.6, 0.4, 0.3, 0.3, 0.1, 0.2]],
  ])('holds the macro mean about as often as it says: %s', (_, n, shares) => {
    const truth = sum(shares) / shares.length;
    const share = coverage(truth, 1500, (draw) => weightedMean(shares.map((p) => wilson(sum(hits(n, p, draw)), n))));
    expect(share).toBeGreaterThan(0.93);
    if (n === 100) expect(share).toBeLessThan(0.97);
  });

  it('refuses no estimate, and weights that are none', () => {
    expect(() => weightedMean([])).toThrow(/at least one estimate/);
    expect(() => weightedMean([wilson(1, 2)], [1, 2])).toThrow(/one positive weight for each/);
    expect(() => weightedMean([wilson(1, 2), wilson(1, 2)], [1, 0])).toThrow(/one positive weight for each/);
    expect(() => weightedMean([wilson(1, 2)], [Number.NaN])).toThrow(/one positive weight for each/);
  });
});

describe('McNemar’s test', () => {
  it('is exact', () => {
    expect(mcNemar(0, 0)).toBe(1);
    expect(mcNemar(10, 10)).toBe(1);
    expect(mcNemar(1, 5)).toBeCloseTo((2 * (1 + 6)) / 64, 12); // 2 P(X <= 1), X ~ Binomial(6, 1/2)
    expect(mcNemar(5, 1)).toBe(mcNemar(1, 5));
    expect(mcNemar(0, 3)).toBeCloseTo(2 / 8, 12);
  });

  it('is continuous where it changes its formula', () => {
    expect(mcNemar(530, 470)).toBeCloseTo(0.062, 3); // z = 59 / sqrt(1000) = 1.8658
    expect(mcNemar(531, 470)).toBeCloseTo(0.0579, 3); // z = 60 / sqrt(1001) = 1.8964
    expect(mcNemar(480, 540)).toBeCloseTo(0.064695, 5); // z = 59 / sqrt(1020) = 1.847
    expect(mcNemar(600, 600)).toBeCloseTo(1, 6);
  });

  it('refuses what are no counts', () => {
    expect(() => mcNemar(-1, 2)).toThrow(/two counts, got -1 and 2/);
    expect(() => mcNemar(2, -1)).toThrow(/two counts, got 2 and -1/);
    expect(() => mcNemar(1, 2.5)).toThrow(/two counts/);
  });
});
