import { beforeAll, describe, expect, it } from 'vitest';
import { summarize } from '../../src/benchmarks/evaluate.js';
import { runLexicalAgent } from '../../src/benchmarks/lexical-agent.js';
import { answerTypeOf, rankCandidates } from '../../src/benchmarks/lexical-candidates.js';
import { evaluateLexicalAgent, type LexicalRecord } from '../../src/benchmarks/lexical-evaluation.js';
import { birthOf, deathOf, namesOf, nationalityOf, pageOf } from '../../src/benchmarks/lexical-reading.js';
import { loadBenchmark } from '../../src/benchmarks/load.js';
import { selectHalf } from '../../src/benchmarks/split.js';
import { datasetPath } from '../../src/platform/datasets.js';
import { extractAnswer } from '../../src/reward/extract-answer.js';
import { parseAction } from '../../src/rollout/protocol.js';
import { loadCorpus } from '../../src/search/corpus.js';
import { createSearcher } from '../../src/search/minisearch.js';
import { SearchError, type Searcher } from '../../src/search/passage.js';

const page = (title: string, text: string) => ({ id: title, title, text });
const world = createSearcher([
  page('Amber Falcon', 'Amber Falcon is a 1931 film directed by Ada Stone. It stars Tom Reed.'),
  page('Red Mill', 'Red Mill is a 1940 film directed by Karl Lund.'),
  page('Ada Stone', 'Ada Stone (3 May 1901 – 7 June 1980) was an English film director. She was born in Leeds, Yorkshire.'),
  page('Karl Lund', 'Karl Lund (1 April 1899 – 2 July 1985) was a Swedish film director, born in Malmö.'),
  page('Tom Reed', 'Tom Reed was an actor. He was the son of Eva Reed.'),
]);

