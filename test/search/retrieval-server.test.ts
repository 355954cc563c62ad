/** Search-R1's /retrieve: what is asked, and every shape of answer that servers of the protocol give (facts of `retrieval_server.py` and its ports). */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { retrievalServer } from '../../src/search/retrieval-server.js';

let server: Server | undefined;
afterEach(() => void server?.close());

/** A server that gives one answer and keeps what it was asked. */
async function serving(answer: unknown, status = 200): Promise<{ url: string; asked: unknown[] }> {
  const asked: unknown[] = [];
  const started = createServer((request, reply) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      asked.push([request.method, request.url, JSON.parse(body)]);
      reply.writeHead(status).end(typeof answer === 'string' ? answer : JSON.stringify(answer));
    });
  });
  server = started;
  await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(started.address() as AddressInfo).port}/retrieve`, asked };
}

const contents = (n: number) => `"Title ${n}"\ntext ${n}\nmore`;

test('scores are asked for, always, and documents come as passages', async () => {
  const { url, asked } = await serving({ result: [[{ document: { id: '7', contents: contents(7) }, score: 1.5 }], []] });
  expect(await retrievalServer(url).search(['a', 'b'], 3)).toEqual([[{ id: '7', title: 'Title 7', text: 'text 7\nmore', score: 1.5 }], []]);
  expect(asked).toEqual([['POST', '/retrieve', { queries: ['a', 'b'], topk: 3, return_scores: true }]]);
});

test('bare documents, numbers for ids and more documents than asked for are read too, best first', async () => {
  const { url } = await serving({ result: [[1, 2, 3].map((id) => ({ id, contents: contents(id) }))] });
  const [found] = await retrievalServer(url).search(['a'], 2);
  expect(found.map(({ id, title }) => [id, title])).toEqual([
    ['1', 'Title 1'],
    ['2', 'Title 2'],
  ]);
  expect(found[0].score).toBeGreaterThan(found[1].score);
});

test('what that server answers to two queries without scores, one list of documents and one of numbers, is refused', async () => {
  const documents = [[{ contents: contents(1) }], [{ contents: contents(2) }]];
  const wrong = documents[0].map((each, i) => [{ document: each, score: documents[1][i] }]);
  const { url } = await serving({ result: wrong });
  await expect(retrievalServer(url).search(['a', 'b'], 3)).rejects.toThrow(/is no retrieval server|1 lists of documents for 2 queries/);
});

test.each([
  [{ result: [[]] }, 200, /gave 1 lists of documents for 2 queries/],
  [{ detail: 'no index' }, 500, /answered 500: .*no index/],
  ['<html>', 200, /is no retrieval server.*<html>/],
  [{ result: [[{ document: {} }], []] }, 200, /is no retrieval server/],
])('%j with status %i is refused', async (answer, status, message) => {
  const { url } = await serving(answer, status);
  await expect(retrievalServer(url).search(['a', 'b'], 3)).rejects.toThrow(message);
});

test('nothing asked is nothing sent', async () => {
  expect(await retrievalServer('http://127.0.0.1:1/retrieve').search([], 3)).toEqual([]);
});
