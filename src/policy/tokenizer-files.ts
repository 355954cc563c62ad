/**
 * The files a tokenizer is made of, read and checked before anything is built from them: they are untrusted.
 *
 * Either `tokenizer.json`, or what Qwen2's own tokenizer needs: `vocab.json`, `merges.txt` and the added tokens (in `tokenizer_config.json` or
 * `added_tokens.json`). From these the same definition is made that Transformers' Qwen2Tokenizer makes: NFC, Qwen2's split, byte-level BPE. The large
 * files may be gzipped.
 */
import { z } from 'zod';
import { isThere, join, listFolder, readBytes, unpack } from '../platform/files.js';
import type { AddedToken } from './added-tokens.js';

/** What `tokenizer.json` holds, as far as it is looked at here. */
export interface TokenizerDefinition {
  readonly model: { readonly type?: string; readonly vocab: unknown; readonly merges?: unknown };
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer?: { readonly type?: string } | null;
  readonly pre_tokenizer?: PreTokenizerStep | null;
  readonly decoder?: { readonly type?: string } | null;
}

/** How a text is cut: by a pattern, or step after step. */
export interface PreTokenizerStep {
  readonly type?: string;
  readonly behavior?: string;
  readonly invert?: boolean;
  readonly use_regex?: boolean;
  readonly add_prefix_space?: boolean;
  readonly individual_digits?: boolean;
  readonly pattern?: { readonly Regex?: unknown } | null;
  readonly pretokenizers?: readonly (PreTokenizerStep | null | undefined)[];
}

export interface TokenizerFiles {
  readonly definition: TokenizerDefinition;
  /** `tokenizer_config.json`; empty where a folder of vocabulary and merges has none. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Token ids that `generation_config.json` ends at; where there is no such file, those of `config.json`. */
  readonly endIds: readonly number[];
  /** Jinja source of the chat template; null where the folder has none. */
  readonly chatTemplate: string | null;
}

/** How Qwen2 cuts a text before merging (Transformers' Qwen2Tokenizer): digits one by one, newlines with the punctuation before them. */
export const QWEN2_SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const COPIED = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];

/** Names of the tokenizer files in a folder, gzipped ones included: what goes with a checkpoint. */
export async function tokenizerFiles(folder: string): Promise<string[]> {
  const found = new Set(await listFolder(folder));
  const names = COPIED.flatMap((name) => [name, `${name}.gz`]).filter((name) => found.has(name));
  if (!names.some((name) => /^(tokenizer|vocab)\.json/.test(name)))
    throw new Error(`${folder} holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt`);
  return names;
}

/**
 * Reads a folder's tokenizer.
 *
 * @throws Error where a file is missing or broken, naming it
 */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const has = async (name: string) => (await isThere(join(folder, name))) || (await isThere(join(folder, `${name}.gz`)));
  const whole = (await has('tokenizer.json')) || !(await has('vocab.json'));
  const definition = await (whole ? checkedDefinition(folder) : fromVocabulary(folder));
  const config = whole || (await has('tokenizer_config.json')) ? await readRecord(folder, 'tokenizer_config.json') : QWEN2_CONFIG;
  return { definition, config, endIds: await endIdsOf(folder), chatTemplate: await chatTemplateOf(folder, config) };
}

