/**
 * Text to token ids and back, over any Hugging Face `tokenizer.json`, or Qwen2's vocabulary and merges.
 *
 * Normalising, cutting and merging are the library's. Added tokens are found here (`added-tokens.ts`), so that none is found in text from outside; byte-level decoding is
 * done here too, by table, and held to the library's in the tests.
 */

import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { checkPath } from '../arguments.js';
import { join } from '../platform/files.js';
import { type AddedToken, cutAt, type Stretch } from './added-tokens.js';
import { BYTE_ALPHABET, GPT2_SPLIT } from './bpe-trainer.js';
import { chatTemplate, type RenderChat } from './chat-template.js';
import type { MarkedText } from './marked-text.js';
import { type PreTokenizerStep, readTokenizerFiles, type TokenizerDefinition } from './tokenizer-files.js';
import { normalizeAsLibrary, SPACE, WORD, withFixedClasses } from './unicode.js';

/** Text to token ids and back. */
export interface Tokenizer {
  /** Entries, added tokens included. */
  readonly size: number;
  /** Ids that end a sequence. */
  readonly endIds: readonly number[];
  /** Fills the right of a batch; never scored. */
  readonly padId: number;
  /**
   * Ids of a text. The words of an added token become that token, in marked text only where they are not from outside: all else is as if the whole were one string. Half a
   * surrogate pair becomes U+FFFD, any other text decodes to itself.
   */
  encode(text: string | MarkedText): number[];
  /** Special tokens are kept, as tags are text here, unless `skipSpecialTokens` asks to leave out what the tokenizer calls special: ends, padding, turns. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Decodes tokens as they come: the pieces joined are `decode` of all ids, and none ends within a character. */
  stream(): TokenStream;
  /** A conversation in the words of the folder's chat template; absent where it has none. */
  readonly renderChat?: RenderChat;
}

/** Decodes ids one at a time. */
export interface TokenStream {
  /** The text that is certain now; empty while a character is incomplete. */
  push(id: number): string;
  /** What is left when no token follows: a U+FFFD for a character that stayed incomplete. */
  end(): string;
}

/** What a tokenizer keeps. */
export interface TokenizerOptions {
  /** Number of texts whose ids are kept, for prompts and passages that come again; default 4096. 0 keeps none. */
  readonly cacheSize?: number;
}

/**
 * Reads a folder's tokenizer files (`tokenizer-files.ts`), and more end ids from `generation_config.json`, or `config.json` where there is none.
 * No text is added on encoding (no beginning-of-sequence token) and nothing is tidied on decoding.
 *
 * @throws Error where a file is missing or broken, or names no end token.
 *
 * @example
 * ```ts
 * import { datasetPath } from 'search-e1';
 * import { loadTokenizer } from 'search-e1/policy';
 *
 * const tokenizer = await loadTokenizer(datasetPath('tokenizers', 'qwen2.5'));
 * tokenizer.encode('Who is Ada?'); // [ 15191, 374, 51149, 30 ]
 * tokenizer.decode([15_191]); // 'Who'
 * ```
 */
export async function loadTokenizer(folder: string, { cacheSize = 4096 }: TokenizerOptions = {}): Promise<Tokenizer> {
  checkPath('loadTokenizer', folder);
  const { definition, config, endIds, chatTemplate: template } = await readTokenizerFiles(folder);
  let inner: HuggingFaceTokenizer;
  try {
    inner = libraryTokenizer(definition, config);
  } catch (error) {
    throw new Error(`the files in ${folder} do not make a tokenizer: ${(error as Error).message}`, { cause: error });
  }
  const nameOf = (key: string): string | undefined => {
    const named = config[key] as string | { content?: string } | null | undefined;
    return (typeof named === 'string' ? named : named?.content) ?? undefined;
  };
  const idOf = (key: string): number | undefined => {
    const name = nameOf(key);
    return name === undefined ? undefined : inner.token_to_id(name);
  };
  const eos = idOf('eos_token');
  if (eos === undefined)
    throw new Error(
      `${join(folder, 'tokenizer_config.json')}: "eos_token" is ${JSON.stringify(config.eos_token)}, expected a token of the tokenizer`,
    );
  const specials = ['bos_token', 'eos_token', 'pad_token', 'unk_token'].flatMap((key) => {
    const name = nameOf(key);
    return name === undefined ? [] : [[key, name] as const];
  });

  const { additional_special_tokens: more } = config;
  const moreSpecial = (Array.isArray(more) ? more : []).map((each: string | { content: string }) =>
    typeof each === 'string' ? each : each.content,
  );
  const special = new Set([
    ...definition.added_tokens.flatMap((token) => (token.special ? [token.id] : [])),
    ...[...specials.map(([, name]) => name), ...moreSpecial].flatMap((name) => inner.token_to_id(name) ?? []),
  ]);
  const vocabulary = inner.get_vocab();
  const { decode, stream } = isByteLevel(definition) ? byteLevelDecoding(vocabulary, definition.added_tokens) : plainDecoding(inner);
  const toIds = encoding(inner, definition);
  const ids = new Map<string, readonly number[]>();
  return {
    size: vocabulary.size,
    endIds: [...new Set([eos, ...endIds])],
    padId: idOf('pad_token') ?? eos,
    encode(text) {
      const key = JSON.stringify(typeof text === 'string' ? text : text.pieces);
      const kept = ids.get(key);
      if (kept) return [...kept];
      const encoded = toIds(text);
      if (ids.size >= cacheSize) ids.clear();
      if (cacheSize > 0) ids.set(key, encoded);
      return [...encoded];
    },
    decode: (ids, { skipSpecialTokens = false } = {}) => decode(skipSpecialTokens ? ids.filter((id) => !special.has(id)) : ids),
    stream,
    ...(template !== null && { renderChat: chatTemplate(template, Object.fromEntries(specials)) }),
  };
}

