/**
 * Text to token ids and back, over any Hugging Face `tokenizer.json`.
 *
 * Encoding is the library's; byte-level decoding is done here, by table, and held to the library's in the tests.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { BYTE_ALPHABET } from './bpe-trainer.js';

export interface Tokenizer {
  /** Entries, added tokens included. */
  readonly size: number;
  /** Ids that end a sequence. */
  readonly endIds: readonly number[];
  /** Fills the right of a batch; never scored. */
  readonly padId: number;
  /** Ids of a text; text of a special token becomes that token. Half a surrogate pair becomes U+FFFD, any other text decodes to itself. */
  encode(text: string): number[];
  /** Special tokens are kept: tags are text here. */
  decode(ids: readonly number[]): string;
}

export interface TokenizerOptions {
  /** Number of texts whose ids are kept, for prompts and passages that come again; default 4096. 0 keeps none. */
  readonly cacheSize?: number;
}

/**
 * Reads `tokenizer.json` and `tokenizer_config.json` from a folder, and more end ids from `generation_config.json` where there is one.
 * No text is added on encoding (no beginning-of-sequence token) and nothing is tidied on decoding.
 *
 * @throws Error where a file is missing or broken, or names no end token.
 */
export function loadTokenizer(folder: string, { cacheSize = 4096 }: TokenizerOptions = {}): Tokenizer {
  const definition = readJson(folder, 'tokenizer.json');
  const config = readJson(folder, 'tokenizer_config.json');
  if (!definition.model || !Array.isArray(definition.added_tokens)) {
    throw new Error(`${join(folder, 'tokenizer.json')} is no Hugging Face tokenizer: it has no "model" or no "added_tokens"`);
  }
  const inner = new HuggingFaceTokenizer(definition, config);
  const idOf = (key: 'eos_token' | 'pad_token'): number | undefined => {
    const named = config[key] as string | { content: string } | null | undefined;
    return named ? inner.token_to_id(typeof named === 'string' ? named : named.content) : undefined;
  };
  const eos = idOf('eos_token');
  if (eos === undefined)
    throw new Error(
      `${join(folder, 'tokenizer_config.json')}: "eos_token" is ${JSON.stringify(config.eos_token)}, expected a token of tokenizer.json`,
    );
  const generation = existsSync(join(folder, 'generation_config.json')) ? readJson(folder, 'generation_config.json') : {};
  const moreEnds = [generation.eos_token_id ?? []].flat() as number[];

  const vocabulary = inner.get_vocab();
  const ids = new Map<string, readonly number[]>();
  return {
    size: vocabulary.size,
    endIds: [...new Set([eos, ...moreEnds])],
    padId: idOf('pad_token') ?? eos,
    encode(text) {
      const kept = ids.get(text);
      if (kept) return [...kept];
      const encoded = inner.encode(text, { add_special_tokens: false }).ids;
      if (ids.size >= cacheSize) ids.clear();
      if (cacheSize > 0) ids.set(text, encoded);
      return [...encoded];
    },
    decode: isByteLevel(definition)
      ? byteLevelDecode(vocabulary, definition.added_tokens as readonly AddedToken[])
      : (tokens) => plainDecode(inner, tokens),
  };
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
}

const isByteLevel = ({ decoder }: Record<string, unknown>): boolean => (decoder as { type?: string } | null)?.type === 'ByteLevel';

const plainDecode = (inner: HuggingFaceTokenizer, ids: readonly number[]): string =>
  ids.length === 0 ? '' : inner.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false });

/**
 * Decoding by table, since an episode is decoded again after every token: most tokens are whole characters and need no look at their bytes.
 * Ids without a token (a padded embedding table has them) are left out, as Hugging Face's `tokenizers` does.
 */
function byteLevelDecode(vocabulary: ReadonlyMap<string, number>, added: readonly AddedToken[]): (ids: readonly number[]) => string {
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
  return (ids) => {
    const pieces = ids.map(textOf);
    return pieces.includes(null) ? lenient.decode(Uint8Array.from(ids.flatMap((id) => [...bytesOf(id)]))) : pieces.join('');
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

function readJson(folder: string, name: string): Record<string, unknown> {
  const path = join(folder, name);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`Cannot read ${path}: ${(error as Error).message}. A tokenizer folder holds tokenizer.json and tokenizer_config.json`);
  }
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new Error(`${path} is not JSON: ${(error as Error).message}. Is the download complete?`);
  }
}
