/**
 * Search-R1's retrieval server (`search_r1/search/retrieval_server.py`): POST /retrieve with queries, a list of documents for each.
 *
 * Scores are always asked for. Without them that server unpacks its retriever's one result into two: most batches fail, and one of exactly two queries is
 * answered in the wrong shape without a word. Other servers of the protocol leave the wrapper around a document out, or give no scores: read as well.
 *
 * A server is another machine's program: it may be slow, busy, gone for a moment, or not what it seems. Each request has a time and a size; what may pass is
 * tried again after a while, what will not is said at once. Connections are kept open between requests (Node's `fetch`).
 */
import { checkObject } from '../arguments.js';
import { shown } from '../number-setting.js';
import { type Random, random } from '../random.js';
import { splitContents } from './corpus.js';
import { checkSearch, type ScoredPassage, SearchError, type Searcher, type SearchOptions } from './passage.js';

/** Limits, retries and load of a server's client. */
export interface RetrievalServerOptions {
  /** Milliseconds that one attempt may take, to the last byte of the reply. Default 60,000: E5 on a CPU takes seconds a batch. */
  readonly timeout?: number;
  /** Attempts after the first, where that failed for a reason that may pass: no connection, no reply in time, 408, 429 or 5xx. Default 4. */
  readonly retries?: number;
  /**
   * Milliseconds before the second attempt, doubled for each further one, of which a random share between a half and all is waited: many clients of a server that comes
   * back do not come back at once. Default 500. A server's own `Retry-After` is waited for where it is longer.
   */
  readonly backOff?: number;
  /** Milliseconds that are waited at most between two attempts; a server that asks for more is not asked again. Default 30,000. */
  readonly maxWait?: number;
  /** Bytes of a reply, unpacked. Default 64 MiB; three passages of 100 words for each of 64 queries take 150 KiB. */
  readonly maxReplyBytes?: number;
  /** Requests at once; further ones wait their turn. Default 8. */
  readonly concurrency?: number;
  /** Queries a request; more are sent in several. Default 64. */
  readonly batchSize?: number;
  /** Sent with every request, such as `{ authorization: 'Bearer …' }`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends every search of this client, by throwing the signal's reason. One search alone: its own `signal`. */
  readonly signal?: AbortSignal;
  /** Asks; Node's `fetch` by default. */
  readonly post?: typeof fetch;
}

/**
 * The passages of a server.
 *
 * @param url of the endpoint, `http://127.0.0.1:8000/retrieve`
 * @throws TypeError on what is no address, RangeError on limits that are none
 * @throws SearchError from a search, with the address and the cause, where all attempts failed, the server refuses, sends elsewhere or answers in another shape
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http';
 * import type { AddressInfo } from 'node:net';
 * import { retrievalServer } from 'search-e1/search';
 *
 * const server = createServer((_, reply) => reply.end(JSON.stringify({ result: [[{ document: { id: '7', contents: '"Ada"\nA person.' }, score: 2 }]] }))).listen(0);
 * const { port } = server.address() as AddressInfo;
 * const [[passage]] = await retrievalServer(`http://localhost:${port}/retrieve`).search(['who is Ada ?'], 1);
 * passage; // { id: '7', title: 'Ada', text: 'A person.', score: 2 }
 * server.close();
 * ```
 */
