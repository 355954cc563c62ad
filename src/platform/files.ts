/**
 * Reading named bytes: the one way in which the method's modules reach a disk. In a browser `files.browser.ts` takes this file's place, and a name is an address.
 *
 * Files come from elsewhere. Opening a pipe would wait for whoever writes to it, and a link that leads nowhere is half a download (Hugging Face's cache is
 * made of links), not a file that a folder does without.
 */
import { createReadStream, lstatSync, readlinkSync, statSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { createGunzip, gunzip } from 'node:zlib';

export { basename, join } from 'node:path';

/** Whether anything has this name, be it a link that leads nowhere: opening that says so. */
export const isThere = async (path: string): Promise<boolean> => hasName(path);

const hasName = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

function checkRegularFile(path: string, expected: string, largest = Number.POSITIVE_INFINITY): void {
  const found = statSync(path, { throwIfNoEntry: !hasName(path) });
  if (!found)
    throw new Error(`${path} is a link that leads nowhere, to ${readlinkSync(path)}, expected ${expected}: is the download complete?`);
  if (!found.isFile()) throw new Error(`${path} is no regular file, expected ${expected}`);
  if (found.size > largest) throw new RangeError(`${path} has ${found.size} bytes, expected ${expected} of at most ${largest}`);
}

/** Names in a folder. */
export const listFolder = (path: string): Promise<string[]> => readdir(path);

/**
 * The bytes of a whole file.
 *
 * @param expected what the file should hold, in words
 * @param largest bytes
 * @throws Error where it is no regular file or leads to none; RangeError where it is larger
 */
export async function readBytes(path: string, expected: string, largest: number): Promise<Uint8Array> {
  checkRegularFile(path, expected, largest);
  return readFile(path);
}

/** Unpacks gzip. @throws Error for what is none, or unpacks to more than `largest` bytes */
export const unpack = (bytes: Uint8Array, largest: number): Promise<Uint8Array> => promisify(gunzip)(bytes, { maxOutputLength: largest });

/** A file whose parts are read as they are needed. */
export interface OpenFile {
  /** Bytes. */
  readonly size: number;
  /** Fills `into` with the bytes from `position` on, as far as they come in one go; returns how many did, 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/**
 * Opens a file of any size.
 *
 * @param expected what the file should hold, in words
 * @throws Error where it is no regular file or leads to none
 */
export async function openFile(path: string, expected: string): Promise<OpenFile> {
  checkRegularFile(path, expected);
  const file = await open(path, 'r');
  const { size } = await file.stat();
  return {
    size,
    read: async (into, position) => (await file.read(into, 0, into.length, position)).bytesRead,
    close: () => file.close(),
  };
}

/** A file's bytes as they come, unpacked where its name ends in `.gz`. */
export interface ByteStream extends AsyncIterable<Uint8Array> {
  /** Bytes read so far of the file as it lies. */
  readonly packed: number;
  /** Ends it; whoever waits for the next bytes gets the error. */
  stop(reason?: Error): void;
}

/** Bytes that are no gzip, or a part of one. */
export class DamagedArchive extends Error {}

/** Opens a stream over a file. @throws Error for a pipe: opening it would wait for whoever writes to it, beyond any signal */
export async function streamBytes(path: string): Promise<ByteStream> {
  const kind = statSync(path);
  if (kind.isFIFO() || kind.isSocket()) throw new Error(`${path} is no regular file, expected lines of text: write them to one`);
  const file = createReadStream(path);
  const bytes = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  file.on('error', (error) => bytes.destroy(error)); // a pipe does not pass errors on
  return {
    get packed() {
      return file.bytesRead;
    },
    stop(reason) {
      bytes.destroy(reason);
      file.destroy();
    },
    async *[Symbol.asyncIterator]() {
      try {
        yield* bytes as AsyncIterable<Uint8Array>;
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        throw /^Z_/.test(code ?? '') ? new DamagedArchive(message, { cause: error }) : error;
      }
    },
  };
}
