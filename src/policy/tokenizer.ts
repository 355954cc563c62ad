/**
 * Text to token ids and back, over any Hugging Face `tokenizer.json`, or Qwen2's vocabulary and merges.
 *
 * Encoding is the library's; byte-level decoding is done here, by table, and held to the library's in the tests.
 */
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { BYTE_ALPHABET } from './bpe-trainer.js';
import { chatTemplate, type RenderChat } from './chat-template.js';
import { type AddedToken, type PreTokenizerStep, readTokenizerFiles, type TokenizerDefinition } from './tokenizer-files.js';
import { normalizeAsLibrary, withFixedClasses } from './unicode.js';

export interface Tokenizer {
  /** Entries, added tokens included. */
  readonly size: number;
  /** Ids that end a sequence. */
  readonly endIds: readonly number[];
  /** Fills the right of a batch; never scored. */
  readonly padId: number;
  /** Ids of a text; text of a special token becomes that token. Half a surrogate pair becomes U+FFFD, any other text decodes to itself. */
  encode(text: string): number[];
  /** Special tokens are kept, as tags are text here, unless `skipSpecialTokens` asks to leave out what the tokenizer calls special: ends, padding, turns. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Decodes tokens as they come: the pieces joined are `decode` of all ids, and none ends within a character. */
  stream(): TokenStream;
  /** A conversation in the words of the folder's chat template; absent where it has none. */
  readonly renderChat?: RenderChat;
}

export interface TokenStream {
  /** The text that is certain now; empty while a character is incomplete. */
  push(id: number): string;
  /** What is left when no token follows: a U+FFFD for a character that stayed incomplete. */
  end(): string;
}

export interface TokenizerOptions {
  /** Number of texts whose ids are kept, for prompts and passages that come again; default 4096. 0 keeps none. */
  readonly cacheSize?: number;
}

/**
 * Reads a folder's tokenizer files (`tokenizer-files.ts`), and more end ids from `generation_config.json`, or `config.json` where there is none.
 * No text is added on encoding (no beginning-of-sequence token) and nothing is tidied on decoding.
 *
 * @throws Error where a file is missing or broken, or names no end token.
 */
export function loadTokenizer(folder: string, { cacheSize = 4096 }: TokenizerOptions = {}): Tokenizer {
  const { definition, config, endIds, chatTemplate: template } = readTokenizerFiles(folder);
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

  const special = new Set([
    ...definition.added_tokens.flatMap((token) => (token.special ? [token.id] : [])),
    ...specials.flatMap(([, name]) => inner.token_to_id(name) ?? []),
  ]);
  const vocabulary = inner.get_vocab();
  const { decode, stream } = isByteLevel(definition) ? byteLevelDecoding(vocabulary, definition.added_tokens) : plainDecoding(inner);
  const ids = new Map<string, readonly number[]>();
  return {
    size: vocabulary.size,
    endIds: [...new Set([eos, ...endIds])],
    padId: idOf('pad_token') ?? eos,
    encode(text) {
      const kept = ids.get(text);
      if (kept) return [...kept];
      const encoded = inner.encode(text, { add_special_tokens: false }).ids;
      if (ids.size >= cacheSize) ids.clear();
      if (cacheSize > 0) ids.set(text, encoded);
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

function withFixedSplits(step: PreTokenizerStep | null | undefined): PreTokenizerStep | null | undefined {
  const { pattern, pretokenizers } = step ?? {};
  if (Array.isArray(pretokenizers)) return { ...step, pretokenizers: pretokenizers.map(withFixedSplits) };
  return typeof pattern?.Regex === 'string' ? { ...step, pattern: { Regex: withFixedClasses(pattern.Regex) } } : step;
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
