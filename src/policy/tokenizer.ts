/** Text to token ids and back, over any Hugging Face `tokenizer.json`. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';

export interface Tokenizer {
  /** Entries, added tokens included. */
  readonly size: number;
  /** Ids that end a sequence. */
  readonly endIds: readonly number[];
  /** Fills the right of a batch; never scored. */
  readonly padId: number;
  encode(text: string): number[];
  /** Special tokens are kept: tags are text here. */
  decode(ids: readonly number[]): string;
}

export interface TokenizerOptions {
  /** Texts whose ids are kept, for prompts and passages that come again; default 4096. 0 keeps none. */
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

  const cache = new Map<string, readonly number[]>();
  return {
    size: inner.get_vocab().size,
    endIds: [...new Set([eos, ...moreEnds])],
    padId: idOf('pad_token') ?? eos,
    encode(text) {
      const kept = cache.get(text);
      if (kept) return [...kept];
      const { ids } = inner.encode(text, { add_special_tokens: false });
      if (cache.size >= cacheSize) cache.clear();
      if (cacheSize > 0) cache.set(text, ids);
      return [...ids];
    },
    decode: (ids) => (ids.length === 0 ? '' : inner.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false })),
  };
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
