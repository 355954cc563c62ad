import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { random } from '../src/random.js';

const seed = fc.integer();
const key = fc.oneof(fc.string({ maxLength: 5 }), fc.integer());
const draws = (n: number, ...path: Parameters<typeof random>) => {
  const source = random(...path);
  return Array.from({ length: n }, () => source.uniform());
};
/** Pearson's statistic against equal shares; its expectation is the number of cells less one. */
const chiSquare = (counts: readonly number[]) => {
  const expected = counts.reduce((a, b) => a + b, 0) / counts.length;
  return counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
};

describe('a generator', () => {
  test('draws from [0, 1) what float32 holds exactly', () => {
    fc.assert(
      fc.property(seed, (s) => {
        for (const u of draws(20, s)) {
          expect(u).toBeGreaterThanOrEqual(0);
          expect(u).toBeLessThan(1);
          expect(Math.fround(u)).toBe(u);
        }
      }),
    );
  });

  test('draws whole numbers below their bound, all of them, and refuses bounds that are none', () => {
    fc.assert(
      fc.property(seed, fc.integer({ min: 1, max: 2 ** 31 }), (s, bound) => {
        const n = random(s).integer(bound);
        expect(Number.isInteger(n) && n >= 0 && n < bound).toBe(true);
      }),
    );
    const source = random(1);
    const counts = new Array(7).fill(0);
    for (let i = 0; i < 7000; i++) counts[source.integer(7)]++;
    expect(chiSquare(counts)).toBeLessThan(22.5); // 6 degrees of freedom, p = 0.001
    for (const bound of [0, -1, 1.5, Number.NaN]) expect(() => random(1).integer(bound)).toThrow(RangeError);
  });

  test('shuffles to a permutation, on a copy, every order as often', () => {
    fc.assert(
      fc.property(seed, fc.array(fc.integer()), (s, items) => {
        const before = [...items];
        const shuffled = random(s).shuffle(items);
        expect(items).toEqual(before);
        expect([...shuffled].sort((a, b) => a - b)).toEqual([...items].sort((a, b) => a - b));
      }),
    );
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = random(1, i).shuffle([1, 2, 3]).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    expect(chiSquare([...counts.values()])).toBeLessThan(20.6); // 5 degrees of freedom, p = 0.001
  });

  test('picks an element of the list', () => {
    fc.assert(fc.property(seed, fc.array(fc.integer(), { minLength: 1 }), (s, items) => items.includes(random(s).pick(items))));
    expect(() => random(1).pick([])).toThrow(RangeError);
  });

  test('draws normals with mean 0 and deviation 1', () => {
    const source = random(2);
    const values = Array.from({ length: 20000 }, () => source.normal());
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.03); // 4 standard errors
    expect(Math.abs(variance - 1)).toBeLessThan(0.04);
    expect(values.filter((v) => Math.abs(v) > 1.96).length / values.length).toBeCloseTo(0.05, 2);
  });
});

describe('the path of keys', () => {
  test('names the draws: the same path gives the same, whatever was drawn before', () => {
    fc.assert(
      fc.property(
        seed,
        fc.array(key, { maxLength: 3 }),
        fc.array(key, { minLength: 1, maxLength: 2 }),
        fc.nat(5),
        (s, path, more, drawn) => {
          const source = random(s, ...path);
          for (let i = 0; i < drawn; i++) source.uniform();
          const fork = source.fork(...more);
          expect(Array.from({ length: 5 }, () => fork.uniform())).toEqual(draws(5, s, ...path, ...more));
          // A fork takes nothing from its source.
          expect(Array.from({ length: 5 }, () => source.uniform())).toEqual(draws(drawn + 5, s, ...path).slice(drawn));
        },
      ),
    );
  });

  test('tells seeds, keys, texts from numbers, and ab from a, b apart', () => {
    fc.assert(
      fc.property(seed, fc.uniqueArray(key, { minLength: 2, maxLength: 2 }), (s, [a, b]) => {
        expect(draws(4, s, a)).not.toEqual(draws(4, s, b));
        expect(draws(4, s, a)).not.toEqual(draws(4, s + 1, a));
      }),
    );
    const paths: Parameters<typeof random>[] = [[1], [1, 1], [1, '1'], [11], [1, 'ab'], [1, 'a', 'b'], [1, 'b', 'a'], [1, 'a,b']];
    expect(new Set(paths.map((path) => draws(4, ...path).join())).size).toBe(paths.length);
  });

  test('makes streams of neighbouring keys independent: their first draws fill the square, and no two agree', () => {
    const cells = new Array(256).fill(0);
    const between = new Array(256).fill(0);
    const seen = new Set<string>();
    let last = 0;
    for (let i = 0; i < 20000; i++) {
      const [first, second, third] = draws(3, 7, 'sample', i);
      cells[Math.floor(first * 16) * 16 + Math.floor(second * 16)]++;
      if (i % 2) between[Math.floor(last * 16) * 16 + Math.floor(first * 16)]++;
      seen.add(`${first} ${second} ${third}`);
      last = first;
    }
    // 255 degrees of freedom, p = 0.001
    expect(chiSquare(cells)).toBeLessThan(330.5);
    expect(chiSquare(between)).toBeLessThan(330.5);
    expect(seen.size).toBe(20000);
  });
});
