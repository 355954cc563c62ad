/** SHA-256 of what a run has written, so that what is read on resume is what was written. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Of a file's first `length` bytes, or all of it, in hexadecimal. */
export async function fileSum(path: string, length?: number): Promise<string> {
  return (await hashOf(path, length)).digest('hex');
}

/** The hash itself, to go on from as the file grows. */
export async function hashOf(path: string, length?: number): Promise<Hash> {
  const hash = createHash('sha256');
  if (length === 0) return hash;
  for await (const chunk of createReadStream(path, length === undefined ? {} : { end: length - 1 })) hash.update(chunk as Buffer);
  return hash;
}

/** Sums of a folder's files, each flushed to the disk first; empty where there is no folder. */
export async function folderSums(folder: string): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const name of entries.flatMap((entry) => (entry.isFile() ? entry.name : [])).sort()) {
    const file = await open(join(folder, name), 'r+');
    await file.sync().finally(() => file.close());
    sums[name] = await fileSum(join(folder, name));
  }
  return sums;
}

/** What a policy is: its config, weights and tokenizer. A checkpoint's training state and records are not part of it. */
const POLICY_FILE = /^(config\.json|(?!optimizer).*\.safetensors(\.index\.json)?|(tokenizer|vocab|merges|added_tokens|special_tokens).*)$/;

/**
 * One SHA-256, in hexadecimal, over the files that a policy in a folder is made of: config, weights and tokenizer. Another policy at the same path has
 * another; a checkpoint's optimiser state and records do not count.
 *
 * @param folder a Hugging Face folder, such as `Engine.save` writes
 * @throws Error where there is no such folder
 *
 * @example
 * ```ts
 * import { datasetPath } from 'search-e1';
 * import { policySum } from 'search-e1/runs';
 *
 * const sum = await policySum(datasetPath('tinypedia', 'base-policy'));
 * sum.length; // 64
 * ```
 */
export async function policySum(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(folder)).filter((each) => POLICY_FILE.test(each)).sort())
    hash.update(`${name} ${await fileSum(join(folder, name))}\n`);
  return hash.digest('hex');
}