export function retrievalServer(url: string, options: RetrievalServerOptions = {}): Searcher {
  checkObject('retrievalServer', 'options', options);
  const {
    timeout = 60_000,
    retries = 4,
    backOff = 500,
    maxWait = 30_000,
    maxReplyBytes = 64 * 2 ** 20,
    concurrency = 8,
    batchSize = 64,
    headers = {},
    signal: ofClient,
    post = fetch,
    ...unknown
  } = options;
  if (typeof post !== 'function') throw new TypeError(`retrievalServer: post: expected a function such as fetch, got ${shown(post)}`);
  checkSignal('retrievalServer', ofClient);
  try {
    new Headers(headers);
  } catch (error) {
    throw new TypeError(`retrievalServer: headers: expected texts by name: ${(error as Error).message}`);
  }
  if (Object.keys(unknown).length > 0)
    throw new TypeError(`retrievalServer: expected options it knows, got ${Object.keys(unknown).join(', ')}`);
  const address = checkAddress(url);
  for (const [name, value] of Object.entries({ timeout, maxReplyBytes, concurrency, batchSize })) checkCount(name, value, 1);
  for (const [name, value] of Object.entries({ retries, backOff, maxWait })) checkCount(name, value, 0);
  for (const [name, value] of Object.entries({ timeout, maxWait }))
    if (value > LONGEST_TIMER)
      throw new RangeError(`retrievalServer: ${name}: expected at most ${LONGEST_TIMER} milliseconds (24 days), got ${value}`);
  const jitter = random(Date.now(), 'retry', Math.random());
  const inTurn = limitTo(concurrency);

  async function ask(queries: readonly string[], topK: number, signal: AbortSignal): Promise<ScoredPassage[][]> {
    const body = JSON.stringify({ queries, topk: topK, return_scores: true });
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      try {
        return await readReply(await attemptOnce(body, signal), queries.length, topK, address);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Passing)) throw error;
        const wait = Math.max(error.retryAfter ?? 0, backOffOf(attempt, backOff, maxWait, jitter));
        const tried = attempt === 1 ? 'one attempt' : `${attempt} attempts`;
        if (attempt > retries) throw new SearchError(`${address}: ${error.message} (${tried})`, { cause: error.cause });
        if (wait > maxWait)
          throw new SearchError(
            `${address}: ${error.message}, and asks to be left alone for ${Math.ceil(wait / 1000)} s, longer than maxWait (${maxWait} ms)`,
          );
        await sleep(wait, signal);
      }
    }
  }

  /** The text of one reply. @throws Passing where another attempt may succeed. */
  async function attemptOnce(body: string, signal: AbortSignal): Promise<string> {
    const attempt = new AbortController();
    const stop = () => attempt.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    const late = setTimeout(() => attempt.abort(new Error(`no whole reply within ${timeout} ms`)), timeout);
    try {
      const reply = await post(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body,
        redirect: 'manual',
        signal: attempt.signal,
      });
      if (reply.status === 0 || (reply.status >= 300 && reply.status < 400)) throw redirected(reply, url, address);
      const text = await textOf(reply, maxReplyBytes, address);
      if (reply.ok) return text;
      const said = `answered ${reply.status}: ${text.slice(0, 300)}`;
      if (reply.status === 408 || reply.status === 429 || reply.status >= 500) throw new Passing(said, { retryAfter: retryAfterOf(reply) });
      throw new SearchError(`${address} ${said}`);
    } catch (error) {
      if (error instanceof SearchError || error instanceof Passing) throw error;
      const cause = attempt.signal.aborted ? attempt.signal.reason : error;
      throw new Passing(reasonOf(cause), { cause });
    } finally {
      clearTimeout(late);
      signal.removeEventListener('abort', stop);
      attempt.abort(); // a reply that was not read to its end frees its connection
    }
  }

  return {
    async search(queries, topK, { signal }: SearchOptions = {}) {
      checkSearch(queries, topK);
      checkSignal('search', signal);
      const batches = Array.from({ length: Math.ceil(queries.length / batchSize) }, (_, i) =>
        queries.slice(i * batchSize, (i + 1) * batchSize),
      );
      // The first batch that fails ends the others.
      const all = new AbortController();
      const ended = [signal, ofClient].filter((each): each is AbortSignal => each !== undefined);
      const stop = (event: Event) => all.abort((event.target as AbortSignal).reason);
      for (const each of ended) {
        each.throwIfAborted();
        each.addEventListener('abort', stop, { once: true });
      }
      try {
        return (await Promise.all(batches.map((batch) => inTurn(() => ask(batch, topK, all.signal), all.signal)))).flat();
      } catch (error) {
        all.abort(error);
        throw error;
      } finally {
        for (const each of ended) each.removeEventListener('abort', stop);
      }
    },
  };
}

/** Node waits for one millisecond where it is told more. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A failure that may pass. */
class Passing extends Error {
  readonly retryAfter?: number;
  constructor(message: string, { cause, retryAfter }: { readonly cause?: unknown; readonly retryAfter?: number }) {
    super(message, { cause });
    this.retryAfter = retryAfter;
  }
}

/** The address as messages name it: without a password or key that a query string may hold. */
function checkAddress(url: string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError(`retrievalServer: expected an address such as http://127.0.0.1:8000/retrieve, got ${JSON.stringify(url)}`);
  }
  if (!/^https?:$/.test(parsed.protocol)) throw new TypeError(`retrievalServer: expected an http or https address, got ${parsed.protocol}`);
  if (parsed.username || parsed.password)
    throw new TypeError(`retrievalServer: ${parsed.host}: give user and password as an authorization header, not in the address`);
  return `${parsed.origin}${parsed.pathname}`;
}

function checkSignal(where: string, signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new TypeError(`${where}: signal: expected an AbortSignal, got ${shown(signal)}`);
}

function checkCount(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(`retrievalServer: ${name}: expected a whole number from ${least} on, got ${value}`);
}