/** Qwen2Tokenizer's defaults. */
const QWEN2_CONFIG = { eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' };

const id = z.number().int().nonnegative().max(0xffffff);
const vocabulary = z.record(z.string(), id);
const pair = z.union([z.string(), z.tuple([z.string(), z.string()])]);
const addedTokenKind = {
  content: z.string().min(1),
  special: z.boolean().default(false),
  single_word: z.boolean().optional(),
  lstrip: z.boolean().optional(),
  rstrip: z.boolean().optional(),
  normalized: z.boolean().optional(),
};
const addedToken = z.looseObject({ id, ...addedTokenKind });

async function checkedDefinition(folder: string): Promise<TokenizerDefinition> {
  const path = join(folder, 'tokenizer.json');
  const json = await readRecord(folder, 'tokenizer.json');
  if (typeof json.model !== 'object' || json.model === null || !Array.isArray(json.added_tokens))
    throw new Error(`${path} is no Hugging Face tokenizer: it has no "model" or no "added_tokens"`);
  const model = json.model as { type?: string; vocab?: unknown; merges?: unknown };
  let problems = issues(z.array(addedToken), json.added_tokens, 'added_tokens');
  const isBpe = model.type === 'BPE' || (model.type === undefined && model.merges !== undefined);
  if (isBpe) {
    problems = [...problems, ...issues(vocabulary, model.vocab, 'model.vocab'), ...issues(z.array(pair), model.merges, 'model.merges')];
    if (problems.length === 0) problems = mergeProblems(model.vocab as Vocabulary, model.merges as Merge[]);
  }
  if (problems.length === 0) problems = idProblems(isBpe ? (model.vocab as Vocabulary) : {}, json.added_tokens as AddedToken[]);
  if (problems.length) throw broken(path, problems);
  return json as unknown as TokenizerDefinition;
}

type Vocabulary = Readonly<Record<string, number>>;
type Merge = string | readonly [string, string];

async function fromVocabulary(folder: string): Promise<TokenizerDefinition> {
  const vocabPath = join(folder, 'vocab.json');
  const vocab = await readRecord(folder, 'vocab.json');
  const problems = issues(vocabulary, vocab, 'vocab');
  if (problems.length) throw broken(vocabPath, problems);
  const lines = (await readText(folder, 'merges.txt')).split('\n');
  const merges: [string, string][] = [];
  lines.forEach((line, i) => {
    const text = line.endsWith('\r') ? line.slice(0, -1) : line;
    if (text === '' || (i === 0 && text.startsWith('#version'))) return;
    const parts = text.split(' ');
    if (parts.length !== 2 || parts.includes(''))
      problems.push(`line ${i + 1}: "${text.slice(0, 60)}" is not two tokens with a space between`);
    else merges.push(parts as [string, string]);
  });
  const all = [...problems, ...mergeProblems(vocab as Vocabulary, merges)];
  if (all.length) throw broken(join(folder, 'merges.txt'), all);
  const added = await addedTokens(folder);
  const wrong = idProblems(vocab as Vocabulary, added);
  if (wrong.length) throw broken(folder, wrong);
  return {
    added_tokens: added,
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: QWEN2_SPLIT }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: { type: 'BPE', unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, vocab, merges },
  } as unknown as TokenizerDefinition;
}

/** From `tokenizer_config.json` where it lists them with their kinds, else from `added_tokens.json`, which names no kind: there the special ones are Qwen2.5's own. */
async function addedTokens(folder: string): Promise<AddedToken[]> {
  const config = (await isThere(join(folder, 'tokenizer_config.json'))) ? await readRecord(folder, 'tokenizer_config.json') : {};
  if (config.added_tokens_decoder !== undefined) {
    const path = join(folder, 'tokenizer_config.json');
    const listed = z.record(z.string().regex(/^\d+$/), z.looseObject(addedTokenKind));
    const problems = issues(listed, config.added_tokens_decoder, 'added_tokens_decoder');
    if (problems.length) throw broken(path, problems);
    return Object.entries(listed.parse(config.added_tokens_decoder)).map(([key, token]) => ({ ...token, id: Number(key) }));
  }
  if (!(await isThere(join(folder, 'added_tokens.json')))) return [];
  const ids = await readRecord(folder, 'added_tokens.json');
  const problems = issues(vocabulary, ids, 'added_tokens');
  if (problems.length) throw broken(join(folder, 'added_tokens.json'), problems);
  return Object.entries(ids as Vocabulary).map(([content, id]) => ({
    id,
    content,
    special: QWEN2_SPECIAL.has(content),
    normalized: false,
  }));
}

/** The added tokens that Qwen2.5's `tokenizer_config.json` calls special: those of tool calls, of code to fill in and of repositories are text. */
const QWEN2_SPECIAL: ReadonlySet<string> = new Set([
  '<|endoftext|>',
  ...['im', 'object_ref', 'box', 'quad', 'vision'].flatMap((name) => [`<|${name}_start|>`, `<|${name}_end|>`]),
  ...['vision', 'image', 'video'].map((name) => `<|${name}_pad|>`),
]);

function mergeProblems(vocab: Vocabulary, merges: readonly Merge[]): string[] {
  const problems: string[] = [];
  merges.forEach((merge, i) => {
    const parts = typeof merge === 'string' ? merge.split(' ') : merge;
    const unknown = parts.length === 2 ? [...parts, parts.join('')].filter((token) => !Object.hasOwn(vocab, token)) : [];
    if (parts.length !== 2) problems.push(`merge ${i}: ${JSON.stringify(merge)} is not two tokens`);
    else if (unknown.length)
      problems.push(`merge ${i}: ${unknown.map((token) => JSON.stringify(token)).join(' and ')} not in the vocabulary`);
  });
  return problems;
}

