/**
 * Passages from disk: Search-R1's and FlashRAG's corpus format, one JSON object a line, plain or gzip.
 *
 *     {"id": "7", "contents": "\"Title\"\ntext"}
 *
 * The title is the first line of `contents`, in double quotes in most files. Lines are streamed, so that a corpus larger than memory can be filtered on the way.
 */
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import * as z from 'zod';
import type { Passage } from './passage.js';

const CorpusLine = z.object({ id: z.union([z.string(), z.number()]).transform(String), contents: z.string().min(1) });

/** One passage a non-empty line of a `.jsonl` or `.jsonl.gz` file. Throws on the first line that is no passage, naming it. */
export async function* readCorpus(path: string): AsyncGenerator<Passage> {
  let number = 0;
  for await (const line of readLines(path)) {
    number++;
    if (line.trim() !== '') yield parseLine(line, `${path}:${number}`);
  }
}

/** All passages of one or several corpora, in order. */
export async function loadCorpus(...paths: readonly string[]): Promise<Passage[]> {
  const passages: Passage[] = [];
  for (const path of paths) {
    for await (const passage of readCorpus(path)) passages.push(passage);
  }
  return passages;
}

/** Splits `contents` into title and text. A first line without quotes is taken as it is. */
export function splitContents(contents: string): { title: string; text: string } {
  const end = contents.indexOf('\n');
  const first = end < 0 ? contents : contents.slice(0, end);
  const quoted = /^"(.*)"$/.exec(first.trim());
  return { title: quoted ? quoted[1] : first.trim(), text: end < 0 ? '' : contents.slice(end + 1) };
}

/** Split by hand: node:readline's iterator lets the stream's errors (a missing file, a cut archive) escape the loop that reads it. */
async function* readLines(path: string): AsyncGenerator<string> {
  const file = createReadStream(path);
  const bytes = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  file.on('error', (error) => bytes.destroy(error)); // a pipe does not pass errors on
  bytes.setEncoding('utf8');
  let rest = '';
  try {
    for await (const chunk of bytes) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) yield line;
    }
  } finally {
    file.destroy(); // also when the reader stops early
  }
  yield rest;
}

function parseLine(line: string, where: string): Passage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`${where}: not JSON (${(error as Error).message}); expected {"id": ..., "contents": "\\"Title\\"\\ntext"}`);
  }
  const parsed = CorpusLine.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(
      `${where}: ${issue.path.join('.') || 'line'}: ${issue.message}; expected {"id": ..., "contents": "\\"Title\\"\\ntext"}`,
    );
  }
  return { id: parsed.data.id, ...splitContents(parsed.data.contents) };
}
