import { describe, expect, it } from 'vitest';
import { summarize } from '../../src/benchmarks/evaluate.js';
import { checkClaims, describeStudy, type StoredStudy } from '../../src/cli/study-summary.js';
import type { StudySummary } from '../../src/evolution/study.js';

/** Ten questions, of which `greedy` and `sampled` are right. */
function results(greedy: number, sampled: number, searches: number): StudySummary {
  const summary = (right: number) =>
    summarize(
      Array.from({ length: 10 }, (_, i) => ({
        dataset: 'nq-mini',
        questionId: String(i),
        questionText: `${i}?`,
        exactMatch: i < right ? 1 : 0,
        f1: 0,
        searches,
      })),
    );
  return { greedy: summary(greedy), sampled: summary(sampled) };
}

function record(seed: number, changes: Partial<StoredStudy> = {}): StoredStudy {
  return {
    seed,
    command: '',
    date: '',
    versions: {},
    backend: { name: 'cpu', description: '', compute: 'float32', kernels: 'none', device: 'cpu', notes: [] },
    policy: 'base policy',
    questionsPerSet: 10,
    settings: {},
    base: results(5, 3, 2),
    grpo: results(6, 5, 3),
    grpoSteps: [],
    pairs: { count: 1, skipped: {}, searchGap: 1, wrongStudents: 1 },
    teacher: { questions: 1, student: 0.5, teacher: 0.75 },
    arms: { ofsd: results(6, 5, 2), 'no-reference': results(6, 5, 3) },
    seconds: 1,
    ...changes,
  };
}

const claims = (...records: StoredStudy[]) => Object.fromEntries(checkClaims(records).map(({ claim, ...rest }) => [claim, rest]));

describe('checkClaims()', () => {
  it('finds every claim borne out where it is', () => {
    const checked = checkClaims([record(1), record(2)]);
    expect(checked.map(({ holds, seeds }) => [holds, seeds])).toEqual(Array(5).fill([true, 2]));
    expect(checked.map(({ mean }) => mean)).toEqual([0.2, 0.25, 1, 0, 0].map((value) => expect.closeTo(value, 12)));
  });

  it.each<[string, Partial<StoredStudy>]>([
    ['GRPO lifts sampled exact match by at least 0.10', { grpo: results(6, 3, 3) }],
    ['the teacher with the reference beats the student (exact match)', { teacher: { questions: 1, student: 0.5, teacher: 0.5 } }],
    ['OFSD cuts greedy searches a question by at least 0.5', { arms: { ofsd: results(6, 5, 2.6) } }],
    ['OFSD loses no greedy exact match', { arms: { ofsd: results(5, 5, 2) } }],
    ['without the reference, searches are not cut by 0.5', { arms: { 'no-reference': results(6, 5, 2.5) } }],
  ])('sees where it is not so: %s', (claim, changes) => {
    expect(claims(record(1, changes))[claim]).toMatchObject({ holds: false, seeds: 0 });
  });

  it('judges the mean over seeds, and counts the seeds', () => {
    const [lift] = checkClaims([record(1), record(2), record(3, { grpo: results(6, 3, 3) })]);
    expect(lift).toMatchObject({ holds: true, seeds: 2 }); // (0.2 + 0.2 + 0) / 3 = 0.133
  });

  it('claims nothing about an arm that was not measured', () => {
    const checked = checkClaims([record(1, { arms: {} })]);
    expect(checked.slice(2).map(({ holds, values }) => [holds, values])).toEqual(Array(3).fill([null, [null]]));
  });
});

describe('describeStudy()', () => {
  it('shows mean and standard deviation over seeds, and says NO where a claim fails', () => {
    const text = describeStudy([record(1), record(2, { grpo: results(8, 3, 3) })]);
    expect(text).toMatch(/^GRPO {2,}2 {2}0\.700 ± 0\.141 {2}0\.400 ± 0\.141/m); // 0.6 and 0.8; 0.5 and 0.3
    expect(text).toMatch(/OFSD loses no greedy exact match.*NO \(1 of 2 seeds\)/);
  });
});
