import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareSystems, type EvaluationRecord, summarize } from '../../src/benchmarks/evaluate.js';
import { adjustedWald, wilson } from '../../src/benchmarks/intervals.js';
import { random } from '../../src/random.js';

const record = (dataset: string, questionId: string, exactMatch: number, searches = 1, f1 = exactMatch): EvaluationRecord => ({
  dataset,
  questionId,
  questionText: `${dataset} ${questionId}?`,
  exactMatch,
  f1,
  searches,
});
const scored = (dataset: string, matches: readonly number[], searches = 1) =>
  matches.map((match, i) => record(dataset, String(i), match, searches));
const sets = ['nq', 'triviaqa', 'popqa', 'hotpotqa', '2wikimultihopqa', 'musique', 'bamboogle'];
const everySet = (matches: readonly number[]) => sets.flatMap((set) => scored(set, matches));
const close = (value: { value: number; low: number; high: number }, expected: { value: number; low: number; high: number }) => {
  for (const key of ['value', 'low', 'high'] as const) expect(value[key], key).toBeCloseTo(expected[key], 12);
};

describe('a summary', () => {
  // Four questions of NQ, two of Bamboogle, with scores that no two means share.
  const records = [
    record('nq', '0', 1, 2, 1),
    record('nq', '1', 0, 2, 0.5),
    record('nq', '2', 0, 3, 0),
    record('nq', '3', 0, 1, 0),
    record('bamboogle', '0', 1, 1, 1),
    record('bamboogle', '1', 1, 0, 0.8),
  ];
  const summary = summarize(records);

  it('keeps the mean of sets and the mean of questions apart, for exact match, F1 and searches', () => {
    expect(summary.macroMean.value).toBeCloseTo((1 / 4 + 1) / 2, 12);
    expect(summary.questionMean.value).toBeCloseTo(3 / 6, 12);
    expect(summary.macroF1.value).toBeCloseTo((1.5 / 4 + 1.8 / 2) / 2, 12);
    expect(summary.questionF1.value).toBeCloseTo(3.3 / 6, 12);
    expect(summary.macroSearches.value).toBeCloseTo((8 / 4 + 1 / 2) / 2, 12);
    expect(summary.questionSearches.value).toBeCloseTo(9 / 6, 12);
    expect(summary.searches).toBeCloseTo(9 / 6, 12);
    expect(summary.n).toBe(6);
    expect(summary.sets.map(({ dataset, n, searches }) => ({ dataset, n, searches }))).toEqual([
      { dataset: 'nq', n: 4, searches: 2 },
      { dataset: 'bamboogle', n: 2, searches: 0.5 },
    ]);
  });

  it('gives every mean its interval: Wilson’s for shares and F1, adjusted Wald’s for searches', () => {
    close(summary.sets[0].exactMatch, wilson(1, 4));
    close(summary.sets[0].f1, wilson(1.5, 4));
    close(summary.sets[0].searchCount, adjustedWald([2, 2, 3, 1], [0, 4]));
    close(summary.questionMean, wilson(3, 6));
    close(summary.questionF1, wilson(3.3, 6));
    close(summary.questionSearches, adjustedWald([2, 2, 3, 1, 1, 0], [0, 4]));
  });

  it('keeps Search-R1’s score beside the reward, and tells it of no set that it does not know whole', () => {
    const scores = [1, 1, 0, 0, 1, 0];
    const known = summarize(records.map((scored, i) => ({ ...scored, searchR1Score: scores[i] })));
    close(known.sets[0].searchR1Score as never, wilson(2, 4));
    close(known.sets[1].searchR1Score as never, wilson(1, 2));
    close(known.questionSearchR1Score as never, wilson(3, 6));
    expect(known.macroSearchR1Score?.value).toBeCloseTo((2 / 4 + 1 / 2) / 2, 12);
    expect(known.macroMean).toEqual(summary.macroMean);
    const half = summarize(records.map((scored, i) => (i < 4 ? { ...scored, searchR1Score: scores[i] } : scored)));
    expect(half.sets.map(({ searchR1Score }) => searchR1Score?.value)).toEqual([0.5, undefined]);
    expect([half.macroSearchR1Score, half.questionSearchR1Score, summary.sets[0].searchR1Score]).toEqual([undefined, undefined, undefined]);
    expect(() => summarize([{ ...records[0], searchR1Score: 0.5 }])).toThrow(/question nq 0 has searchR1Score 0.5, expected 0 or 1/);
  });

  it('gives a macro mean the limits of its sets, added as standard errors', () => {
    const [nq, bamboogle] = [wilson(1, 4), wilson(2, 2)];
    expect(summary.macroMean.low).toBeCloseTo(0.625 - Math.hypot(nq.value - nq.low, bamboogle.value - bamboogle.low) / 2, 12);
    expect(summary.macroMean.high).toBeCloseTo(0.625 + Math.hypot(nq.high - nq.value, bamboogle.high - bamboogle.value) / 2, 12);
    for (const [macro, of] of [
      [summary.macroF1, 'f1'],
      [summary.macroSearches, 'searchCount'],
    ] as const) {
      const [first, second] = summary.sets.map((set) => set[of]);
      expect(macro.high - macro.value).toBeCloseTo(Math.hypot(first.high - first.value, second.high - second.value) / 2, 12);
      expect(macro.value - macro.low).toBeCloseTo(Math.hypot(first.value - first.low, second.value - second.low) / 2, 12);
    }
  });

  it('is as unsure as it must be where all answers are wrong, or all right', () => {
    for (const score of [0, 1]) {
      const { macroMean, macroF1, questionMean, macroSearches } = summarize(everySet([score, score, score]));
      // Wilson's width at 0 of 3 is z² / (3 + z²) = .5615; seven such sets: .5615 / sqrt(7) = .2122
      for (const mean of [macroMean, macroF1]) {
        expect(mean.value).toBeCloseTo(score, 12);
        expect(mean.high - mean.low).toBeCloseTo(0.2122, 3);
      }
      expect(questionMean.high - questionMean.low).toBeCloseTo(3.8415 / (21 + 3.8415), 4);
      expect(macroSearches.high - macroSearches.low).toBeGreaterThan(0.3);
    }
  });

  it('has every mean within its interval, and every interval within what is possible', () => {
    const one = fc.tuple(
      fc.constantFrom('nq', 'popqa'),
      fc.constantFrom(0, 1),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.nat({ max: 6 }),
    );
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 40 }), fc.constantFrom(0.8, 0.95, 0.99), (answers, confidence) => {
        const found = summarize(
          answers.map(([dataset, match, f1, searches], i) => record(dataset, String(i), match, searches, f1)),
          { confidence },
        );
        const shares = [
          found.macroMean,
          found.questionMean,
          found.macroF1,
          found.questionF1,
          ...found.sets.flatMap((set) => [set.exactMatch, set.f1]),
        ];
        const counts = [found.macroSearches, found.questionSearches, ...found.sets.map((set) => set.searchCount)];
        for (const [estimates, most] of [
          [shares, 1],
          [counts, 6],
        ] as const)
          for (const { value, low, high } of estimates) {
            expect(low).toBeLessThanOrEqual(value);
            expect(high).toBeGreaterThanOrEqual(value);
            expect(high).toBeGreaterThan(low);
            expect(low).toBeGreaterThanOrEqual(-1e-12);
            expect(high).toBeLessThanOrEqual(most + 1e-12);
          }
      }),
      { numRuns: 50 },
    );
  });

  it('has intervals that hold the true means about as often as they say, in sets of other sizes and difficulties', () => {
    // Share of hits, and F1 of the others (half of it, or none); a hit takes one search, all else 1 to 3.
    const kinds = [
      { set: 'bamboogle', n: 8, p: 0.8 },
      { set: 'nq', n: 40, p: 0.3 },
      { set: 'musique', n: 25, p: 0.05 },
    ];
    const of = (value: (p: number) => number) => ({
      macro: kinds.reduce((total, { p }) => total + value(p), 0) / 3,
      question: kinds.reduce((total, { n, p }) => total + n * value(p), 0) / 73,
    });
    const [match, f1, searches] = [of((p) => p), of((p) => p + (1 - p) / 4), of((p) => p + 2 * (1 - p))];
    const truths = {
      macroMean: match.macro,
      questionMean: match.question,
      macroF1: f1.macro,
      questionF1: f1.question,
      macroSearches: searches.macro,
      questionSearches: searches.question,
    };
    const held = Object.fromEntries(Object.keys(truths).map((mean) => [mean, 0]));
    for (let round = 0; round < 600; round++) {
      const draw = random(13, 'means', round);
      const answers = kinds.flatMap(({ set, n, p }) =>
        Array.from({ length: n }, (_, i) => {
          const hit = draw.uniform() < p;
          return record(set, String(i), hit ? 1 : 0, hit ? 1 : 1 + draw.integer(3), hit ? 1 : draw.integer(2) / 2);
        }),
      );
      const found = summarize(answers);
      for (const [mean, truth] of Object.entries(truths)) {
        const { low, high } = found[mean as keyof typeof truths];
        if (low <= truth && truth <= high) held[mean]++;
      }
    }
    for (const [mean, count] of Object.entries(held)) expect(count / 600, mean).toBeGreaterThan(0.93);
  });

  it('has one interval for both means where there is one set', () => {
    const { macroMean, questionMean, macroF1, questionF1, macroSearches, questionSearches } = summarize(scored('nq', [1, 0, 0, 1, 0], 2));
    close(macroMean, questionMean);
    close(macroF1, questionF1);
    close(macroSearches, questionSearches);
  });

  it('widens its intervals with the confidence asked for', () => {
    const width = (confidence?: number) => {
      const { macroMean, questionMean, sets: all, questionSearches } = summarize(records, { confidence });
      return [macroMean, questionMean, all[0].f1, questionSearches].map(({ low, high }) => high - low);
    };
    expect(width()).toEqual(width(0.95));
    for (const [i, wide] of width(0.99).entries()) expect(wide).toBeGreaterThan(width(0.8)[i]);
  });

  it('bounds searches by the budget: four, the most seen, or what is said', () => {
    const searches = (most: number, options = {}) =>
      summarize([record('nq', '0', 1, most), record('nq', '1', 1, 0)], options).questionSearches;
    close(searches(2), adjustedWald([2, 0], [0, 4]));
    close(searches(9), adjustedWald([9, 0], [0, 9]));
    close(searches(2, { maxSearches: 2 }), adjustedWald([2, 0], [0, 2]));
    close(searches(2, { maxSearches: 10 }), adjustedWald([2, 0], [0, 10]));
    expect(() => searches(3, { maxSearches: 2 })).toThrow(/no record exceeds, got 2 where a record has 3/);
    expect(() => searches(0, { maxSearches: 0 })).toThrow(/got 0/);
    expect(() => searches(0, { maxSearches: 2.5 })).toThrow(/got 2.5/);
  });

  it('refuses nothing, a question scored twice, and scores that are none', () => {
    expect(() => summarize([])).toThrow(/at least one scored question/);
    expect(() => summarize([record('nq', '1', 0), record('nq', '1', 1)])).toThrow(/nq 1 is scored twice/);
    expect(summarize([record('nq', '1', 0), record('popqa', '1', 1)]).n).toBe(2);
    expect(summarize([record('a b', 'c', 0), record('a', 'b c', 1)]).n).toBe(2);
    for (const match of [0.5, Number.NaN, 2]) expect(() => summarize([record('nq', '7', match, 1, 0)])).toThrow(/nq 7 has exactMatch/);
    for (const f1 of [-0.1, 1.1, Number.NaN]) expect(() => summarize([record('nq', '7', 0, 1, f1)])).toThrow(/nq 7 has f1/);
    for (const searches of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => summarize([record('nq', '7', 0, searches)])).toThrow(/nq 7 has searches/);
  });
});

