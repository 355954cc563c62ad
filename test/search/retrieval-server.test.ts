/**
 * Search-R1's /retrieve: what is asked, every shape of answer that servers of the protocol give (facts of `retrieval_server.py` and its ports), and what becomes of servers
 * that are slow, busy, gone, elsewhere or something else. All of them run here, on the loopback address.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { SearchError } from '../../src/search/passage.js';
import { type RetrievalServerOptions, retrievalServer } from '../../src/search/retrieval-server.js';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: { queries: string[]; topk: number; return_scores: boolean };
  readonly socket: Socket;
}

/** A server that keeps what it was asked; `answer` gets the number of the request, from 0. */
async function listen(answer: (reply: ServerResponse, n: number, asked: Asked) => void) {
  const asked: Asked[] = [];
  const server = createServer(async (request, reply) => {
    let body = '';
    for await (const piece of request) body += piece;
    const { method, url: path, headers, socket } = request;
    const received = { method, path, headers, body: JSON.parse(body), socket };
    asked.push(received);
    answer(reply, asked.length - 1, received);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/retrieve`, asked, server };
}

const serving = (answer: unknown, status = 200) =>
  listen((reply) => reply.writeHead(status).end(typeof answer === 'string' ? answer : JSON.stringify(answer)));

/** One passage for each query that was asked, named after it. */
const answering = (reply: ServerResponse, { body }: Asked) =>
  reply.end(JSON.stringify({ result: body.queries.map((query) => [{ document: { id: query, contents: contents(1) }, score: 1 }]) }));

const contents = (n: number) => `"Title ${n}"\ntext ${n}\nmore`;
const quick: RetrievalServerOptions = { backOff: 1, retries: 2, timeout: 2000 };
const failure = (search: Promise<unknown>) =>
  search.then(
    () => expect.unreachable(),
    (error: Error) => error,
  );

describe('a reply', () => {
  test('is asked for with scores, always, and its documents come as passages', async () => {
    const { url, asked } = await serving({ result: [[{ document: { id: '7', contents: contents(7) }, score: 1.5 }], []] });
    expect(await retrievalServer(url).search(['a', 'b'], 3)).toEqual([
      [{ id: '7', title: 'Title 7', text: 'text 7\nmore', score: 1.5 }],
      [],
    ]);
    expect(asked.map(({ method, path, body }) => [method, path, body])).toEqual([
      ['POST', '/retrieve', { queries: ['a', 'b'], topk: 3, return_scores: true }],
    ]);
  });

  test('of bare documents, numbers for ids and more documents than asked for is read too, best first', async () => {
    const { url } = await serving({ result: [[1, 2, 3].map((id) => ({ id, contents: contents(id) }))] });
    const [found] = await retrievalServer(url).search(['a'], 2);
    expect(found.map(({ id, title }) => [id, title])).toEqual([
      ['1', 'Title 1'],
      ['2', 'Title 2'],
    ]);
    expect(found[0].score).toBeGreaterThan(found[1].score);
  });

  test('without ids names a passage by what it says, the same in every list', async () => {
    const { url } = await serving({
      result: [[{ contents: contents(1) }, { contents: contents(2) }], [{ document: { contents: contents(2) } }]],
    });
    const [[one, two], [again]] = await retrievalServer(url).search(['a', 'b'], 2);
    expect(again.id).toBe(two.id);
    expect(one.id).not.toBe(two.id);
  });

  test('to two queries without scores, one list of documents and one of numbers, is refused', async () => {
    const documents = [[{ contents: contents(1) }], [{ contents: contents(2) }]];
    const wrong = documents[0].map((each, i) => [{ document: each, score: documents[1][i] }]);
    const { url } = await serving({ result: wrong });
    await expect(retrievalServer(url).search(['a', 'b'], 3)).rejects.toThrow(/1 lists of documents for 2 queries/);
  });

  test.each([
    [{ result: [[]] }, /gave 1 lists of documents for 2 queries/],
    [{ result: [[], [], []] }, /gave 3 lists of documents for 2 queries/],
    ['<html>', /is no retrieval server.*no JSON.*<html>/],
    ['', /is no retrieval server.*no JSON/],
    ['[]', /no list "result" in \[\]/],
    ['null', /no list "result"/],
    [{ results: [] }, /no list "result"/],
    [{ result: { a: [] } }, /no list "result"/],
    [{ result: [[], 7] }, /no list result\[1\]/],
    [{ result: [[], ['text']] }, /no object result\[1\]\[0\]/],
    [{ result: [[{ document: null }], []] }, /no object result\[0\]\[0\]\.document/],
    [{ result: [[{ document: {} }], []] }, /is no retrieval server.*no text result\[0\]\[0\]\.document\.contents/],
    [{ result: [[{ contents: 'x' }, { contents: 7 }], []] }, /no text result\[0\]\[1\]\.contents/],
    [{ result: [[{ id: {}, contents: 'x' }], []] }, /neither text nor number result\[0\]\[0\]\.id/],
    [{ result: [[{ document: { contents: 'x' }, score: 'high' }], []] }, /no finite number result\[0\]\[0\]\.score/],
  ])('of another shape is refused at once, and the place named: %j', async (answer, message) => {
    const { url, asked } = await serving(answer);
    const error = await failure(retrievalServer(url, quick).search(['a', 'b'], 3));
    expect(error).toBeInstanceOf(SearchError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(url);
    expect(asked).toHaveLength(1);
  });

  test('larger than its limit is read no further, packed or not', async () => {
    const { url, server } = await listen((reply) => {
      const piece = Buffer.alloc(65_536, 'x');
      const more = () => {
        while (reply.write(piece));
      };
      reply.on('drain', more);
      more();
    });
    const limit = { ...quick, maxReplyBytes: 1_000_000 };
    expect((await failure(retrievalServer(url, limit).search(['a'], 1))).message).toMatch(
      /a reply of more than 1000000 bytes; raise maxReplyBytes/,
    );
    await expect.poll(() => new Promise((resolve) => server.getConnections((_, open) => resolve(open))), { timeout: 4000 }).toBe(0);
    const bomb = await listen((reply) =>
      reply.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(50 * 2 ** 20, 'x'))),
    );
    expect((await failure(retrievalServer(bomb.url, limit).search(['a'], 1))).message).toMatch(/more than 1000000 bytes/);
  });
});

describe('what may pass', () => {
  test.each([408, 429, 500, 502, 503, 504])('such as status %i is tried again', async (status) => {
    const { url, asked } = await listen((reply, n, request) => (n < 2 ? reply.writeHead(status).end('busy') : answering(reply, request)));
    expect((await retrievalServer(url, quick).search(['a'], 1))[0][0].id).toBe('a');
    expect(asked).toHaveLength(3);
    expect(new Set(asked.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  });

  test('such as a connection that breaks before or within a reply is tried again', async () => {
    const { url, asked } = await listen((reply, n, request) => {
      if (n === 0) request.socket.destroy();
      else if (n === 1) reply.writeHead(200, { 'content-length': 1000 }).write('{"result', () => request.socket.destroy());
      else answering(reply, request);
    });
    expect((await retrievalServer(url, quick).search(['a'], 1))[0][0].id).toBe('a');
    expect(asked).toHaveLength(3);
  });

  test('such as a reply that is late, in its head or in its body, is tried again', async () => {
    const { url, asked } = await listen((reply, n, request) => {
      if (n === 1) reply.writeHead(200).write('{"result"');
      else if (n > 1) answering(reply, request);
    });
    expect((await retrievalServer(url, { ...quick, timeout: 150 }).search(['a'], 1))[0][0].id).toBe('a');
    expect(asked).toHaveLength(3);
  });

  test('is given up after the last attempt, with address, cause and number of attempts', async () => {
    const { url, asked } = await serving('no index', 503);
    const error = await failure(retrievalServer(url, quick).search(['a'], 1));
    expect(error).toBeInstanceOf(SearchError);
    expect(error.message).toBe(`${url}: answered 503: no index (3 attempts)`);
    expect(asked).toHaveLength(3);
    const silent = await listen(() => undefined);
    expect((await failure(retrievalServer(silent.url, { timeout: 50, retries: 0 }).search(['a'], 1))).message).toBe(
      `${silent.url}: no whole reply within 50 ms (one attempt)`,
    );
    const gone = await listen(() => undefined);
    gone.server.close();
    const refused = await failure(retrievalServer(gone.url, quick).search(['a'], 1));
    expect(refused.message).toMatch(
      /^http:\/\/127\.0\.0\.1:\d+\/retrieve: no reply: connect ECONNREFUSED 127\.0\.0\.1:\d+ \(3 attempts\)$/,
    );
    expect(refused.message).not.toContain('fetch failed');
    const nowhere = await failure(retrievalServer('http://no-such-host.invalid/retrieve', { ...quick, retries: 0 }).search(['a'], 1));
    expect(nowhere.message).toMatch(/no-such-host\.invalid\/retrieve: no reply: getaddrinfo/);
  });

  test('is tried again after longer and longer waits, and not before the server asks for', async () => {
    const times: number[] = [];
    const { url } = await listen((reply, n, request) => {
      times.push(performance.now());
      if (n === 0) reply.writeHead(429, { 'retry-after': '1' }).end();
      else if (n < 3) reply.writeHead(503).end();
      else answering(reply, request);
    });
    await retrievalServer(url, { backOff: 40, retries: 3 }).search(['a'], 1);
    const [asked, second, third] = times.slice(1).map((time, i) => time - times[i]);
    expect(asked).toBeGreaterThan(950);
    expect(second).toBeGreaterThan(35); // half to all of 80 ms
    expect(third).toBeGreaterThan(75); // half to all of 160 ms
  });

  test('is not waited for longer than maxWait, be it asked for in seconds or by a date', async () => {
    for (const after of ['120', new Date(Date.now() + 120_000).toUTCString()]) {
      const { url, asked } = await listen((reply) => reply.writeHead(503, { 'retry-after': after }).end('later'));
      const error = await failure(retrievalServer(url, { ...quick, maxWait: 1000 }).search(['a'], 1));
      expect(error.message).toMatch(/answered 503: later, and asks to be left alone for 1[12]\d s, longer than maxWait \(1000 ms\)/);
      expect(asked).toHaveLength(1);
    }
  });
});

describe('what will not pass', () => {
  test.each([400, 401, 403, 404, 413, 422])('such as status %i is said at once', async (status) => {
    const { url, asked } = await serving({ detail: 'not so' }, status);
    const error = await failure(retrievalServer(url, quick).search(['a'], 1));
    expect(error).toBeInstanceOf(SearchError);
    expect(error.message).toBe(`${url} answered ${status}: {"detail":"not so"}`);
    expect(asked).toHaveLength(1);
  });

  test('such as being sent elsewhere: nobody named that server', async () => {
    const other = await listen((reply, _, request) => answering(reply, request));
    for (const status of [301, 302, 307, 308]) {
      const { url, asked } = await listen((reply) => reply.writeHead(status, { location: `${other.url}?key=secret` }).end());
      const error = await failure(retrievalServer(url, quick).search(['a'], 1));
      expect(error).toBeInstanceOf(SearchError);
      expect(error.message).toBe(
        `${url} answered ${status} and sends to ${other.url}: redirects are not followed; give that address if it is the right one`,
      );
      expect(asked).toHaveLength(1);
    }
    expect(other.asked).toEqual([]);
  });

  test('such as an address that is none', () => {
    expect(() => retrievalServer('localhost/retrieve')).toThrow(/expected an address such as http:.*got "localhost\/retrieve"/);
    expect(() => retrievalServer('file:///etc/passwd')).toThrow(/http or https address, got file:/);
    expect(() => retrievalServer('http://me:word@host/retrieve')).toThrow(/host: give user and password as an authorization header/);
    const error = () => retrievalServer('http://me:word@host/retrieve');
    expect(error).not.toThrow(/word@/);
  });

  test('and limits that are none', () => {
    for (const name of ['timeout', 'maxReplyBytes', 'concurrency', 'batchSize'])
      for (const value of [0, -1, 1.5, Number.NaN])
        expect(() => retrievalServer('http://x', { [name]: value })).toThrow(`${name}: expected a whole number from 1`);
    for (const name of ['retries', 'backOff', 'maxWait'])
      for (const value of [-1, 0.5, Number.POSITIVE_INFINITY])
        expect(() => retrievalServer('http://x', { [name]: value })).toThrow(`${name}: expected a whole number from 0`);
  });

  test('and times that no timer waits for, headers, a way to ask and signals that are none', async () => {
    for (const name of ['timeout', 'maxWait'])
      expect(() => retrievalServer('http://x', { [name]: 2 ** 31 })).toThrow(`${name}: expected at most 2147483647 milliseconds`);
    expect(() => retrievalServer('http://x', { headers: { 'a b': '1' } })).toThrow(/headers: expected texts by name/);
    expect(() => retrievalServer('http://x', { post: 1 as never })).toThrow(/post: expected a function such as fetch, got 1/);
    expect(() => retrievalServer('http://x', { signal: 1 as never })).toThrow(/signal: expected an AbortSignal, got 1/);
    await expect(retrievalServer('http://x').search(['a'], 1, { signal: {} as never })).rejects.toThrow(/signal: expected an AbortSignal/);
    expect(() => retrievalServer('http://x', null as never)).toThrow(/options: expected an object, got null/);
  });

  test('and options that it does not know', () => {
    expect(() => retrievalServer('http://x', { timeoutMs: 1 } as object)).toThrow(/options it knows, got timeoutMs/);
    expect(() => retrievalServer('http://x', fetch as object)).toThrow(/got a function/);
  });

  test('and searches that are none', async () => {
    const searcher = retrievalServer('http://127.0.0.1:1/retrieve');
    expect(await searcher.search([], 3)).toEqual([]);
    await expect(searcher.search(['a'], 0)).rejects.toThrow(/positive integer, got 0/);
    await expect(searcher.search('a' as unknown as string[], 1)).rejects.toThrow(/list of texts/);
  });
});

describe('a signal', () => {
  const reason = new Error('Ctrl-C');

  test('ends a search that waits for a reply, for its next attempt or for its turn, and is no failure of the search', async () => {
    const silent = await listen(() => undefined);
    const busy = await serving('', 503);
    for (const [url, options] of [
      [silent.url, {}],
      [busy.url, { backOff: 20_000 }],
    ] as const) {
      for (const where of ['search', 'client']) {
        const stop = new AbortController();
        const searcher = retrievalServer(url, { ...options, concurrency: 1, ...(where === 'client' ? { signal: stop.signal } : {}) });
        const given = where === 'search' ? { signal: stop.signal } : {};
        const searches = [searcher.search(['a'], 1, given), searcher.search(['b'], 1, given)].map(failure);
        setTimeout(() => stop.abort(reason), 50);
        expect(await Promise.all(searches)).toEqual([reason, reason]);
        expect(await failure(searcher.search(['c'], 1, given))).toBe(reason);
      }
    }
    await expect.poll(() => new Promise((resolve) => silent.server.getConnections((_, open) => resolve(open))), { timeout: 4000 }).toBe(0);
  });

  test('ends its own search alone, even one that waits for its turn', async () => {
    const { url } = await listen((reply, _, request) => void setTimeout(() => answering(reply, request), 100));
    const searcher = retrievalServer(url, { ...quick, concurrency: 1 });
    const stop = new AbortController();
    const first = searcher.search(['a'], 1);
    const second = failure(searcher.search(['b'], 1, { signal: stop.signal }));
    const third = searcher.search(['c'], 1);
    stop.abort(reason);
    expect(await second).toBe(reason);
    expect([(await first)[0][0].id, (await third)[0][0].id]).toEqual(['a', 'c']);
  });
});

describe('many searches', () => {
  test('run a few at a time, over connections that are kept', async () => {
    let [now, most] = [0, 0];
    const { url, asked } = await listen((reply, _, request) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now--;
        answering(reply, request);
      }, 5);
    });
    const searcher = retrievalServer(url, { ...quick, concurrency: 3 });
    const queries = Array.from({ length: 40 }, (_, i) => `q${i}`);
    const found = await Promise.all(queries.map((query) => searcher.search([query], 1)));
    expect(found.map(([[passage]]) => passage.id)).toEqual(queries);
    expect(most).toBe(3);
    expect(new Set(asked.map(({ socket }) => socket)).size).toBeLessThanOrEqual(6);
  });

  test('of one call are sent in batches and come back in order; one that fails ends the others', async () => {
    const { url, asked } = await listen((reply, _, request) =>
      request.body.queries.includes('bad') ? reply.writeHead(400).end('bad query') : answering(reply, request),
    );
    const searcher = retrievalServer(url, { ...quick, batchSize: 10 });
    const queries = Array.from({ length: 25 }, (_, i) => `q${i}`);
    expect((await searcher.search(queries, 1)).map(([passage]) => passage.id)).toEqual(queries);
    expect(asked.map(({ body }) => body.queries.length)).toEqual([10, 10, 5]);
    await expect(searcher.search([...queries, 'bad'], 1)).rejects.toThrow(/answered 400: bad query/);
  });

  test('carry the headers that were given', async () => {
    const { url, asked } = await listen((reply, _, request) => answering(reply, request));
    await retrievalServer(url, { headers: { authorization: 'Bearer x' } }).search(['a'], 1);
    expect(asked[0].headers).toMatchObject({ authorization: 'Bearer x', 'content-type': 'application/json' });
  });
});
