/**
 * The words of the conversation: how a question is put, how passages are shown, what an invalid action is told.
 *
 * Search-R1's shape: the policy writes `<think>`, `<search> query </search>` or `<answer> text </answer>`, the environment answers a search with
 * `<information>`. A protocol is text alone; the loop that speaks it is `rollout.ts`. Its own words may hold control tokens; questions, passages and
 * references are put in as text that cannot (`marked-text.ts`), as they come from outside.
 */
import { MarkedText, marked } from '../policy/marked-text.js';
import type { Passage } from '../search/passage.js';

/**
 * How policy and environment talk: the prompts, what follows an action, and the lengths. `classroomProtocol` and `searchR1Protocol` are two; spread one to
 * change it: `{ ...classroomProtocol, maxTurns: 2 }`. Lengths are in tokens.
 */
export interface Protocol {
  /** Such as `classroom` or `search-r1`. */
  readonly name: string;
  /** Searches (and invalid actions) before the closing turn. Paper and Search-R1: 4. */
  readonly maxTurns: number;
  /** Passages shown per search. Search-R1: 3; classroom: 1. */
  readonly passagesPerSearch: number;
  /** Own tokens a turn may have. Search-R1: 500. */
  readonly maxTurnTokens: number;
  /** Tokens of an observation before it is cut. Search-R1: 500. */
  readonly maxObservationTokens: number;
  /** Tokens of a prompt, the last ones, that are kept; default all. Search-R1: 2048. */
  readonly maxPromptTokens?: number;
  /** Tokens of prompt and episode, the last ones, that a turn begins with; default all. Search-R1: 4096. */
  readonly maxContextTokens?: number;
  /** Tokens after the prompt, own and retrieved, at which an episode ends. Search-R1: 4096; classroom: 400. */
  readonly maxTokens: number;
  /** Where sampled, not greedy, the likeliest tokens that hold this probability together; default 1, all of them. Search-R1: 0.95. */
  readonly topP?: number;
  /** The standard prompt. A string is taken for the protocol's own words throughout: what comes from outside is to be marked. */
  prompt(question: string): string | MarkedText;
  /**
   * The privileged prompt: the same, with a reference attempt shown (the teacher's view). Tags of the reference's own are marked as such where they are
   * tokens.
   */
  privilegedPrompt(question: string, reference: string | MarkedText): string | MarkedText;
  /** What follows a search. */
  observation(passages: readonly Passage[]): string | MarkedText;
  /** What follows a search that failed (`SearchError`); default `SEARCH_FAILED`. What the server said is not shown: it is no passage. */
  readonly failedSearch?: string;
  /** What follows an action that is neither a search nor an answer. */
  readonly invalidFeedback: string;
  /** What a turn's own text asks for. */
  parseAction(ownText: string): Action;
  /** Whether a turn is over once its own text is this, or ends with this; default: at the first closing search or answer tag. */
  readonly endsTurn?: (ownText: string) => boolean;
  /**
   * What of a turn's text is kept. Given, a turn is read without special tokens, and what is kept of it is tokenised again, as Search-R1 does; default: the
   * tokens that were sampled stay as they are.
   */
  readonly keptText?: (ownText: string) => string;
  /** Tags that a policy writes as single tokens: in a reference they are shown as these. Default: none, a reference is text alone. */
  readonly ownTags?: readonly string[];
  /**
   * Search-R1's answer, read off the texts of the prompt and of all that came after; its exact match stands beside the reward as `Trajectory.searchR1Score`.
   */
  readonly searchR1Answer?: (prompt: string, episode: string) => string | null;
}

export const SEARCH_FAILED = '<information> search failed</information>';

/** What a turn's own text asks for: a search (`content` is the query), an answer (`content` is its text), or neither, and why. */
export type Action =
  | { readonly kind: 'search'; readonly content: string }
  | { readonly kind: 'answer'; readonly content: string }
  | { readonly kind: 'invalid'; readonly reason: string };

const TAG = /<(search|answer)>([\s\S]*?)<\/\1>/;

/**
 * Reads what a turn asks for: its first complete `<search>` or `<answer>`, white space around the content removed. An empty one is invalid, as is text
 * without one (ours: Search-R1 lets an empty search pass, see `searchR1Protocol`).
 *
 * @param ownText what the policy wrote in this turn
 *
 * @example
 * ```ts
 * import { parseAction } from 'search-e1/rollout';
 *
 * parseAction('<think> who? </think><search> Amber Falcon author </search>'); // { kind: 'search', content: 'Amber Falcon author' }
 * parseAction('<answer> </answer>'); // { kind: 'invalid', reason: 'empty <answer>' }
 * ```
 */
export function parseAction(ownText: string): Action {
  const match = TAG.exec(ownText);
  if (!match)
    return {
      kind: 'invalid',
      reason: /<\/(search|answer)>/.test(ownText) ? 'closing tag without its opening tag' : 'no search and no answer',
    };
  const content = match[2].trim();
  if (content === '') return { kind: 'invalid', reason: `empty <${match[1]}>` };
  return { kind: match[1] as 'search' | 'answer', content };
}

/** True as soon as a turn's own text holds a closing search or answer tag: the turn ends there. */
export const endsTurn = (ownText: string): boolean => /<\/(search|answer)>/.test(ownText);

/**
 * The classroom protocol: the same tags, one token each in Tinypedia's tokenizer, without the instructions that a real language model needs.
 *
 *     <question> who is the mother of the author of Amber Falcon ?</question>
 *     <think> the author of Amber Falcon</think><search> Amber Falcon author</search>
 *     <information> Amber Falcon : a book . author Ada Stone . publisher Red Mill Press .</information>
 *     <think> Ada Stone . next the mother of Ada Stone</think><search> Ada Stone mother</search> ...
 *     <think> Eva Lind . done</think><answer> Eva Lind</answer>
 *
 * 4 searches and a closing turn, 1 passage a search, 48 own tokens a turn, 64 an observation, 400 after the prompt. Its words are ours.
 */
export const classroomProtocol: Protocol = {
  name: 'classroom',
  maxTurns: 4,
  passagesPerSearch: 1,
  maxTurnTokens: 48,
  maxObservationTokens: 64,
  maxTokens: 400,
  prompt: (question) => marked`<question> ${question}</question>`,
  privilegedPrompt: (question, reference) => marked`<question> ${question}</question><reference>${enclosed(reference)}</reference>`,
  observation: (passages) =>
    passages.length
      ? marked`<information>${passages.map((p) => ` ${p.title} : ${p.text}`).join('')}</information>`
      : '<information> nothing found</information>',
  invalidFeedback: '<information> invalid action</information>',
  parseAction,
  ownTags: ['<think>', '</think>', '<search>', '</search>', '<answer>', '</answer>'],
};

/** A text as it may stand within reference tags: tags of that name in it are escaped, so that none closes the reference, or opens another, early. */
export function enclosed(text: string | MarkedText): MarkedText {
  const pieces = typeof text === 'string' ? [{ text, plain: true }] : text.pieces;
  return new MarkedText(pieces.map((piece) => ({ ...piece, text: piece.text.replace(/<(?=\s*\/?\s*reference\s*>)/gi, '&lt;') })));
}
