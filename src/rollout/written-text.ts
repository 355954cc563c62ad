import { MarkedText, type Piece, plain } from '../policy/marked-text.js';
import type { Tokenizer } from '../policy/tokenizer.js';

/**
 * What a policy wrote, in which added tokens are told from the same words typed in letters: encoded again, each is what it was.
 *
 * @param skipSpecialTokens leaves out ends, padding and turns, as `decode` does
 */
export function writtenText(tokenizer: Tokenizer, ids: readonly number[], { skipSpecialTokens = false } = {}): MarkedText {
  const pieces: Piece[] = [];
  let letters: number[] = [];
  const flush = () => {
    if (letters.length > 0) pieces.push({ text: tokenizer.decode(letters), plain: true });
    letters = [];
  };
  for (const id of ids) {
    const text = tokenizer.decode([id], { skipSpecialTokens });
    if (text === '') continue;
    if (!isAdded(tokenizer, id)) letters.push(id);
    else {
      flush();
      pieces.push({ text, plain: false });
    }
  }
  flush();
  return new MarkedText(pieces);
}

const known = new WeakMap<Tokenizer, Map<number, boolean>>();

/** Whether a token is one that is only ever written as such: its text gives it back, but not where the text is from outside. */
function isAdded(tokenizer: Tokenizer, id: number): boolean {
  const added = known.get(tokenizer) ?? new Map<number, boolean>();
  known.set(tokenizer, added);
  let answer = added.get(id);
  if (answer === undefined) {
    const text = tokenizer.decode([id]);
    const is = (ids: readonly number[]) => ids.length === 1 && ids[0] === id;
    answer = is(tokenizer.encode(text)) && !is(tokenizer.encode(plain(text)));
    added.set(id, answer);
  }
  return answer;
}
