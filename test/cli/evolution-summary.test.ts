import { expect, it } from 'vitest';
import { type EvaluationRecord, summarize } from '../../src/benchmarks/evaluate.js';
import { describeRun } from '../../src/cli/evolution-summary.js';

it('the table of a run ends with the mean of sets and the mean of questions, of exact match and of searches alike', () => {
  const set = (dataset: string, n: number, exactMatch: number, searches: number) =>
    Array.from(
      { length: n },
      (_, i): EvaluationRecord => ({ dataset, questionId: `${i}`, questionText: `${i}?`, exactMatch, f1: exactMatch, searches }),
    );
  const summary = summarize([...set('nq-mini', 3, 0, 1), ...set('popqa-mini', 1, 1, 3)]);
  const stage = { stage: '0-base', greedy: summary, sampled: summary };
  const text = describeRun({ stages: [stage], grpo: [], pairs: [], run: 'runs/x', policy: 'runs/x/checkpoints/0-base' }, 4);
  const row = (name: string) => text.split('\n').find((line) => line.startsWith(name)) as string;
  // Sets: (0 + 1) / 2 and (1 + 3) / 2. Questions: 1 of 4 and 6 searches in 4.
  expect(row('macro mean').match(/\d+\.\d+/g)).toEqual(['50.0', '50.0', '50.0', '50.0', '2.00', '2.00', '2.00', '2.00']);
  expect(row('question-weighted mean').match(/\d+\.\d+/g)).toEqual(['25.0', '25.0', '25.0', '25.0', '1.50', '1.50', '1.50', '1.50']);
});