/** Two tokens of one id, or one added token of two, would make decoding a guess. */
function idProblems(vocab: Vocabulary, added: readonly AddedToken[]): string[] {
  const owner = new Map<number, string>();
  const problems: string[] = [];
  for (const [token, id] of Object.entries(vocab)) {
    if (owner.has(id)) problems.push(`${JSON.stringify(token)} and ${JSON.stringify(owner.get(id))} both have id ${id}`);
    owner.set(id, token);
  }
  const contents = new Map<string, number>();
  for (const { id, content } of added) {
    const other = owner.get(id);
    if (other !== undefined && other !== content)
      problems.push(`${JSON.stringify(content)} and ${JSON.stringify(other)} both have id ${id}`);
    if ((contents.get(content) ?? id) !== id) problems.push(`${JSON.stringify(content)} has ids ${contents.get(content)} and ${id}`);
    owner.set(id, content);
    contents.set(content, id);
  }
  return problems;
}

async function endIdsOf(folder: string): Promise<number[]> {
  const names = ['generation_config.json', 'config.json'];
  const there = await Promise.all(names.map((each) => isThere(join(folder, each))));
  const name = names.find((_, i) => there[i]);
  if (!name) return [];
  const { eos_token_id: ends } = await readRecord(folder, name);
  const problems = issues(z.union([id, z.array(id)]).nullish(), ends, 'eos_token_id');
  if (problems.length) throw broken(join(folder, name), problems);
  return [ends ?? []].flat() as number[];
}

/** `chat_template.jinja` goes before the field of `tokenizer_config.json`, which is a template or a list of named ones, of which `default` is taken. */
async function chatTemplateOf(folder: string, config: Readonly<Record<string, unknown>>): Promise<string | null> {
  if (await isThere(join(folder, 'chat_template.jinja'))) return readText(folder, 'chat_template.jinja');
  const { chat_template: field } = config;
  if (typeof field === 'string') return field;
  const named = z.array(z.looseObject({ name: z.string(), template: z.string() })).safeParse(field);
  return named.success ? (named.data.find(({ name }) => name === 'default')?.template ?? null) : null;
}

function issues(schema: z.ZodType, value: unknown, where: string): string[] {
  const parsed = schema.safeParse(value);
  return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${[where, ...path].join('.').slice(0, 80)}: ${message}`);
}

const broken = (path: string, problems: readonly string[], most = 10): Error =>
  new Error(
    `${path} does not make a tokenizer:\n${problems
      .slice(0, most)
      .map((p) => `  ${p}`)
      .join('\n')}${problems.length > most ? `\n  and ${problems.length - most} more` : ''}`,
  );

async function readRecord(folder: string, name: string): Promise<Record<string, unknown>> {
  const path = join(folder, name);
  const text = await readText(folder, name);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${path} is not JSON: ${(error as Error).message}. Is the download complete?`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${path} should hold a JSON object`);
  return value as Record<string, unknown>;
}

/** A file's text. JavaScript leaves a byte order mark where it is, and Transformers refuses JSON that has one. */
async function readText(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  const text = await readWhole(path);
  if (text.startsWith('\ufeff'))
    throw new Error(`${path} begins with a byte order mark, which belongs to no tokenizer's file: save it as UTF-8 without one`);
  return text;
}

async function readWhole(path: string): Promise<string> {
  try {
    const packed = !(await isThere(path)) && (await isThere(`${path}.gz`));
    const bytes = await readTokenizerFile(packed ? `${path}.gz` : path);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new Error(
      `Cannot read ${path}: ${(error as Error).message}. A tokenizer folder holds tokenizer.json and tokenizer_config.json, or vocab.json and merges.txt`,
    );
  }
}

/** Bytes of the largest tokenizer file that is read, unpacked: Qwen2.5's vocabulary and merges take seven million, the largest known some fifty. */
const LARGEST = 1 << 28;

/**
 * The bytes of a tokenizer's file, unpacked where its name ends in `.gz`.
 *
 * @throws Error for what is no regular file or cannot be unpacked; RangeError for more than 2^28 bytes
 */
export async function readTokenizerFile(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path, 'a file of a tokenizer', LARGEST);
  if (!path.endsWith('.gz')) return bytes;
  try {
    return await unpack(bytes, LARGEST);
  } catch (error) {
    throw new Error(`${path} cannot be unpacked within ${LARGEST} bytes: ${(error as Error).message}`);
  }
}