describe('the lexical agent on a small world', () => {
  it.each([
    ['Which film was released earlier, Red Mill or Amber Falcon?', 'Amber Falcon', 'compare'],
    ['Which film has the director who was born later, Red Mill or Amber Falcon?', 'Amber Falcon', 'compare'],
    ['Who lived longer, Ada Stone or Karl Lund?', 'Karl Lund', 'compare'],
    ['Are Ada Stone and Karl Lund of the same nationality?', 'no', 'compare'],
    ['Where was the director of film Amber Falcon born?', 'Leeds, Yorkshire', 'follow'],
    ['What is the date of death of the director of film Red Mill?', '2 July 1985', 'follow'],
    ['Who is the director of Red Mill?', 'Karl Lund', 'follow'],
  ] as const)('%s', async (question, answer, plan) => {
    expect(await runLexicalAgent(question, world)).toMatchObject({ answer, plan });
  });

  it('speaks the protocol: every turn one action, the last one the answer, passages only between information tags', async () => {
    const episode = await runLexicalAgent('Which film has the director who was born later, Red Mill or Amber Falcon?', world);
    const actions = episode.turns.map((turn) => parseAction(turn.own));
    expect(actions.map((action) => action.kind)).toEqual([...Array(episode.searches).fill('search'), 'answer']);
    for (const turn of episode.turns.slice(0, -1))
      expect(turn.observation).toMatch(/^\n\n<information>Doc 1\(Title: [\s\S]*<\/information>\n\n$/);
    expect(extractAnswer(episode.text)).toBe(episode.answer);
    expect(episode.text).toBe(episode.turns.map((turn) => turn.own + (turn.observation ?? '')).join(''));
  });

  it('keeps within its searches, and answers where nothing is found', async () => {
    expect(
      (await runLexicalAgent('Which film has the director who was born later, Red Mill or Amber Falcon?', world, { maxSearches: 1 }))
        .searches,
    ).toBe(1);
    expect(await runLexicalAgent('zebra?', createSearcher([]))).toMatchObject({ answer: 'unknown', plan: 'rank' });
  });
});

describe('the lexical agent where searches fail', () => {
  const failing = (error: unknown, signal?: AbortSignal): Searcher => ({
    search: async (queries, topK, options) => {
      expect(options?.signal).toBe(signal);
      return queries[0] === 'Ada Stone' ? Promise.reject(error) : world.search(queries, topK);
    },
  });
  const question = { id: '1', dataset: 'mine', question: 'Who lived longer, Ada Stone or Karl Lund?', goldenAnswers: ['Karl Lund'] };

  it('goes on without their passages, and counts them', async () => {
    const [record] = await evaluateLexicalAgent([question], failing(new SearchError('down')));
    expect(record).toMatchObject({ failedSearches: 1, episode: { failedSearches: 1 } });
    expect(record.episode.turns[0].observation).toContain('The search failed.');
    expect(summarize([record]).failedSearches).toBe(1);
    const [sound] = await evaluateLexicalAgent([question], world);
    expect(sound.episode.failedSearches).toBe(0);
    expect(summarize([sound]).failedSearches).toBe(0);
  });

  it('stops at a mistake in the searcher, and at the signal', async () => {
    const mistake = new TypeError('no');
    await expect(evaluateLexicalAgent([question], failing(mistake))).rejects.toBe(mistake);
    const stop = new AbortController();
    const reason = new Error('Ctrl-C');
    const stopping: Searcher = {
      search: async () => {
        stop.abort(reason);
        throw new SearchError('gone');
      },
    };
    await expect(evaluateLexicalAgent([question], stopping, { signal: stop.signal })).rejects.toBe(reason);
    await expect(evaluateLexicalAgent([question], world, { signal: stop.signal })).rejects.toBe(reason);
  });
});

describe('reading', () => {
  it('finds dates of life, nationality and names', () => {
    const text = 'J. R. R. Ada of Stone (3 May 1901 – 7 June 1980) was an English painter. The Red Mill hired her.';
    expect([birthOf(text), deathOf(text), nationalityOf(text)]).toEqual(['3 May 1901', '7 June 1980', 'English']);
    expect(namesOf(text)).toEqual(expect.arrayContaining(['J. R. R. Ada of Stone', 'Red Mill']));
  });
  it('takes the page whose title is the name, whatever the brackets, and none that merely resembles it', () => {
    const pages = [page('Red Mill (film)', ''), page('Red Mill Press of London', '')];
    expect(pageOf('Red Mill', pages)?.title).toBe('Red Mill (film)');
    expect(pageOf('Blue Mill House', pages)).toBeUndefined();
  });
  it('asks for the type of answer that the question does', () => {
    expect(
      ['In what year was it?', 'When did it end?', 'How many are there?', 'Who wrote it?', 'Which city is it in?', 'What is it?'].map(
        answerTypeOf,
      ),
    ).toEqual(['year', 'date', 'number', 'person', 'place', 'name']);
  });
  it('never proposes what only repeats the question', () => {
    const candidates = rankCandidates('Who directed Amber Falcon?', [page('Amber Falcon', 'Amber Falcon was directed by Ada Stone.')]);
    expect(candidates.map((candidate) => candidate.text)).toEqual(['Ada Stone']);
  });
});

describe('the lexical agent on real held-out questions', () => {
  let records: LexicalRecord[];
  beforeAll(async () => {
    const questions = selectHalf(await loadBenchmark('2wikimultihopqa'), 'held-out').slice(0, 120);
    const searcher = createSearcher(await loadCorpus(datasetPath('corpora', '2wikimultihopqa.jsonl.gz')));
    records = await evaluateLexicalAgent(questions, searcher);
    expect(await evaluateLexicalAgent(questions.slice(0, 10), searcher)).toEqual(records.slice(0, 10)); // deterministic
  });

  it('is right clearly more often than never', () => {
    expect(summarize(records).questionMean.low).toBeGreaterThan(0.15);
  });

  it('searches between once and four times', () => {
    for (const { searches } of records) {
      expect(searches).toBeGreaterThanOrEqual(1);
      expect(searches).toBeLessThanOrEqual(4);
    }
  });

  it('stops when asked to', async () => {
    await expect(evaluateLexicalAgent([records[0].question], world, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    );
  });
});