describe('two systems on the same questions', () => {
  it('count who alone was right, and test it exactly', () => {
    const a = scored('nq', [1, 1, 0, 0, 0, 0, 0, 0]);
    const b = scored('nq', [1, 0, 1, 1, 1, 1, 1, 0]);
    const difference = compareSystems(a, b);
    expect(difference).toMatchObject({ n: 8, onlyA: 1, onlyB: 5 });
    close(difference.difference, adjustedWald([0, -1, 1, 1, 1, 1, 1, 0], [-1, 1]));
    close(difference.macroDifference, difference.difference);
    expect(difference.pValue).toBeCloseTo((2 * (1 + 6)) / 64, 12); // 2 P(X <= 1), X ~ Binomial(6, 1/2)
  });

  it('turn their differences round with their order', () => {
    const [a, b] = [everySet([1, 0, 0, 1]), everySet([1, 1, 0, 1])];
    const [forth, back] = [compareSystems(a, b), compareSystems(b, a)];
    expect([forth.onlyA, forth.onlyB, forth.pValue]).toEqual([back.onlyB, back.onlyA, back.pValue]);
    for (const key of ['macroDifference', 'difference', 'macroF1Difference', 'macroSearchDifference'] as const)
      close(forth[key], { value: -back[key].value, low: -back[key].high, high: -back[key].low });
  });

  it('weigh sets alike in the macro differences, and questions alike in the other', () => {
    const a = [...scored('nq', [0, 0, 0, 0], 3), ...scored('bamboogle', [0], 3)];
    const b = [...scored('nq', [0, 0, 0, 0], 2), ...[record('bamboogle', '0', 1, 0, 0.6)]];
    const { macroDifference, difference, macroF1Difference, macroSearchDifference } = compareSystems(a, b);
    expect(macroDifference.value).toBeCloseTo(0.5, 12);
    expect(difference.value).toBeCloseTo(0.2, 12);
    expect(macroF1Difference.value).toBeCloseTo(0.3, 12);
    expect(macroSearchDifference.value).toBeCloseTo(-2, 12);
  });

  it('may differ in searches by as many as either of them made', () => {
    const change = (a: number, b: number) => compareSystems([record('nq', '0', 1, a)], [record('nq', '0', 1, b)]).macroSearchDifference;
    close(change(9, 0), adjustedWald([-9], [-9, 9]));
    close(change(0, 9), adjustedWald([9], [-9, 9]));
    close(change(2, 1), adjustedWald([-1], [-4, 4]));
  });

  it('are not known to be equal because they gave the same answers', () => {
    const { macroDifference, difference, macroF1Difference, macroSearchDifference } = compareSystems(
      everySet([0, 1, 0]),
      everySet([0, 1, 0]),
    );
    for (const each of [macroDifference, difference, macroF1Difference, macroSearchDifference]) {
      expect(each.value).toBe(0);
      expect(each.low).toBeLessThan(-0.05);
      expect(each.high).toBeGreaterThan(0.05);
      expect(each.high).toBeCloseTo(-each.low, 12);
    }
    // 21 questions and one more to either side: 1.96 sqrt((2 / 23) / 23)
    expect(difference.high).toBeCloseTo(1.959964 * Math.sqrt(2 / 23 / 23), 6);
  });

  it('have a macro difference whose interval holds the true one about as often as it says', () => {
    // Seven sets of 15; a question is answered by the first alone with 10 %, by the second alone with 10 + 3 s %, s the set's number.
    const truth = sets.reduce((total, _, s) => total + (0.03 * s) / 7, 0);
    let held = 0;
    for (let round = 0; round < 400; round++) {
      const draw = random(11, 'paired', round);
      const [a, b]: EvaluationRecord[][] = [[], []];
      for (const [s, set] of sets.entries())
        for (let i = 0; i < 15; i++) {
          const kind = draw.uniform();
          const [first, second] = kind < 0.1 ? [1, 0] : kind < 0.2 + 0.03 * s ? [0, 1] : [1, 1];
          a.push(record(set, String(i), first));
          b.push(record(set, String(i), second));
        }
      const { low, high } = compareSystems(a, b).macroDifference;
      if (low <= truth && truth <= high) held++;
    }
    expect(held / 400).toBeGreaterThan(0.93);
  });

  it('may come in any order, but must be the same questions', () => {
    const a = scored('nq', [1, 0, 1]);
    expect(compareSystems(a, [...a].reverse())).toMatchObject({ onlyA: 0, onlyB: 0, pValue: 1 });
    expect(() => compareSystems(a, scored('popqa', [1, 0, 1]))).toThrow(/same questions, got 3 and 3; the second lacks nq 0/);
    expect(() => compareSystems(a, scored('nq', [1, 0]))).toThrow(/got 3 and 2; the second lacks nq 2/);
    expect(() => compareSystems(scored('nq', [1, 0]), a)).toThrow(/got 2 and 3$/);
    expect(() => compareSystems(a, [...a, a[0]])).toThrow(/scored twice/);
  });

  it('are refused where one id names two questions', () => {
    const a = scored('nq', [1, 0, 1]);
    const b = a.map((each, i) => (i === 1 ? { ...each, questionText: 'another?' } : each));
    expect(() => compareSystems(a, b)).toThrow(/nq 1 is "nq 1\?" in the first and "another\?" in the second/);
  });
});
