/** Text to token ids and back, over any Hugging Face `tokenizer.json`. */

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
