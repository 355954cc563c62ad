import { beforeAll, describe, expect, it } from 'vitest';
import { loadQuestions } from '../../src/benchmarks/load.js';
import { datasetPath } from '../../src/platform/datasets.js';
import { loadCorpus } from '../../src/search/corpus.js';
import { createSearcher } from '../../src/search/minisearch.js';
import { measureRecall, type Recall } from '../../src/search/recall.js';

/** Plain BM25 (k1 0.9, b 0.4, title and text together, stop words, no stems) measured on the same files: datasets/README.md. */
const plainBm25 = [
  { corpus: 'hotpotqa', questions: 342, recall2: 0.55, recall5: 0.705 },
  { corpus: '2wikimultihopqa', questions: 132, recall2: 0.595, recall5: 0.723 },
  { corpus: 'musique', questions: 100, recall2: 0.365, recall5: 0.492 },
] as const;

describe.each(plainBm25)('default search on $corpus', ({ corpus, questions, recall2, recall5 }) => {
  let recall: Recall[];
  beforeAll(async () => {
    const searcher = createSearcher(await loadCorpus(datasetPath('corpora', `${corpus}.jsonl.gz`)));
    recall = await measureRecall(searcher, await loadQuestions(datasetPath('benchmarks', `${corpus}.jsonl`), corpus));
  });

  it('asks every question whose gold passages are in the corpus', () => {
    expect(recall.map((r) => r.questions)).toEqual([questions, questions]);
  });

  it('finds no fewer gold passages in the first two than plain BM25', () => {
    expect(recall[0].recall).toBeGreaterThanOrEqual(recall2);
  });

  it('finds no fewer gold passages in the first five than plain BM25', () => {
    expect(recall[1].recall).toBeGreaterThanOrEqual(recall5);
  });
});

describe('recall', () => {
  const passages = ['a', 'b', 'c'].map((id) => ({ id, title: id, text: '' }));
  const always = {
    search: async (queries: readonly string[], topK: number) => queries.map(() => passages.slice(0, topK).map((p) => ({ ...p, score: 1 }))),
  };
  const asking = (supporting_ids?: string[]) => ({
    id: 'q',
    dataset: 'd',
    question: 'x',
    goldenAnswers: ['y'],
    metadata: { supporting_ids },
  });

  it('is the mean share of gold passages, not of questions with any', async () => {
    // k = 2 sees a and b: shares 1/2, 1, 1/3.
    const [at2] = await measureRecall(always, [asking(['a', 'c']), asking(['b']), asking(['a', 'c', 'z'])], [2]);
    expect(at2.recall).toBeCloseTo((1 / 2 + 1 + 1 / 3) / 3, 12);
    expect(at2.complete).toBeCloseTo(1 / 3, 12);
  });

  it('leaves out questions without gold passages, and says so when none has any', async () => {
    expect((await measureRecall(always, [asking(['a']), asking()], [1]))[0].questions).toBe(1);
    await expect(measureRecall(always, [asking()], [1])).rejects.toThrow(/none of 1 questions has metadata.supporting_ids/);
  });

  it('counts a gold passage once that is named twice', async () => {
    const [at1] = await measureRecall(always, [asking(['a', 'a', 'b'])], [1]);
    expect(at1.recall).toBeCloseTo(1 / 2, 12);
    const [at2] = await measureRecall(always, [asking(['b', 'b'])], [2]);
    expect(at2).toMatchObject({ recall: 1, complete: 1 });
  });

  it('counts a passage once that is found twice, and gives it both its places', async () => {
    const twice = { search: async () => [['a', 'a', 'b'].map((id) => ({ id, title: id, text: '', score: 1 }))] };
    const recall = await measureRecall(twice, [asking(['a', 'b'])], [1, 2, 3]);
    expect(recall.map((each) => each.recall)).toEqual([0.5, 0.5, 1]);
  });

  it('looks at all that is found where that is less than k', async () => {
    const [at10] = await measureRecall(always, [asking(['a', 'z'])], [10]);
    expect(at10).toMatchObject({ k: 10, recall: 0.5, complete: 0 });
  });

  it('refuses a k that is no count, and a searcher that answers too few queries', async () => {
    for (const ks of [[0], [2, 1.5], [Number.NaN]])
      await expect(measureRecall(always, [asking(['a'])], ks)).rejects.toThrow(/positive whole numbers for ks/);
    await expect(measureRecall(always, [asking(['a'])], [])).rejects.toThrow(/got none/);
    await expect(measureRecall({ search: async () => [] }, [asking(['a'])], [1])).rejects.toThrow(/0 lists of passages for 1 queries/);
  });
});
