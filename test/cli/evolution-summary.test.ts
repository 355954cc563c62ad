import { expect, it } from 'vitest';
import { compareSystems, type EvaluationRecord, summarize } from '../../src/benchmarks/evaluate.js';
import { describeRun } from '../../src/cli/evolution-summary.js';

it('the table of a run ends with the mean of sets and the mean of questions, of exact match and of searches alike', () => {
  const set = (dataset: string, n: number, exactMatch: number, searches: number) =>
    Array.from(
      { length: n },
      (_, i): EvaluationRecord => ({ dataset, questionId: `${i}`, questionText: `${i}?`, exactMatch, f1: exactMatch, searches }),
    );
  const summary = summarize([...set('nq-mini', 3, 0, 1), ...set('popqa-mini', 1, 1, 3)]);
  const stage = { stage: '0-base', greedy: summary, sampled: summary };
  const text = describeRun({ stages: [stage], grpo: [], pairs: [], change: null, run: 'runs/x', policy: 'runs/x/checkpoints/0-base' }, 4);
  const row = (name: string) => text.split('\n').find((line) => line.startsWith(name)) as string;
  // Sets: (0 + 1) / 2 and (1 + 3) / 2. Questions: 1 of 4 and 6 searches in 4.
  expect(row('macro mean').match(/\d+\.\d+/g)).toEqual(['50.0', '50.0', '50.0', '50.0', '2.00', '2.00', '2.00', '2.00']);
  expect(row('question-weighted mean').match(/\d+\.\d+/g)).toEqual(['25.0', '25.0', '25.0', '25.0', '1.50', '1.50', '1.50', '1.50']);
});

it('compares before and after question by question, says how much so few questions tell, and what was not distilled', () => {
  const records = (right: readonly number[], searches: number) =>
    right.map(
      (exactMatch, i): EvaluationRecord => ({
        dataset: 'nq-mini',
        questionId: `${i}`,
        questionText: `${i}?`,
        exactMatch,
        f1: exactMatch,
        searches,
      }),
    );
  const [before, after] = [records([0, 0, 1, 0], 3), records([1, 0, 1, 1], 2)];
  const summary = summarize(before);
  const stages = ['0-base', '1-grpo'].map((stage) => ({ stage, greedy: summary, sampled: summary }));
  const change = { greedy: compareSystems(before, after), sampled: compareSystems(after, before) };
  const gate = { open: false, searchGap: 0, teacherGain: 0.1, reason: 'students search no more' };
  const pairs = [{ stage: '1-ofsd', pairs: 4, skipped: {}, teacher: null, gate }];
  const text = describeRun({ stages, grpo: [], pairs, change, run: 'r', policy: 'p' }, 4);
  // Two questions of four became right, and each took one search less.
  expect(text).toMatch(/^greedy: exact match \+50\.0 \(95 %: \S+ to \+\S+\) points, searches −1\.00 \(95 %: −\S+ to \S+\)$/m);
  expect(text).toMatch(/^sampled: exact match −50\.0 .*searches \+1\.00/m);
  expect(text).toMatch(/^4 questions a set tell a change of the mean from chance above some \d+ points/m);
  expect(text).toContain('1-ofsd distilled nothing: students search no more.');
});

it('says of a run that ended worse than it began, beyond chance, that it did, and what to try; of others it does not', () => {
  const records = (right: number) =>
    Array.from({ length: 40 }, (_, i): EvaluationRecord => {
      const exactMatch = i < right ? 1 : 0;
      return { dataset: 'nq-mini', questionId: `${i}`, questionText: `${i}?`, exactMatch, f1: exactMatch, searches: 1 };
    });
  const told = (before: number, after: number) => {
    const greedy = compareSystems(records(before), records(after));
    const stages = [before, after].map((right, i) => {
      const summary = summarize(records(right));
      return { stage: `${i}`, greedy: summary, sampled: summary };
    });
    return describeRun({ stages, grpo: [], pairs: [], change: { greedy, sampled: greedy }, run: 'r', policy: 'p' }, 40);
  };
  expect(told(20, 0)).toContain(
    'It answers worse than the policy it began with, beyond chance: the first thing to try is a lower --learning-rate',
  );
  for (const text of [told(0, 20), told(20, 20), told(20, 19)]) expect(text).not.toContain('answers worse');
});