/** The library's tokenizer, with Hugging Face's own Unicode tables in place of the engine's. */
function libraryTokenizer(definition: TokenizerDefinition, config: Readonly<Record<string, unknown>>): HuggingFaceTokenizer {
  const inner = new HuggingFaceTokenizer({ ...definition, pre_tokenizer: withFixedSplits(definition.pre_tokenizer) }, { ...config });
  if (definition.normalizer?.type === 'NFC' && inner.normalizer) inner.normalizer.normalize = normalizeAsLibrary;
  return inner;
}

/** The steps that cut by classes of characters, with the library's classes: JavaScript's `\\w` and `\\d` are ASCII, its `\\s` is another, and its `\\p` moves with the engine. */
function withFixedSplits(step: PreTokenizerStep | null | undefined): PreTokenizerStep | null | undefined {
  if (!step) return step;
  const { type, pattern, pretokenizers } = step;
  const split = (regex: string, invert: boolean): PreTokenizerStep => ({
    type: 'Split',
    pattern: { Regex: withFixedClasses(regex) },
    behavior: invert ? 'Removed' : 'Isolated',
    invert,
  });
  if (Array.isArray(pretokenizers)) return { ...step, pretokenizers: pretokenizers.map(withFixedSplits) };
  if (type === 'Whitespace') return split(`[${WORD}]+|[^${WORD}${SPACE}]+`, true);
  if (type === 'WhitespaceSplit') return split(`[^${SPACE}]+`, true);
  if (type === 'Digits') return split(step.individual_digits ? '\\p{N}' : '\\p{N}+', false);
  if (type === 'ByteLevel' && step.use_regex !== false && !step.add_prefix_space)
    return { type: 'Sequence', pretokenizers: [split(GPT2_SPLIT.source, false), { ...step, use_regex: false }] };
  return typeof pattern?.Regex === 'string' ? { ...step, pattern: { Regex: withFixedClasses(pattern.Regex) } } : step;
}

/** Text to ids: added tokens as they stand, those that are normalised after normalisation, and between them what the library's model makes of it. */
function encoding(inner: HuggingFaceTokenizer, { added_tokens }: TokenizerDefinition): (text: string | MarkedText) => number[] {
  const { normalizer, pre_tokenizer, model } = inner as unknown as Library;
  const normalize = (text: string) => (normalizer ? normalizer(text) : text);
  const isNormalized = ({ normalized, special }: AddedToken) => normalized ?? !special;
  const raw = cutAt(added_tokens.filter((token) => !isNormalized(token)));
  const late = added_tokens.filter(isNormalized);
  const normal = cutAt(late, ({ content }) => normalize(content));
  const special = new Set(added_tokens.flatMap((token) => (token.special ? [token.id] : [])));
  const idsOf = (tokens: readonly string[]) => tokens.map((token) => model.tokens_to_ids.get(token) ?? model.unk_token_id ?? 0);
  /** A model may know a special token as a word of its own: in plain text it is its letters. */
  const wordIds = (words: readonly string[], control: boolean) =>
    words.flatMap((word) => {
      const found = idsOf(model([word]));
      const acts = !control && found.some((id) => special.has(id) && id !== model.unk_token_id);
      return acts ? [...word].flatMap((char) => idsOf(model([char]))) : found;
    });
  return (text) => {
    const whole = String(text);
    const allowed = typeof text === 'string' ? [[0, whole.length] as const] : controlStretches(text);
    const control = typeof text === 'string';
    return raw(whole, allowed).flatMap((section) => {
      if ('id' in section) return [section.id];
      const [start, end] = section.stretch;
      const part = whole.slice(start, end);
      const normalized = normalize(part);
      const within = late.length === 0 ? [] : mapped(part, normalized, clipped(allowed, start, end), normalize);
      return normal(normalized, within).flatMap((each) => {
        if ('id' in each) return [each.id];
        const piece = normalized.slice(...each.stretch);
        const first = start === 0 && each.stretch[0] === 0;
        return wordIds(pre_tokenizer ? pre_tokenizer(piece, { section_index: first ? 0 : 1 }) : [piece], control);
      });
    });
  };
}

