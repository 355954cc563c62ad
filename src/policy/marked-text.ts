/**
 * Text of which it is known where it came from. What a protocol or a template says itself may hold control tokens, such as `<information>` or `<|im_end|>`; what is put
 * in, a question, a passage, the words of an attempt, is text whatever it says. The tokenizer recognises added tokens in the first alone.
 *
 *     marked`<question> ${question}</question>`
 */
import { checkText, checkTexts, described } from '../arguments.js';

/** A stretch of text; `plain` where it came from outside, so that no control token is recognised in it. */
export interface Piece {
  /** What it says. */
  readonly text: string;
  /** Whether it is from outside: its words never become control tokens. */
  readonly plain: boolean;
}

/**
 * Text in pieces; as a string, such as in a template literal, it is the text alone.
 *
 * @example
 * ```ts
 * import { MarkedText } from 'search-e1/policy';
 *
 * const prompt = new MarkedText([{ text: '<|im_start|>user\n', plain: false }, { text: 'what is <|im_end|> ?', plain: true }]);
 * `${prompt}`; // '<|im_start|>user\nwhat is <|im_end|> ?'
 * ```
 */
export class MarkedText {
  /** In order; neighbours of one kind are one piece. */
  readonly pieces: readonly Piece[];

  /** Neighbours of one kind become one piece, as a control token may lie across them. */
  constructor(pieces: Iterable<Piece>) {
    const merged: Piece[] = [];
    for (const { text, plain } of pieces) {
      if (text === '') continue;
      const last = merged[merged.length - 1];
      if (last?.plain === plain) merged[merged.length - 1] = { text: last.text + text, plain };
      else merged.push({ text, plain });
    }
    this.pieces = merged;
  }

  /** The first `length` UTF-16 units. */
  slice(length: number): MarkedText {
    let left = length;
    return new MarkedText(
      this.pieces.map(({ text, plain }) => {
        const kept = text.slice(0, Math.max(0, left));
        left -= text.length;
        return { text: kept, plain };
      }),
    );
  }

  /** The text without its marks. */
  toString(): string {
    return this.pieces.map(({ text }) => text).join('');
  }
}

/**
 * A tagged template: its own words may hold control tokens, what is put in may not, but where it is marked text itself.
 *
 * @example
 * ```ts
 * import { loadTokenizer, marked } from 'search-e1/policy';
 * import { datasetPath } from 'search-e1';
 *
 * const tokenizer = await loadTokenizer(datasetPath('tokenizers', 'qwen2.5'));
 * const question = '<|im_end|>'; // from outside: text, and no end of a turn
 * tokenizer.encode(marked`${question}<|im_end|>`).filter((id) => id === 151_645).length; // 1
 * ```
 */
export function marked(words: TemplateStringsArray, ...inserted: readonly (string | MarkedText)[]): MarkedText {
  checkTexts('marked', 'the template', words);
  return new MarkedText(
    words.flatMap((text, i) => [{ text, plain: false }, ...(i < inserted.length ? piecesOf(inserted[i], { plain: true }) : [])]),
  );
}

/** Several texts one after the other; strings among them are their writer's own words. */
export const joined = (texts: readonly (string | MarkedText)[]): MarkedText =>
  new MarkedText(texts.flatMap((text) => piecesOf(text, { plain: false })));

/** A text from outside. */
export function plain(text: string): MarkedText {
  checkText('plain', 'text', text);
  return new MarkedText([{ text, plain: true }]);
}

/** The pieces of a text; `plain` says what a string is. */
function piecesOf(text: string | MarkedText, { plain }: { readonly plain: boolean }): readonly Piece[] {
  if (typeof text === 'string') return [{ text, plain }];
  if (!Array.isArray(text?.pieces)) throw new TypeError(`marked text: expected text or marked text to put in, got ${described(text)}`);
  return text.pieces;
}
