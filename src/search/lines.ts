/**
 * The lines of a text file, plain or gzip, one at a time and within limits: what a file unpacks to is not known before, and a gzip of ten megabytes can hold ten gigabytes.
 */
import { DamagedArchive, streamBytes } from '../platform/files.js';

/** Limits that a file from elsewhere is held to. */
export interface ReadLinesOptions {
  /** Bytes of the longest line. Default 8 MiB; a passage of 100 words takes one kilobyte, a HotpotQA question with its contexts ten. */
  readonly maxLineBytes?: number;
  /** Bytes of the whole file, unpacked. Default 32 GiB for what is streamed (Wikipedia of 2018 in 21 million passages: 14), 4 GiB for what is kept in memory. */
  readonly maxBytes?: number;
  /** How many times its packed size a gzip file may unpack to, from 8 MiB on. Default 100; text comes to 3 to 10, a bomb to 1,000. */
  readonly maxRatio?: number;
  /** Stops between two pieces of the file, by throwing the signal's reason. */
  readonly signal?: AbortSignal;
}

const MIB = 2 ** 20;
/** A gzip file's ratio is looked at once it has unpacked to this many bytes: short files of one repeated line are no danger. */
const RATIO_FROM = 8 * MIB;

/**
 * Lines without their line feeds, the last one too where no line feed ends it; as many at a time as a piece of the file holds, so that millions of blank lines
 * cost little. A byte order mark before the first is no part of it (RFC 8259, section 8.1).
 *
 * @throws RangeError where a limit is exceeded, with the number and the option that raises it
 * @throws Error on text that is not UTF-8 and on a damaged archive, with path and line
 *
 * @example
 * ```ts
 * import { datasetPath } from 'search-e1';
 * import { readLines } from 'search-e1/search';
 *
 * let count = 0;
 * for await (const lines of readLines(datasetPath('benchmarks', 'bamboogle.jsonl'))) count += lines.filter((line) => line !== '').length;
 * count > 50; // true
 * ```
 */
export async function* readLines(
  path: string,
  { maxLineBytes = 8 * MIB, maxBytes = 32 * 1024 * MIB, maxRatio = 100, signal }: ReadLinesOptions = {},
): AsyncGenerator<string[]> {
  for (const [name, value] of Object.entries({ maxLineBytes, maxBytes, maxRatio }))
    if (!(value > 0)) throw new RangeError(`${name}: expected a positive number, got ${value}`);
  signal?.throwIfAborted();
  const bytes = await streamBytes(path);
  const gzip = path.endsWith('.gz');
  const stop = () => bytes.stop(new Error('stopped')); // a file that gives nothing, such as a pipe, is waited for no longer
  signal?.addEventListener('abort', stop, { once: true });
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let number = 0;
  let total = 0;
  let length = 0;
  let pieces: Uint8Array[] = [];
  const take = (piece: Uint8Array) => {
    length += piece.length;
    if (length > maxLineBytes)
      throw new RangeError(`${path}:${number + 1}: a line of more than ${maxLineBytes} bytes; raise maxLineBytes if it is meant`);
    pieces.push(piece);
  };
  const line = (): string => {
    number++;
    if (length === 0) return '';
    const whole = pieces.length === 1 ? pieces[0] : joined(pieces, length);
    [pieces, length] = [[], 0];
    try {
      const text = decoder.decode(whole);
      return number === 1 ? text.replace(/^\ufeff/, '') : text;
    } catch {
      const packed = number === 1 && whole[0] === 0x1f && whole[1] === 0x8b;
      throw new Error(`${path}:${number}: not UTF-8; ${packed ? 'it looks like gzip: name it .gz' : 'save the file in that encoding'}`);
    }
  };
  try {
    for await (const chunk of bytes) {
      signal?.throwIfAborted();
      total += chunk.length;
      if (total > maxBytes)
        throw new RangeError(`${path}: more than ${maxBytes} bytes${gzip ? ' unpacked' : ''}; raise maxBytes if it is meant`);
      if (gzip && total > RATIO_FROM && total > maxRatio * bytes.packed)
        throw new RangeError(
          `${path}: ${bytes.packed} bytes have unpacked to ${total}, more than ${maxRatio} times as many, as a gzip bomb does; raise maxRatio if it is meant`,
        );
      const lines: string[] = [];
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        if (end > start) take(chunk.subarray(start, end));
        lines.push(line());
        start = end + 1;
      }
      if (start < chunk.length) take(chunk.subarray(start));
      yield lines;
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof DamagedArchive)
      throw new Error(`${path}: ${error.message}: no gzip file, or a cut or damaged one`, { cause: error });
    if (error instanceof Error && !error.message.includes(path)) throw new Error(`${path}: ${error.message}`, { cause: error }); // a folder
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
    bytes.stop(); // also when the reader stops early
  }
  signal?.throwIfAborted();
  yield [line()];
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