/** What is used of the library's tokenizer, as it is at run time. */
interface Library {
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: ((text: string, options: { readonly section_index: number }) => string[]) | null;
  readonly model: ((words: readonly string[]) => string[]) & {
    readonly tokens_to_ids: ReadonlyMap<string, number>;
    readonly unk_token_id?: number;
  };
}

function controlStretches({ pieces }: MarkedText): Stretch[] {
  let end = 0;
  return pieces.flatMap(({ text, plain }): Stretch[] => {
    const start = end;
    end += text.length;
    return plain ? [] : [[start, end]];
  });
}

/** Stretches of a text as those of its part from `start` to `end`. */
const clipped = (stretches: readonly Stretch[], start: number, end: number): Stretch[] =>
  stretches.flatMap(([from, to]): Stretch[] => {
    const both: Stretch = [Math.max(from, start) - start, Math.min(to, end) - start];
    return both[0] < both[1] ? [both] : [];
  });

/** Where stretches of a text lie once it is normalised, without the characters at their edges that normalising joins to their neighbours. */
function mapped(text: string, normalized: string, stretches: readonly Stretch[], normalize: (text: string) => string): Stretch[] {
  return stretches.flatMap(([start, end]): Stretch[] => {
    const from = start === 0 ? 0 : normalized.length - sharedEnd(normalize(text.slice(start)), normalized);
    const to = end === text.length ? normalized.length : sharedStart(normalize(text.slice(0, end)), normalized);
    return from < to ? [[from, to]] : [];
  });
}

function sharedStart(a: string, b: string): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

function sharedEnd(a: string, b: string): number {
  let n = 0;
  while (n < a.length && n < b.length && a[a.length - 1 - n] === b[b.length - 1 - n]) n++;
  return n;
}

interface Decoding {
  decode(ids: readonly number[]): string;
  stream(): TokenStream;
}

const isByteLevel = ({ decoder }: TokenizerDefinition): boolean => decoder?.type === 'ByteLevel';

function plainDecoding(inner: HuggingFaceTokenizer): Decoding {
  const decode = (ids: readonly number[]): string =>
    ids.length === 0 ? '' : inner.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  return {
    decode,
    stream() {
      const ids: number[] = [];
      let shown = '';
      const rest = (text: string) => {
        const piece = text.slice(shown.length);
        shown = text;
        return piece;
      };
      return {
        push(id) {
          ids.push(id);
          const text = decode(ids);
          return text.endsWith('\ufffd') ? '' : rest(text); // byte fallback: a character may still be incomplete
        },
        end: () => rest(decode(ids)),
      };
    },
  };
}

/**
 * Decoding by table, since an episode is decoded again after every token: most tokens are whole characters and need no look at their bytes.
 * Ids without a token (a padded embedding table has them) are left out, as Hugging Face's `tokenizers` does.
 */
function byteLevelDecoding(vocabulary: ReadonlyMap<string, number>, added: readonly AddedToken[]): Decoding {
  const byteOf = new Map(BYTE_ALPHABET.map((char, byte) => [char, byte]));
  const tokens: string[] = [];
  for (const [token, id] of vocabulary) tokens[id] = token;
  const addedTexts = new Map(added.map(({ id, content }) => [id, content]));
  const bytesOf = (id: number): Uint8Array => {
    const text = addedTexts.get(id);
    return text === undefined ? Uint8Array.from(tokens[id] ?? '', (char) => byteOf.get(char) ?? 0) : new TextEncoder().encode(text);
  };
  /** The token as text; null where its bytes are a part of a character. */
  const texts = new Map<number, string | null>();
  const textOf = (id: number): string | null => {
    let text = texts.get(id);
    if (text === undefined) {
      text = wholeText(bytesOf(id));
      texts.set(id, text);
    }
    return text;
  };
  const lenient = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    decode(ids) {
      const pieces = ids.map(textOf);
      return pieces.includes(null) ? lenient.decode(Uint8Array.from(ids.flatMap((id) => [...bytesOf(id)]))) : pieces.join('');
    },
    stream() {
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      return { push: (id) => decoder.decode(bytesOf(id), { stream: true }), end: () => decoder.decode() };
    },
  };
}

const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function wholeText(bytes: Uint8Array): string | null {
  try {
    return STRICT.decode(bytes);
  } catch {
    return null;
  }
}
