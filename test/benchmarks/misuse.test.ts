/** What a caller without types may hand in: each says what was got and expected, instead of a score of something else. */
import { describe, expect, test } from 'vitest';
import * as evaluation from '../../src/benchmarks/evaluate.js';
import * as loading from '../../src/benchmarks/load.js';

// biome-ignore lint/suspicious/noExplicitAny: what callers without types write is the subject
const door = { ...evaluation, ...loading } as any;

describe('a summary', () => {
  const record = { dataset: 'nq', questionId: '1', questionText: '?', exactMatch: 1, f1: 1, searches: 1 };
  const of = (change: object) => door.summarize([record, { ...record, questionId: '2', ...change }]);
  test.each([
    ['of nothing', () => door.summarize(), 'summarize: expected a list of scored questions, got undefined'],
    ['of a text', () => door.summarize('nq'), 'summarize: expected a list of scored questions, got "nq"'],
    [
      'of no records',
      () => door.summarize([record, null]),
      'summarize: record 1: expected an object with exactMatch, f1, searches, got null',
    ],
    ['of no set', () => of({ dataset: undefined }), 'summarize: record 1: dataset: expected a text, got undefined'],
    ['of ids that are numbers', () => of({ questionId: 2 }), 'summarize: record 1: questionId: expected a text, got 2'],
    ['of F1 as text, which would be joined', () => of({ f1: '0.5' }), 'question nq 2 has f1 "0.5", expected 0 to 1'],
    ['of exact match as text', () => of({ exactMatch: '1' }), 'question nq 2 has exactMatch "1", expected 0 or 1'],
    ['of failures that are none', () => of({ failedSearches: Number.NaN }), 'question nq 2 has failedSearches NaN, expected a count'],
    ['misspelt', () => door.summarize([record], { confidance: 0.9 }), 'summarize: there is no option confidance; expected confidence'],
    ['at a confidence as text', () => door.summarize([record], { confidence: '0.9' }), 'expected a confidence between 0 and 1'],
    ['of one system of two', () => door.compareSystems([record]), 'compareSystems: expected a list of scored questions, got undefined'],
    ['of two, misspelt', () => door.compareSystems([record], [record], { level: 1 }), 'compareSystems: there is no option level'],
    ['of a benchmark without a name', () => door.loadBenchmark(), 'loadBenchmark: name: expected nq, triviaqa, popqa, hotpotqa'],
    ['of a benchmark elsewhere', () => door.loadBenchmark('../../x'), 'bamboogle; got "../../x"'],
  ] as const)('%s is refused by name', async (_, run, message) => {
    await expect((async () => run())()).rejects.toThrow(message);
  });
});
