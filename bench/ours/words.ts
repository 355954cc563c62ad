/**
 * A tokenizer of numbered words, so that lengths are what the bench says: id 17 is ` w17`, in both directions.
 *
 * Three ids beyond the model's vocabulary are text that ends a turn. No model writes them: the bench tells them to the environment at the place where a
 * turn has to end, instead of what was drawn there.
 */
import { inProcessEngine, loadPolicy } from 'search-e1';
import type { InProcessEngine } from 'search-e1/engines';
import type { Tokenizer } from 'search-e1/policy';

export const SEARCH = 1_000_000;
export const RIGHT = 1_000_001;
export const WRONG = 1_000_002;
const TAGS: ReadonlyMap<number, string> = new Map([
  [SEARCH, ' <search> w1 w2</search>'],
  [RIGHT, ' <answer> yes</answer>'],
  [WRONG, ' <answer> no</answer>'],
]);

export const text = (ids: readonly number[]): string => ids.map((id) => TAGS.get(id) ?? ` w${id}`).join('');

export const wordTokenizer: Tokenizer = {
  size: SEARCH,
  endIds: [],
  padId: 0,
  encode: (words) =>
    `${words}`
      .trim()
      .split(/\s+/)
      .map((word) => {
        if (!/^w\d+$/.test(word)) throw new Error(`expected numbered words such as w17, got ${word}`);
        return Number(word.slice(1));
      }),
  decode: text,
  stream: () => ({ push: (id) => text([id]), end: () => '' }),
};

export const openEngine = async (folder: string): Promise<InProcessEngine> => inProcessEngine(await loadPolicy(folder), wordTokenizer);
