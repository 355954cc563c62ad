import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareSystems, type EvaluationRecord, mcNemar, summarize, wilson } from '../../src/benchmarks/evaluate.js';

const record = (dataset: string, questionId: string, exactMatch: number, searches = 1, f1 = exactMatch): EvaluationRecord => ({
  dataset,
  questionId,
  exactMatch,
  f1,
  searches,
});
const scored = (dataset: string, matches: readonly number[], searches = 1) =>
  matches.map((match, i) => record(dataset, String(i), match, searches));

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
  it('refuses what is no share', () => {
    expect(() => wilson(0, 0)).toThrow(/n > 0, got 0 of 0/);
    expect(() => wilson(3, 2)).toThrow(/got 3 of 2/);
  });
});

describe('a summary', () => {
  const records = [...scored('nq', [1, 0, 0, 0], 2), ...scored('bamboogle', [1, 1])];

  it('keeps the mean of sets and the mean of questions apart', () => {
    const summary = summarize(records);
    expect(summary.macroMean.value).toBeCloseTo((1 / 4 + 1) / 2, 12);
    expect(summary.questionMean.value).toBeCloseTo(3 / 6, 12);
    expect(summary.searches).toBeCloseTo((4 * 2 + 2) / 6, 12);
    expect(summary.sets.map(({ dataset, n, searches }) => ({ dataset, n, searches }))).toEqual([
      { dataset: 'nq', n: 4, searches: 2 },
      { dataset: 'bamboogle', n: 2, searches: 1 },
    ]);
  });

  it('is the same on every run, and its intervals hold their values', () => {
    expect(summarize(records)).toEqual(summarize(records));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('nq', 'popqa'), fc.constantFrom(0, 1)), { minLength: 1, maxLength: 40 }), (pairs) => {
        const summary = summarize(
          pairs.map(([dataset, match], i) => record(dataset, String(i), match)),
          { resamples: 200 },
        );
        for (const { value, low, high } of [
          summary.macroMean,
          summary.questionMean,
          ...summary.sets.flatMap((set) => [set.exactMatch, set.f1]),
        ]) {
          expect(low).toBeLessThanOrEqual(value + 1e-12);
          expect(high).toBeGreaterThanOrEqual(value - 1e-12);
          expect(low).toBeGreaterThanOrEqual(0);
          expect(high).toBeLessThanOrEqual(1);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('has a macro interval as wide as the binomial one where there is one set', () => {
    const one = summarize(
      scored(
        'nq',
        Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? 1 : 0)),
      ),
    );
    // 1.96 sqrt(0.25 * 0.75 / 400) = 0.0424
    expect(one.macroMean.high - one.macroMean.low).toBeCloseTo(2 * 0.0424, 2);
  });

  it('refuses nothing, and a question scored twice', () => {
    expect(() => summarize([])).toThrow(/at least one scored question/);
    expect(() => summarize([record('nq', '1', 0), record('nq', '1', 1)])).toThrow(/nq 1 is scored twice/);
  });
});

describe('two systems on the same questions', () => {
  it('count who alone was right, and test it exactly', () => {
    const a = scored('nq', [1, 1, 0, 0, 0, 0, 0, 0]);
    const b = scored('nq', [1, 0, 1, 1, 1, 1, 1, 0]);
    const difference = compareSystems(a, b);
    expect(difference).toMatchObject({ n: 8, onlyA: 1, onlyB: 5 });
    expect(difference.difference.value).toBeCloseTo(4 / 8, 12);
    expect(difference.macroDifference.value).toBeCloseTo(4 / 8, 12);
    expect(difference.pValue).toBeCloseTo((2 * (1 + 6)) / 64, 12); // 2 P(X <= 1), X ~ Binomial(6, 1/2)
  });

  it('weigh sets alike in the macro difference, and questions alike in the other', () => {
    const a = [...scored('nq', [0, 0, 0, 0]), ...scored('bamboogle', [0])];
    const b = [...scored('nq', [0, 0, 0, 0]), ...scored('bamboogle', [1])];
    const { macroDifference, difference } = compareSystems(a, b);
    expect(macroDifference.value).toBeCloseTo(0.5, 12);
    expect(difference.value).toBeCloseTo(0.2, 12);
  });

  it('may come in any order, but must be the same questions', () => {
    const a = scored('nq', [1, 0, 1]);
    expect(compareSystems(a, [...a].reverse())).toMatchObject({ onlyA: 0, onlyB: 0, pValue: 1 });
    expect(() => compareSystems(a, scored('popqa', [1, 0, 1]))).toThrow(/same questions, got 3 and 3; the second lacks nq 0/);
    expect(() => compareSystems(a, scored('nq', [1, 0]))).toThrow(/got 3 and 2/);
  });

  it('have a McNemar test that is continuous where it changes its formula', () => {
    expect(mcNemar(0, 0)).toBe(1);
    expect(mcNemar(10, 10)).toBe(1);
    expect(mcNemar(530, 470)).toBeCloseTo(mcNemar(531, 470), 1);
    expect(mcNemar(480, 540)).toBeCloseTo(0.064695, 5); // z = 59 / sqrt(1020) = 1.847
  });
});
