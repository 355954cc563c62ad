/**
 * What an episode leaves behind. Token in, token out: `tokens` holds exactly what was sampled and what was shown, never re-tokenised text, but under a
 * protocol that asks for it, as Search-R1's does.
 */
import type { ScoredPassage } from '../search/passage.js';
import type { Question } from './question.js';

/** What a turn did: a search with the passages that came, an answer, or an invalid action and why. */
export type TurnContent =
  | {
      readonly kind: 'search';
      readonly query: string;
      readonly passages: readonly ScoredPassage[];
      /** Why no passages came, where the search failed; the policy was told that it did. */
      readonly failed?: string;
    }
  | { readonly kind: 'answer'; readonly answer: string }
  | { readonly kind: 'invalid'; readonly reason: string };

/** One action of the policy and the environment's reply. `start` and `end` index `Trajectory.tokens`: the policy's own tokens of the turn. */
export type Turn = { readonly start: number; readonly end: number } & TurnContent;

/**
 * One episode. Token in, token out: `tokens` holds exactly what was sampled and what was shown, never re-tokenised text, but under a protocol that asks for it
 * (`searchR1Protocol`).
 */
export interface Trajectory {
  /** What was asked. */
  readonly question: Question;
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Token ids after the prompt: the policy's own, and those the environment put in. */
  readonly tokens: readonly number[];
  /** True where the policy wrote the token; false for passages and feedback, which no loss may see. Same length as `tokens`. */
  readonly own: readonly boolean[];
  /**
   * log p of each own token when it was sampled, in nats, at the sampling temperature; 0 where not own. Same length as `tokens`. Where a protocol rewrites
   * turns, tokens that were not sampled as they stand here have that of the whole sequence, and NaN in greedy episodes, which nothing is trained on.
   */
  readonly logProbs: readonly number[];
  /** In order; the last is the one that ended it. */
  readonly turns: readonly Turn[];
  /** Searches that were asked for and put to the searcher. */
  readonly searches: number;
  /** Of these, those that failed; absent where it is not known. */
  readonly failedSearches?: number;
  /** Text of the answer that ended it, of several in that turn the last, from own text that was kept whole; null where there was none. */
  readonly answer: string | null;
  /** Why it ended: an answer, the closing turn spent without one, the token limit, or an end-of-sequence token in the closing turn. */
  readonly finish: 'answer' | 'turns' | 'length' | 'end';
  /** Exact match of the answer with the question's gold answers, 1 or 0: the only reward. */
  readonly reward: number;
  /**
   * Exact match as Search-R1 scores, off the whole text with its prompt and passages: for comparison with its numbers, never a reward. Under its protocol
   * alone.
   */
  readonly searchR1Score?: number;
}

/** The attempts at one question: what GRPO compares and what siblings are chosen from. */
export interface Group {
  /** What all of them were asked. */
  readonly question: Question;
  /** Its attempts: siblings. */
  readonly trajectories: readonly Trajectory[];
}
