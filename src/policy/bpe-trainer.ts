/**
 * A byte-level BPE trainer: learns merges from word counts and writes them as a Hugging Face `tokenizer.json`.
 *
 * GPT-2's byte alphabet and split pattern (openai/gpt-2, encoder.py); merges by weighted pair count, ties to the lower pair of ids, as in
 * the trainer of Hugging Face's `tokenizers`. What differs: training stops as soon as every given word is one token, since a classroom
 * vocabulary should be no larger than its world.
 */

/** A pre-token as text, such as ` Falcon` with its leading space, and how much it counts. */
export type WordCounts = ReadonlyMap<string, number>;

/** What byte-pair encoding learned. */
export interface BpeVocabulary {
  /** Ids in order: 256 bytes, then one a merge (fewer where two merges make the same token). */
  readonly tokens: readonly string[];
  /** In order of priority, as texts over the byte alphabet. */
  readonly merges: readonly (readonly [string, string])[];
}

/** GPT-2's split of a text into pre-tokens, over which no merge reaches. */
export const GPT2_SPLIT = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable stand-in for each byte: index is the byte. */
export const BYTE_ALPHABET: readonly string[] = byteAlphabet();

/** How often each pre-token occurs in `texts`. */
export function countWords(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) for (const word of text.match(GPT2_SPLIT) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/**
 * Learns merges until every word of `counts` is a single token.
 *
 * @throws RangeError for a word that the split pattern would cut in two: no merge can make it one token.
 *
 * @example
 * ```ts
 * import { trainBpe } from 'search-e1/policy';
 *
 * const { merges } = trainBpe(new Map([['low', 5], ['lower', 2]]));
 * merges[0]; // [ 'l', 'o' ]
 * ```
 */
export function trainBpe(counts: WordCounts): BpeVocabulary {
  const tokens = [...BYTE_ALPHABET].sort((a, b) => (a < b ? -1 : 1));
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: [string, string][] = [];
  const words = [...counts].map(([word, count]) => {
    if ((word.match(GPT2_SPLIT) ?? []).length !== 1)
      throw new RangeError(`"${word}" is not one pre-token of GPT-2's split; give words as countWords cuts them`);
    return { symbols: [...toByteText(word)].map((char) => ids.get(char) as number), count };
  });
  for (;;) {
    const best = mostFrequentPair(words);
    if (!best) return { tokens, merges };
    const [left, right] = best;
    const joined = tokens[left] + tokens[right];
    merges.push([tokens[left], tokens[right]]);
    let id = ids.get(joined);
    if (id === undefined) {
      id = tokens.push(joined) - 1;
      ids.set(joined, id);
    }
    for (const word of words) word.symbols = mergePair(word.symbols, left, right, id);
  }
}

/**
 * The vocabulary as the two files of a Hugging Face tokenizer, ready for JSON.
 *
 * @param added Special tokens, with the ids after the vocabulary's. The first ends and pads a sequence.
 */
export function toTokenizerFiles(
  { tokens, merges }: BpeVocabulary,
  added: readonly string[],
): { readonly tokenizer: object; readonly config: object } {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added.map((content, i) => ({ id: tokens.length + i, content, ...flags })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges,
      },
    },
    config: {
      added_tokens_decoder: Object.fromEntries(added.map((content, i) => [tokens.length + i, { content, ...flags }])),
      add_prefix_space: false,
      additional_special_tokens: added.slice(1),
      bos_token: null,
      clean_up_tokenization_spaces: false,
      eos_token: added[0],
      pad_token: added[0],
      unk_token: null,
      tokenizer_class: 'PreTrainedTokenizerFast',
    },
  };
}

/** The text's UTF-8 bytes in GPT-2's alphabet: ` Ada` becomes `ĠAda`. */
export const toByteText = (text: string): string => Array.from(new TextEncoder().encode(text), (byte) => BYTE_ALPHABET[byte]).join('');

/** Printable Latin-1 stands for itself; the other bytes are U+0100 and up, in order. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let other = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : other++));
}

interface Word {
  symbols: number[];
  readonly count: number;
}

function mostFrequentPair(words: readonly Word[]): [number, number] | null {
  const counts = new Map<number, number>();
  for (const { symbols, count } of words) {
    for (let i = 1; i < symbols.length; i++) {
      const pair = symbols[i - 1] * 0x10000 + symbols[i];
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best = -1;
  let bestCount = 0;
  for (const [pair, count] of counts) {
    if (count > bestCount || (count === bestCount && pair < best)) [best, bestCount] = [pair, count];
  }
  return best < 0 ? null : [Math.floor(best / 0x10000), best % 0x10000];
}

function mergePair(symbols: readonly number[], left: number, right: number, id: number): number[] {
  const merged: number[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) {
      merged.push(id);
      i++;
    } else {
      merged.push(symbols[i]);
    }
  }
  return merged;
}
