import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { benchmarkNames, benchmarks } from '../../src/benchmarks/benchmark-names.js';
import { summarize } from '../../src/benchmarks/evaluate.js';
import { loadBenchmark, loadQuestions } from '../../src/benchmarks/load.js';
import { publishedRows } from '../../src/benchmarks/published.js';
import { setRows, systemRows } from '../../src/benchmarks/report.js';
import { halfOf, selectHalf } from '../../src/benchmarks/split.js';
import { datasetPath } from '../../src/datasets.js';
import { loadCorpus } from '../../src/search/corpus.js';
import { supportingIds } from '../../src/search/recall.js';

describe('the seven benchmarks', () => {
  it('have 51,713 questions together, as Search-E1 evaluates', () => {
    expect(benchmarkNames).toHaveLength(7);
    expect(benchmarkNames.reduce((total, name) => total + benchmarks[name].size, 0)).toBe(51_713);
  });

  it.each([
    ['nq', 500],
    ['triviaqa', 500],
    ['popqa', 496],
    ['hotpotqa', 500],
    ['2wikimultihopqa', 500],
    ['musique', 500],
    ['bamboogle', 75],
  ] as const)('the shipped sample of %s has %i questions with gold answers', async (name, count) => {
    const questions = await loadBenchmark(name);
    expect(questions).toHaveLength(count);
    expect(questions.filter((q) => q.dataset !== name || q.goldenAnswers.length === 0 || q.goldenAnswers.includes(''))).toEqual([]);
  });

  it.each(['hotpotqa', '2wikimultihopqa', 'musique'] as const)('every gold passage of %s is in its corpus', async (name) => {
    const ids = new Set((await loadCorpus(datasetPath('corpora', `${name}.jsonl.gz`))).map((passage) => passage.id));
    expect((await loadBenchmark(name)).flatMap(supportingIds).filter((id) => !ids.has(id))).toEqual([]);
  });
});

describe('a file of questions', () => {
  const write = (content: string) => {
    const path = join(mkdtempSync(join(tmpdir(), 'questions-')), 'set.jsonl');
    writeFileSync(path, content);
    return path;
  };

  it('reads FlashRAG’s rows, with or without metadata', async () => {
    const path = write(
      '{"id":"test_0","question":" who? ","golden_answers":["Ada"],"metadata":{"type":"bridge"}}\r\n\n{"id":1,"question":"x","golden_answers":["y"],"metadata":null,"extra":1}',
    );
    expect(await loadQuestions(path, 'mine')).toEqual([
      { id: 'test_0', dataset: 'mine', question: 'who?', goldenAnswers: ['Ada'], metadata: { type: 'bridge' } },
      { id: '1', dataset: 'mine', question: 'x', goldenAnswers: ['y'] },
    ]);
  });

  it('lists every bad line at once', async () => {
    const path = write(
      '{"id":"a","question":"x","golden_answers":[]}\nnonsense\n{"id":"b","question":"x","golden_answers":["y"]}\n{"id":"b","question":"x","golden_answers":["y"]}\n{"question":7}',
    );
    const error = await loadQuestions(path, 'mine').catch((e: Error) => e.message);
    expect(error).toMatch(/4 bad lines/);
    expect(error).toMatch(/line 1: golden_answers: /);
    expect(error).toMatch(/line 2: not JSON/);
    expect(error).toMatch(/line 4: id "b" was seen before, on line 3/);
    expect(error).toMatch(/line 5: id: .*question: .*golden_answers: /);
  });

  it('must hold a question', async () => {
    await expect(loadQuestions(write('\n'), 'mine')).rejects.toThrow(/no questions/);
  });
});

describe('the two halves', () => {
  it('part every sample, about evenly, whatever the order of its rows', async () => {
    const questions = await loadBenchmark('popqa');
    const development = selectHalf(questions, 'development');
    const heldOut = selectHalf(questions, 'held-out');
    expect([...development, ...heldOut].map((q) => q.id).sort()).toEqual(questions.map((q) => q.id).sort());
    expect(Math.abs(development.length - heldOut.length)).toBeLessThan(60); // 496 fair coins: three standard deviations are 67
    expect(
      selectHalf([...questions].reverse(), 'development')
        .map((q) => q.id)
        .sort(),
    ).toEqual(development.map((q) => q.id).sort());
  });

  it('never change: other people’s held-out numbers rest on them', () => {
    expect(
      ['dev_0', 'dev_1', 'dev_2', 'dev_3', 'dev_4', 'dev_5'].map((id) => halfOf({ dataset: 'hotpotqa', id })[0]).join(''),
    ).toMatchInlineSnapshot(`"ddhddh"`);
  });
});

describe('published rows', () => {
  it('average to the average they print, within rounding', () => {
    for (const row of publishedRows) {
      const values = benchmarkNames.map((name) => row.exactMatch[name]).flatMap((value) => value ?? []);
      if (values.length === 7) expect(values.reduce((sum, value) => sum + value, 0) / 7, row.system).toBeCloseTo(row.average, 0);
    }
  });

  it('say of Search-E1 that its sets are derived', () => {
    expect(publishedRows.find((row) => row.system === 'Search-E1')).toMatchObject({ status: 'derived', average: 44.0 });
  });

  it('stand below the measured row, whose average needs all seven sets', () => {
    const summary = summarize([{ dataset: 'nq', questionId: '1', exactMatch: 1, f1: 1, searches: 2 }]);
    const [ours, ...theirs] = systemRows('lexical agent', summary);
    expect(ours).toMatchObject({ system: 'lexical agent', status: 'measured here', average: null, sets: { nq: 100, popqa: null } });
    expect(theirs).toHaveLength(publishedRows.length);
    expect(setRows(summary).map((row) => [row.set, row.n, row.em, row.searches])).toEqual([
      ['NQ', 1, 100, 2],
      ['macro mean', 1, 100, 2],
      ['question-weighted mean', 1, 100, 2],
    ]);
  });
});
