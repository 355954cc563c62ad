/**
 * A checkpoint's files as they are found, before one is opened: they come from elsewhere. Opening a pipe would wait for whoever writes to it, and a link that
 * leads nowhere is half a download (Hugging Face's cache is made of links), not a file that the folder does without.
 */
import { lstatSync, readlinkSync, statSync } from 'node:fs';

/** Whether anything has this name, be it a link that leads nowhere: opening that says so. */
export const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/**
 * @param expected what the file should hold, in words
 * @param largest bytes
 * @throws Error where it is no regular file or leads to none; RangeError where it is larger
 */
export function checkRegularFile(path: string, expected: string, largest = Number.POSITIVE_INFINITY): void {
  const found = statSync(path, { throwIfNoEntry: !isThere(path) });
  if (!found)
    throw new Error(`${path} is a link that leads nowhere, to ${readlinkSync(path)}, expected ${expected}: is the download complete?`);
  if (!found.isFile()) throw new Error(`${path} is no regular file, expected ${expected}`);
  if (found.size > largest) throw new RangeError(`${path} has ${found.size} bytes, expected ${expected} of at most ${largest}`);
}
