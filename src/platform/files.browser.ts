/**
 * Reading named bytes in a browser tab: every name is an address, absolute or of the page, and is fetched.
 *
 * A file is fetched once, whole: few static hosts answer for ranges of what they send compressed. It is read in parts from a Blob, which the browser may keep on disk.
 */
import { noDisk } from './no-disk.js';

export const basename = (path: string): string => path.split(/[?#]/)[0].split('/').at(-1) as string;

/** Joins parts of an address; what follows a `?` stays at the end. */
export function join(...parts: readonly string[]): string {
  const [first, ...rest] = parts;
  const [address, query = ''] = first.split(/(?=\?)/);
  return [address.replace(/\/+$/, ''), ...rest.map((part) => part.replace(/^\/+|\/+$/g, ''))].join('/') + query;
}

/** Whether a server has this file. One that sends a page instead, as those of single-page applications do for what they have not, has it not. */
export async function isThere(path: string): Promise<boolean> {
  const asked = await ask(path, { method: 'HEAD' });
  const reply = asked.status === 405 || asked.status === 501 ? await ask(path) : asked;
  if (reply !== asked) await reply.body?.cancel();
  if (reply.status === 404 || reply.status === 410) return false;
  if (!reply.ok) throw new Error(`${path}: the server answers ${reply.status} ${reply.statusText}`);
  return !isPage(reply);
}

const isPage = (reply: Response): boolean => /^text\/html\b/i.test(reply.headers.get('content-type') ?? '');

const ask = (path: string, init?: RequestInit): Promise<Response> =>
  fetch(path, init).catch((error: Error) => {
    throw new Error(`${path} cannot be fetched: ${error.message}. Is the address right, and does its server allow this page (CORS)?`);
  });

async function fetched(path: string, expected: string): Promise<Response> {
  const reply = await ask(path);
  if (!reply.ok) throw new Error(`${path} cannot be fetched: the server answers ${reply.status} ${reply.statusText}, expected ${expected}`);
  if (isPage(reply)) throw new Error(`${path}: the server sends a web page, expected ${expected}: is the address right?`);
  return reply;
}

export const listFolder = async (path: string): Promise<string[]> => noDisk(`listing ${path}`);

export async function readBytes(path: string, expected: string, largest: number): Promise<Uint8Array> {
  const reply = await fetched(path, expected);
  return collect(reply.body as AsyncBytes, largest, (bytes) => {
    return new RangeError(`${path} has more than ${bytes} bytes, expected ${expected} of at most ${largest}`);
  });
}

type AsyncBytes = ReadableStream<Uint8Array>;

async function collect(body: AsyncBytes, largest: number, tooLarge: (bytes: number) => Error): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of chunksOf(body)) {
    length += piece.length;
    if (length > largest) throw tooLarge(largest);
    pieces.push(piece);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Not every browser iterates over a stream. */
async function* chunksOf(body: AsyncBytes): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

const unpacked = (body: AsyncBytes): AsyncBytes => body.pipeThrough(new DecompressionStream('gzip') as unknown as GzipStream);
type GzipStream = { readonly readable: AsyncBytes; readonly writable: WritableStream<Uint8Array> };

/** A server that knows the ending may have said `content-encoding: gzip`: then the browser has unpacked it already. */
const isPacked = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

export async function unpack(bytes: Uint8Array, largest: number): Promise<Uint8Array> {
  if (!isPacked(bytes)) return bytes;
  const body = new Blob([bytes]).stream() as AsyncBytes;
  return collect(unpacked(body), largest, (most) => new RangeError(`more than ${most} bytes`));
}

export interface OpenFile {
  readonly size: number;
  read(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

export async function openFile(path: string, expected: string): Promise<OpenFile> {
  const blob = await (await fetched(path, expected)).blob();
  return {
    size: blob.size,
    async read(into, position) {
      const part = new Uint8Array(await blob.slice(position, position + into.length).arrayBuffer());
      into.set(part);
      return part.length;
    },
    close: async () => undefined,
  };
}

export interface ByteStream extends AsyncIterable<Uint8Array> {
  readonly packed: number;
  stop(reason?: Error): void;
}

export class DamagedArchive extends Error {}

export async function streamBytes(path: string): Promise<ByteStream> {
  const stopped = new AbortController();
  const reply = await fetched(path, 'lines of text');
  const chunks = chunksOf(reply.body as AsyncBytes);
  const first = await chunks.next();
  let packed = 0;
  const counted = new ReadableStream<Uint8Array>({
    start(controller) {
      stopped.signal.addEventListener('abort', () => controller.error(stopped.signal.reason));
      if (!first.done) {
        packed += first.value.length;
        controller.enqueue(first.value);
      } else controller.close();
    },
    async pull(controller) {
      const next = await chunks.next();
      if (next.done) return controller.close();
      packed += next.value.length;
      controller.enqueue(next.value);
    },
    cancel: async () => void (await chunks.return(undefined)),
  });
  const gzip = path.endsWith('.gz') && !first.done && isPacked(first.value);
  return {
    get packed() {
      return packed;
    },
    stop(reason = new Error('stopped')) {
      stopped.abort(reason);
      void chunks.return(undefined);
    },
    async *[Symbol.asyncIterator]() {
      try {
        yield* chunksOf(gzip ? unpacked(counted) : counted);
      } catch (error) {
        if (gzip && error instanceof TypeError) throw new DamagedArchive(error.message, { cause: error });
        throw error;
      }
    },
  };
}
