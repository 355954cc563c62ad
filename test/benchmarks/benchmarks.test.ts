import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { benchmarkNames, benchmarks, f1RuleOf } from '../../src/benchmarks/benchmark-names.js';
import { type EvaluationRecord, summarize } from '../../src/benchmarks/evaluate.js';
import { evaluationRecord } from '../../src/benchmarks/evaluate-policy.js';
import { evaluateLexicalAgent } from '../../src/benchmarks/lexical-evaluation.js';
import { loadBenchmark, loadQuestions } from '../../src/benchmarks/load.js';
import { type PublishedRow, publishedRecall, publishedRows } from '../../src/benchmarks/published.js';
import { rowsBySet, rowsBySystem, rowsByType } from '../../src/benchmarks/report.js';
import { halfOf, selectHalf } from '../../src/benchmarks/split.js';
import { datasetPath, packageRoot } from '../../src/platform/datasets.js';
import type { Trajectory } from '../../src/rollout/trajectory.js';
import { loadCorpus } from '../../src/search/corpus.js';
import { createSearcher } from '../../src/search/minisearch.js';
import { supportingIds } from '../../src/search/recall.js';

describe('the seven benchmarks', () => {
  it('have 51,713 questions together, as Search-E1 evaluates', () => {
    expect(benchmarkNames).toHaveLength(7);
    expect(benchmarkNames.reduce((total, name) => total + benchmarks[name].size, 0)).toBe(51_713);
  });

  it('are the splits that Search-R1 evaluates, in the papers’ order', () => {
    // FlashRAG's README (commit 1ee52490): the test split where there is one. Search-R1 trains on NQ and HotpotQA; corpora are shipped where gold passages are known.
    expect(benchmarkNames.map((name) => Object.values(benchmarks[name]).slice(0, 6))).toEqual([
      ['nq', 'NQ', 3_610, 'test', true, 'single'],
      ['triviaqa', 'TriviaQA', 11_313, 'test', false, 'single'],
      ['popqa', 'PopQA', 14_267, 'test', false, 'single'],
      ['hotpotqa', 'HotpotQA', 7_405, 'dev', true, 'multi'],
      ['2wikimultihopqa', '2Wiki', 12_576, 'dev', false, 'multi'],
      ['musique', 'MuSiQue', 2_417, 'dev', false, 'multi'],
      ['bamboogle', 'Bamboogle', 125, 'test', false, 'multi'],
    ]);
    for (const name of benchmarkNames)
      expect(existsSync(join(packageRoot(), 'datasets/corpora', `${name}.jsonl.gz`)), name).toBe(benchmarks[name].hasCorpus);
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

/** The survey's own table, transcribed apart from `src`. */
const survey = JSON.parse(readFileSync(join(__dirname, 'fixtures', 'published.json'), 'utf8')) as {
  exactMatch: { method: string; size: string; cells: (number | null)[]; average: number }[];
  searchE1MinusAutoRefine: number[];
  recall: Record<string, [number, number]>[];
  recallPassages: Record<string, number>;
};
const cellsOf = (row: PublishedRow) => benchmarkNames.map((name) => row.exactMatch[name]);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('published rows', () => {
  it('are those of the survey, cell by cell', () => {
    const order = [
      'direct',
      'RAG',
      'Search-R1 base, GRPO',
      'Search-R1 instruct, GRPO',
      'AutoRefine base',
      'GiGPO',
      'SD-Search',
      'Search-E1',
    ];
    expect(survey.exactMatch.map(({ method }) => method)).toEqual(
      [...order, ...order.slice(2, 5)].map((name) => expect.stringContaining(name)),
    );
    expect(publishedRows.map(({ system }) => system)).toEqual(
      [...['Direct answer', 'RAG', ...Array(2).fill('Search-R1 GRPO'), 'AutoRefine', 'GiGPO', 'SD-Search', 'Search-E1']].concat([
        ...Array(2).fill('Search-R1 GRPO'),
        'AutoRefine',
      ]),
    );
    for (const [i, row] of publishedRows.entries()) {
      const { method, size, cells, average } = survey.exactMatch[i];
      expect(row.model).toContain(size);
      if (/instruct/.test(method)) expect(row.model).toMatch(/Instruct$/);
      expect(row.average, method).toBe(average);
      if (row.status !== 'derived') expect(cellsOf(row), method).toEqual(cells);
    }
  });

  it('average to the average they print, to the last digit that is printed', () => {
    for (const row of publishedRows) {
      const values = cellsOf(row).flatMap((value) => value ?? []);
      if (values.length > 0) expect(Math.abs(mean(values) - row.average), `${row.system} (${row.model})`).toBeLessThanOrEqual(0.05 + 1e-9);
    }
  });

  it('name their papers, and say which numbers were not read there', () => {
    const papers: Record<string, string> = {
      'Direct answer': '2503.09516',
      RAG: '2503.09516',
      'Search-R1 GRPO': '2503.09516',
      AutoRefine: '2505.11277',
      GiGPO: '2505.10978',
      'SD-Search': '2605.18299',
      'Search-E1': '2605.22511',
    };
    for (const { system, source } of publishedRows) expect(source).toContain(`arXiv ${papers[system]}`);
    const unread = publishedRows.filter(({ status }) => status !== 'published').map(({ system, model, status }) => [system, model, status]);
    expect(unread).toEqual([
      ['AutoRefine', 'Qwen2.5-3B', 'partly recalled'],
      ['Search-E1', 'Qwen2.5-3B-Instruct', 'derived'],
    ]);
    for (const [system] of [...unread, ['GiGPO']]) expect(publishedRows.find((row) => row.system === system)?.note, system).toMatch(/\w/);
  });

  it('derive Search-E1’s sets from AutoRefine’s and the published differences, and say so', () => {
    const [autoRefine, searchE1] = ['AutoRefine', 'Search-E1'].map(
      (name) => publishedRows.find(({ system }) => system === name) as PublishedRow,
    );
    expect(searchE1).toMatchObject({ status: 'derived', average: 44.0 });
    const differences = cellsOf(searchE1).map((value, i) => Number(((value as number) - (cellsOf(autoRefine)[i] as number)).toFixed(1)));
    expect(differences).toEqual(survey.searchE1MinusAutoRefine);
  });

  it('of recall are the survey’s, and average to what the paper prints', () => {
    for (const { retriever, average, ...cells } of survey.recall) {
      const rows = publishedRecall.filter(({ system }) => system === String(retriever));
      expect(rows.map(({ dataset, recall2, recall5 }) => [dataset, [recall2, recall5]]).sort()).toEqual(Object.entries(cells).sort());
      expect(Math.abs(mean(rows.map(({ recall2 }) => recall2)) - average[0])).toBeLessThanOrEqual(0.05 + 1e-9);
      expect(Math.abs(mean(rows.map(({ recall5 }) => recall5)) - average[1])).toBeLessThanOrEqual(0.05 + 1e-9);
    }
    expect(publishedRecall).toHaveLength(2 * 3);
    for (const { dataset, passages } of publishedRecall) expect(passages).toBe(survey.recallPassages[dataset]);
  });
});

describe('F1', () => {
  const f1On = (dataset: string, answer: string | null, gold: string) =>
    evaluationRecord({
      question: { id: 'q', dataset, question: 'x?', goldenAnswers: [gold] },
      answer,
      reward: 0,
      searches: 0,
    } as unknown as Trajectory).f1;

  it('is counted by each set’s own scorer, and on a mini set by its big sister’s', () => {
    // HotpotQA's and 2Wiki's official scorers give nothing for yes, no or noanswer among other words; SQuAD's gives 2 (1/3)(1) / (4/3) = 0.5.
    for (const set of ['hotpotqa', '2wikimultihopqa', 'hotpotqa-mini', '2wiki-mini']) {
      expect(f1On(set, 'yes they are', 'yes'), set).toBe(0);
      expect(f1On(set, 'no', 'no man'), set).toBe(0);
      expect(f1On(set, 'yes', 'Yes.'), set).toBe(1);
      expect(f1On(set, '...', 'the'), set).toBe(0);
    }
    for (const set of [
      'musique',
      'nq',
      'popqa',
      'bamboogle',
      'musique-mini',
      'nq-mini',
      'popqa-mini',
      'bamboogle-mini',
      'my own',
      'constructor',
    ]) {
      expect(f1On(set, 'yes they are', 'yes'), set).toBe(0.5);
      expect(f1On(set, '...', 'the'), set).toBe(1);
      expect(f1On(set, 'co-founder', 'co founder'), set).toBe(0);
    }
    // TriviaQA's owners turn a hyphen into a space.
    for (const set of ['triviaqa', 'triviaqa-mini']) {
      expect(f1On(set, 'co-founder', 'co founder'), set).toBe(1);
      expect(f1On(set, 'yes they are', 'yes'), set).toBe(0.5);
    }
    expect(f1On('musique', null, '')).toBe(0);
  });

  it('is published by the owners of TriviaQA, HotpotQA, 2Wiki and MuSiQue alone', () => {
    expect(benchmarkNames.filter((name) => benchmarks[name].officialF1)).toEqual(['triviaqa', 'hotpotqa', '2wikimultihopqa', 'musique']);
    expect(benchmarkNames.map(f1RuleOf)).toEqual(['squad', 'triviaqa', 'squad', 'hotpotqa', 'hotpotqa', 'squad', 'squad']);
  });

  it('of the lexical agent follows the same rules, and its records say what was asked', async () => {
    const page = { id: 'p', title: 'Ada Stone', text: 'Ada Stone (3 May 1901 – 7 June 1980) was an English painter.' };
    const question = { id: '1', question: 'Are Ada Stone and Ada Stone of the same nationality?', goldenAnswers: ['yes they are'] };
    const [hotpot, musique] = await evaluateLexicalAgent(
      [
        { ...question, dataset: 'hotpotqa', metadata: { type: 'comparison' } },
        { ...question, dataset: 'musique', metadata: { kind: 'twoHop' } },
      ],
      createSearcher([page]),
    );
    expect([hotpot.episode.answer, hotpot.f1, musique.f1]).toEqual(['yes', 0, 0.5]);
    expect(hotpot).toMatchObject({
      dataset: 'hotpotqa',
      questionId: '1',
      questionText: question.question,
      type: 'comparison',
      exactMatch: 0,
    });
    expect(musique.type).toBe('twoHop');
  });
});

describe('tables', () => {
  const record = (dataset: string, i: number, exactMatch: number, f1: number, searches: number, type?: string): EvaluationRecord => ({
    dataset,
    questionId: String(i),
    questionText: `${i}?`,
    exactMatch,
    f1,
    searches,
    ...(type ? { type } : {}),
  });
  // Four questions of NQ: EM 1/4, F1 1.52/4, 8/4 searches. Two of 2Wiki-mini: EM 1, F1 .9, .5 searches.
  const records = [
    record('nq', 0, 1, 1, 2),
    record('nq', 1, 0, 0.52, 2),
    record('nq', 2, 0, 0, 3),
    record('nq', 3, 0, 0, 1),
    record('2wiki-mini', 0, 1, 1, 1, 'comparison'),
    record('2wiki-mini', 1, 1, 0.8, 0, 'twoHop'),
  ];

  it('show each set, the mean of sets and the mean of questions, and do not mix the two up', () => {
    expect(rowsBySet(summarize(records)).map(({ interval, ...row }) => row)).toEqual([
      { set: 'NQ', n: 4, em: 25, f1: 38, searches: 2 },
      { set: '2wiki-mini', n: 2, em: 100, f1: 90, searches: 0.5 },
      { set: 'macro mean', n: 6, em: 62.5, f1: 64, searches: 1.25 }, // (25 + 100) / 2, (38 + 90) / 2, (2 + .5) / 2
      { set: 'question-weighted mean', n: 6, em: 50, f1: 55.3, searches: 1.5 }, // 3 / 6, 3.32 / 6, 9 / 6
    ]);
  });

  it('have Search-R1’s score where every question was scored so, and else no such column', () => {
    const known = records.map((record, i) => ({ ...record, searchR1Score: i === 0 ? 0 : 1 }));
    expect(rowsBySet(summarize(known)).map(({ searchR1 }) => searchR1)).toEqual([75, 100, 87.5, 83.3]);
    expect(rowsBySet(summarize(records)).some((row) => 'searchR1' in row)).toBe(false);
  });

  it('show each exact match’s own interval in points', () => {
    const summary = summarize(records);
    const text = ({ low, high }: { low: number; high: number }) => `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
    expect(rowsBySet(summary).map(({ interval }) => interval)).toEqual(
      [summary.sets[0].exactMatch, summary.sets[1].exactMatch, summary.macroMean, summary.questionMean].map(text),
    );
    expect(rowsBySet(summary)[0].interval).toBe('4.6 to 69.9'); // Wilson, 1 of 4
  });

  it('split a set by the types of its questions, and end with both means', () => {
    const rows = rowsByType(records);
    expect(rows.map(({ set, type, n, em, f1 }) => [set, type, n, em, f1])).toEqual([
      ['NQ', 'not told', 4, 25, 38],
      ['2wiki-mini', 'comparison', 1, 100, 100],
      ['2wiki-mini', 'twoHop', 1, 100, 80],
      ['macro mean', 'all', 6, 62.5, 64],
      ['question-weighted mean', 'all', 6, 50, 55.3],
    ]);
    expect(rowsByType(records, ({ searches }) => `${searches} searches`).map(({ type, n }) => [type, n])).toEqual([
      ['2 searches', 2],
      ['3 searches', 1],
      ['1 searches', 1],
      ['1 searches', 1],
      ['0 searches', 1],
      ['all', 6],
      ['all', 6],
    ]);
    expect(rowsByType(records, undefined, { confidence: 0.5 })[0].interval).not.toBe(rows[0].interval);
  });

  it('compare a measurement with the published rows only over all seven sets', () => {
    const one = summarize([record('nq', 1, 1, 1, 2)]);
    const [ours, ...theirs] = rowsBySystem('lexical agent', one);
    expect(ours).toEqual({
      system: 'lexical agent',
      status: 'measured here',
      sets: { nq: 100, triviaqa: null, popqa: null, hotpotqa: null, '2wikimultihopqa': null, musique: null, bamboogle: null },
      average: null,
      questionWeighted: null,
    });
    expect(theirs).toHaveLength(publishedRows.length);
    const all = benchmarkNames.map((name, i) => record(name, 0, i % 2, 0, 0));
    expect(rowsBySystem('ours', summarize([...all, record('nq', 1, 1, 0, 0)]))[0]).toMatchObject({
      average: 50, // NQ 1 of 2, three of the other six
      questionWeighted: 50, // 4 of 8
    });
    expect(rowsBySystem('ours', summarize([...all, record('triviaqa', 1, 1, 0, 0), record('triviaqa', 2, 0, 0, 0)]))[0]).toMatchObject({
      average: 38.1, // (2/3 + 2) / 7
      questionWeighted: 44.4, // 4 of 9
    });
    expect(rowsBySystem('ours', summarize([...all.slice(1), record('another', 1, 1, 0, 0)]))[0]).toMatchObject({ average: null }); // seven, one of them another
    expect(rowsBySystem('ours', summarize([...all, record('another', 1, 1, 0, 0)]))[0]).toMatchObject({
      average: null,
      questionWeighted: null,
    });
  });

  it('give the published rows both means too, the second from the sizes of the whole splits', () => {
    const rows = rowsBySystem('ours', summarize(records), ({ system }) => system === 'RAG' || system === 'SD-Search').slice(1);
    expect(rows.map(({ system, status, average }) => [system, status, average])).toEqual([
      ['RAG (Qwen2.5-3B-Instruct)', 'published', 27],
      ['SD-Search (Qwen2.5-3B)', 'published', 42.8],
    ]);
    // (34.8 * 3610 + 54.4 * 11313 + 38.7 * 14267 + 25.5 * 7405 + 22.6 * 12576 + 4.7 * 2417 + 8 * 125) / 51713
    expect(rows.map(({ questionWeighted }) => questionWeighted)).toEqual([34.4, null]);
    expect(rows[0].sets).toEqual(publishedRows[1].exactMatch);
  });
});