/** Runs at most `limit` works at once, the others in the order they came. */
function limitTo(limit: number): <T>(work: () => Promise<T>, signal: AbortSignal) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work, signal) => {
    signal.throwIfAborted();
    if (running < limit) running++;
    else
      await new Promise<void>((resolve, reject) => {
        const enter = () => {
          signal.removeEventListener('abort', leave);
          resolve();
        };
        const leave = () => {
          waiting.splice(waiting.indexOf(enter), 1);
          reject(signal.reason);
        };
        waiting.push(enter); // whoever ends hands its place on
        signal.addEventListener('abort', leave, { once: true });
      });
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}

/** Milliseconds before attempt number `attempt` + 1, at most `maxWait`. */
const backOffOf = (attempt: number, backOff: number, maxWait: number, jitter: Random): number =>
  Math.min(maxWait, backOff * 2 ** (attempt - 1)) * (0.5 + jitter.uniform() / 2);

/** Milliseconds that a server asks to wait: seconds, or a date (RFC 9110, section 10.2.3). */
function retryAfterOf(reply: Response): number | undefined {
  const asked = reply.headers.get('retry-after')?.trim();
  if (!asked) return undefined;
  const wait = /^\d+$/.test(asked) ? 1000 * Number(asked) : Date.parse(asked) - Date.now();
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', stop, { once: true });
  });
}

/** Queries and perhaps a key would go to a server that nobody named. */
function redirected(reply: Response, url: string, address: string): SearchError {
  const location = reply.headers.get('location');
  let to = 'nowhere';
  if (location)
    try {
      const target = new URL(location, url);
      to = `${target.origin}${target.pathname}`;
    } catch {
      to = location.slice(0, 300);
    }
  return new SearchError(
    `${address} answered ${reply.status} and sends to ${to}: redirects are not followed; give that address if it is the right one`,
  );
}

/** The reply's text, read no further than its limit. */
async function textOf(reply: Response, maxBytes: number, address: string): Promise<string> {
  if (!reply.body) return '';
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const piece of reply.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += piece.length;
    if (bytes > maxBytes)
      throw new SearchError(
        `${address}: a reply of more than ${maxBytes} bytes; raise maxReplyBytes, or ask for fewer passages or smaller batches`,
      );
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

/** Why there was no reply. `fetch` says "fetch failed" and hides the reason beneath, for several addresses of one host in a list. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return `no reply: ${String(error)}`;
  const { cause } = error;
  const beneath = cause instanceof AggregateError ? cause.errors : cause === undefined ? [] : [cause];
  const reasons = beneath.map((each) => (each instanceof Error ? each.message || (each as NodeJS.ErrnoException).code : String(each)));
  return reasons.some(Boolean) ? `no reply: ${[...new Set(reasons)].join('; ')}` : error.message;
}

/** The documents of a reply as passages. */
async function readReply(text: string, queries: number, topK: number, address: string): Promise<ScoredPassage[][]> {
  const refuse = (problem: string): never => {
    throw new SearchError(
      `${address} is no retrieval server: expected {"result": [[{"document": {"contents": ...}, "score": ...}]]}, got ${problem} in ${text.slice(0, 300)}`,
    );
  };
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch (error) {
    return refuse(`no JSON (${(error as Error).message})`);
  }
  if (!isObject(reply) || !Array.isArray(reply.result)) return refuse('no list "result"');
  if (reply.result.length !== queries)
    throw new SearchError(`${address} gave ${reply.result.length} lists of documents for ${queries} queries`);
  const lists = reply.result.map((found: unknown, i) => {
    if (!Array.isArray(found)) return refuse(`no list result[${i}]`);
    return found.slice(0, topK).map(async (item: unknown, j): Promise<ScoredPassage> => {
      const where = `result[${i}][${j}]`;
      if (!isObject(item)) return refuse(`no object ${where}`);
      const wrapped = 'document' in item;
      const document = wrapped ? item.document : item;
      if (!isObject(document)) return refuse(`no object ${where}.document`);
      const { id, contents } = document;
      const { score } = item;
      if (typeof contents !== 'string') return refuse(`no text ${where}${wrapped ? '.document' : ''}.contents`);
      if (!(id === undefined || id === null || typeof id === 'string' || typeof id === 'number'))
        return refuse(`neither text nor number ${where}${wrapped ? '.document' : ''}.id`);
      if (!(score === undefined || score === null || Number.isFinite(score))) return refuse(`no finite number ${where}.score`);
      return { id: `${id ?? (await idOf(contents))}`, ...splitContents(contents), score: (score as number | null | undefined) ?? -j };
    });
  });
  return Promise.all(lists.map((list) => Promise.all(list)));
}

/** A document without an id is known by what it says: the same passage has the same id in every list. */
async function idOf(contents: string): Promise<string> {
  if (!globalThis.crypto.subtle) return contents; // on a page of plain http:
  const digest = await globalThis.crypto.subtle.digest('SHA-256', new TextEncoder().encode(contents));
  return [...new Uint8Array(digest, 0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
