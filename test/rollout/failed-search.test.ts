/** Searches that fail within an episode: told to the policy, counted, and no end of the others. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { evaluationRecord } from '../../src/benchmarks/evaluate-policy.js';
import { rolloutMetrics } from '../../src/grpo/grpo.js';
import { SEARCH_FAILED } from '../../src/rollout/protocol.js';
import { rollout } from '../../src/rollout/rollout.js';
import { searchR1Protocol } from '../../src/rollout/search-r1.js';
import { SearchError, type Searcher } from '../../src/search/passage.js';
import { retrievalServer } from '../../src/search/retrieval-server.js';
import { scriptedEngine, shelf, tokenizer } from './scripted.js';

const question = { id: 'q1', dataset: 'nq-mini', question: 'who is the author of Amber Falcon ?', goldenAnswers: ['Ada Stone'] };
const SEARCH = '<search> Amber Falcon author</search>';
const ANSWER = '<answer> Ada Stone</answer>';
const script = `${SEARCH}${SEARCH}${ANSWER}`;
const environment = (searcher: Searcher, protocol = {}) => ({ ...shelf('', protocol), searcher });
const text = (ids: readonly number[]) => tokenizer.decode(ids);

/** Fails at the searches of these numbers, from 0. */
function failing(numbers: readonly number[], error: unknown = new SearchError('http://x: answered 503 (5 attempts)')): Searcher {
  let n = 0;
  const found = shelf('a book . author Ada Stone .').searcher;
  return { search: async (queries, topK) => (numbers.includes(n++) ? Promise.reject(error) : found.search(queries, topK)) };
}

test('a failed search is an observation that says so, and the episode goes on', async () => {
  const [episode] = await rollout(scriptedEngine([script]), environment(failing([0])), [question]);
  expect(text(episode.tokens)).toBe(
    `${SEARCH}${SEARCH_FAILED}${SEARCH}<information> Amber Falcon : a book . author Ada Stone .</information>${ANSWER}`,
  );
  expect(episode).toMatchObject({ searches: 2, failedSearches: 1, reward: 1, finish: 'answer' });
  expect(episode.turns[0]).toMatchObject({ kind: 'search', passages: [], failed: 'http://x: answered 503 (5 attempts)' });
  expect(episode.turns[1]).not.toHaveProperty('failed');
  // What was put in is not the policy's own.
  expect(episode.tokens.filter((_, t) => !episode.own[t]).length).toBeGreaterThan(tokenizer.encode(SEARCH_FAILED).length);
});

test('the words are the protocol’s', async () => {
  const [episode] = await rollout(
    scriptedEngine([script]),
    environment(failing([0, 1]), { failedSearch: '<information> nothing</information>' }),
    [question],
  );
  expect(text(episode.tokens)).toBe(`${SEARCH}<information> nothing</information>`.repeat(2) + ANSWER);
  expect(searchR1Protocol().failedSearch).toMatch(/^\n\n<information>The search failed.*<\/information>\n\n$/);
});

test('one failed search leaves the other episodes of a step alone, and is counted in its metrics and records', async () => {
  const trajectories = await rollout(scriptedEngine([script, script, script]), environment(failing([1, 2, 5])), [
    question,
    question,
    question,
  ]);
  expect(trajectories.map(({ searches }) => searches)).toEqual([2, 2, 2]);
  expect(rolloutMetrics([{ question, trajectories }])).toMatchObject({ 'env/failed_searches': 3, 'env/number_of_valid_search': 2 });
  expect(trajectories.map((each) => evaluationRecord(each).failedSearches ?? 0).reduce((sum, n) => sum + n)).toBe(3);
});

test('what is no failure of a search ends the rollout: a mistake in the searcher, and the signal', async () => {
  const mistake = new TypeError('x is not a function');
  await expect(rollout(scriptedEngine([script]), environment(failing([0], mistake)), [question])).rejects.toBe(mistake);
  const stop = new AbortController();
  const reason = new Error('Ctrl-C');
  const stopping: Searcher = {
    search: async (_, __, options) => {
      expect(options?.signal).toBe(stop.signal);
      stop.abort(reason);
      throw new SearchError('gone');
    },
  };
  await expect(rollout(scriptedEngine([script]), environment(stopping), [question], { signal: stop.signal })).rejects.toBe(reason);
});

test('a server that is down costs an episode its passages, and the run nothing', async () => {
  const server = createServer((_, reply) => reply.writeHead(503).end('down'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/retrieve`;
  try {
    const [episode] = await rollout(scriptedEngine([script]), environment(retrievalServer(url, { backOff: 1, retries: 1 })), [question]);
    expect(episode).toMatchObject({ failedSearches: 2, reward: 1 });
    expect(episode.turns[0]).toMatchObject({ failed: `${url}: answered 503: down (2 attempts)` });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
