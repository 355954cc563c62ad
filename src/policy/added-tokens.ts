/**
 * Where the added tokens of a tokenizer stand in a text, as Hugging Face's `tokenizers` 0.23 finds them (`added_vocabulary.rs`): the leftmost, of these the longest;
 * `single_word` ones only between what are no letters of a word; with the white space to their left (`lstrip`) and right (`rstrip`), which is lost.
 *
 * What differs: only stretches of the text that may hold control tokens are searched, so that none is recognised in text from outside, or partly in it.
 */
import { SPACE, WORD } from './unicode.js';

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  /** Whether it is looked for after normalisation; default where it is not special. */
  readonly normalized?: boolean;
}

/** Half open, in UTF-16 units. */
export type Stretch = readonly [start: number, end: number];

/** An added token, or a stretch of the text between two. */
export type Section = { readonly id: number } | { readonly stretch: Stretch };

/** Cuts a text at the added tokens that lie wholly in one of the `allowed` stretches. */
export type Cut = (text: string, allowed: readonly Stretch[]) => Section[];

interface Node {
  readonly next: Map<number, Node>;
  token: AddedToken | null;
}

/** The cut for some tokens; `contentOf` is what of a token is looked for. */
export function cutAt(tokens: readonly AddedToken[], contentOf: (token: AddedToken) => string = ({ content }) => content): Cut {
  const root: Node = { next: new Map(), token: null };
  for (const token of tokens) {
    const content = contentOf(token);
    if (content === '') continue;
    let node = root;
    for (let i = 0; i < content.length; i++) {
      const unit = content.charCodeAt(i);
      const next: Node = node.next.get(unit) ?? { next: new Map(), token: null };
      node.next.set(unit, next);
      node = next;
    }
    node.token ??= token;
  }
  return (text, allowed) => {
    const sections: Section[] = [];
    let done = 0;
    for (const [from, to] of allowed) {
      let at = from;
      while (at < to) {
        const found = longest(root, text, at, to);
        if (!found) {
          at++;
          continue;
        }
        const { token, end } = found;
        const begin = at;
        at = end;
        if (token.single_word && (ENDS_WITH_WORD.test(text.slice(0, begin)) || STARTS_WITH_WORD.test(text.slice(end)))) continue;
        const start = token.lstrip ? Math.max(leftOfSpace(text, begin), done) : begin;
        if (start > done) sections.push({ stretch: [done, start] });
        sections.push({ id: token.id });
        done = token.rstrip ? rightOfSpace(text, end) : end;
      }
    }
    if (done < text.length) sections.push({ stretch: [done, text.length] });
    return sections;
  };
}

function longest(root: Node, text: string, at: number, to: number): { readonly token: AddedToken; readonly end: number } | null {
  let found: { readonly token: AddedToken; readonly end: number } | null = null;
  let node: Node | undefined = root;
  for (let i = at; i < to; i++) {
    node = node.next.get(text.charCodeAt(i));
    if (!node) break;
    if (node.token) found = { token: node.token, end: i + 1 };
  }
  return found;
}

const ENDS_WITH_WORD = new RegExp(`[${WORD}]$`, 'u');
const STARTS_WITH_WORD = new RegExp(`^[${WORD}]`, 'u');
const IS_SPACE = new RegExp(`[${SPACE}]`);

function leftOfSpace(text: string, start: number): number {
  while (start > 0 && IS_SPACE.test(text[start - 1])) start--;
  return start;
}

function rightOfSpace(text: string, end: number): number {
  while (end < text.length && IS_SPACE.test(text[end])) end++;
  return end;
}
