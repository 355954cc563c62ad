/**
 * Passages from disk: Search-R1's and FlashRAG's corpus format, one JSON object a line, plain or gzip.
 *
 *     {"id": "7", "contents": "\"Title\"\ntext"}
 *
 * The title is the first line of `contents`, in double quotes in most files. Lines are streamed, so that a corpus larger than memory can be filtered on the way.
 */
import { checkPath } from '../arguments.js';
import { type ReadLinesOptions, readLines } from './lines.js';
import type { Passage } from './passage.js';

/** Loaded with the first file: whoever reads none shall not wait for the library. */
async function corpusLine() {
  const z = await import('zod');
  return z.object({ id: z.union([z.string(), z.int()]).transform(String), contents: z.string().min(1) });
}
type CorpusLine = Awaited<ReturnType<typeof corpusLine>>;

/**
 * One passage a non-empty line of a `.jsonl` or `.jsonl.gz` file. Throws on the first line that is no passage, naming it, and where a limit is exceeded.
 *
 * @example
 * ```ts
 * import { datasetPath } from 'search-e1';
 * import { readCorpus } from 'search-e1/search';
 *
 * let passages = 0;
 * for await (const { text } of readCorpus(datasetPath('corpora', 'musique.jsonl.gz'))) if (text.includes('river') && ++passages === 3) break; // streamed
 * passages; // 3
 * ```
 */
export async function* readCorpus(path: string, options: ReadLinesOptions = {}): AsyncGenerator<Passage> {
  const schema = await corpusLine();
  let number = 0;
  for await (const lines of readLines(path, options)) {
    for (const line of lines) {
      number++;
      if (line.trim() !== '') yield parseLine(line, `${path}:${number}`, schema);
      options.signal?.throwIfAborted();
    }
  }
}

/**
 * All passages of one or several corpora, in order; `maxBytes` holds for each of them and is 4 GiB by default.
 *
 * @example
 * ```ts
 * import { datasetPath } from 'search-e1';
 * import { loadCorpus } from 'search-e1/search';
 *
 * const [{ title }] = await loadCorpus(datasetPath('corpora', 'musique.jsonl.gz'));
 * title.length > 0; // true
 * ```
 */
export async function loadCorpus(
  ...given: readonly string[] | readonly [...paths: string[], options: ReadLinesOptions]
): Promise<Passage[]> {
  const last = given[given.length - 1];
  const paths = typeof last === 'object' && !Array.isArray(last) ? given.slice(0, -1) : given;
  if (paths.length === 0) throw new TypeError('loadCorpus: expected the path of a file, got none');
  for (const path of paths) checkPath('loadCorpus', path);
  const options: ReadLinesOptions = { maxBytes: MAX_IN_MEMORY, ...(typeof last === 'object' ? last : {}) };
  const passages: Passage[] = [];
  for (const path of paths as readonly string[]) {
    const before = passages.length;
    for await (const passage of readCorpus(path, options)) passages.push(passage);
    if (passages.length === before) throw new Error(`${path}: no passages in the file`);
  }
  return passages;
}

/** Bytes of a file, unpacked, that are kept in memory without being asked. */
export const MAX_IN_MEMORY = 4 * 2 ** 30;

/**
 * Splits `contents` into title and text. A first line without quotes is taken as it is.
 *
 * @example
 * ```ts
 * import { splitContents } from 'search-e1/search';
 *
 * splitContents('"Eiffel Tower"\nA tower in Paris.'); // { title: 'Eiffel Tower', text: 'A tower in Paris.' }
 * ```
 */
export function splitContents(contents: string): { title: string; text: string } {
  const end = contents.indexOf('\n');
  const first = end < 0 ? contents : contents.slice(0, end);
  const quoted = /^"(.*)"$/.exec(first.trim());
  return { title: quoted ? quoted[1] : first.trim(), text: end < 0 ? '' : contents.slice(end + 1) };
}

function parseLine(line: string, where: string, schema: CorpusLine): Passage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`${where}: not JSON (${(error as Error).message}); expected {"id": ..., "contents": "\\"Title\\"\\ntext"}`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(
      `${where}: ${issue.path.join('.') || 'line'}: ${issue.message}; expected {"id": ..., "contents": "\\"Title\\"\\ntext"}`,
    );
  }
  return { id: parsed.data.id, ...splitContents(parsed.data.contents) };
}
