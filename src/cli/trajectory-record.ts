import type { Tokenizer } from '../policy/tokenizer.js';
import type { Trajectory } from '../rollout/trajectory.js';

/** A trajectory as JSON for others to read: text beside token ids; `reward` is null where no gold answer is known. */
export function trajectoryRecord({ question, turns, ...trajectory }: Trajectory, tokenizer: Tokenizer) {
  const { prompt, tokens, own, logProbs, searches, failedSearches, answer, finish, reward, searchR1Score } = trajectory;
  return {
    question: { id: question.id, dataset: question.dataset, question: question.question, golden_answers: question.goldenAnswers },
    answer,
    reward: question.goldenAnswers.length ? reward : null,
    ...(searchR1Score !== undefined && question.goldenAnswers.length > 0 && { search_r1_score: searchR1Score }),
    searches,
    failed_searches: failedSearches ?? 0,
    finish,
    turns: turns.map(({ start, end, ...turn }) => ({ ...turn, text: tokenizer.decode(tokens.slice(start, end)), start, end })),
    text: tokenizer.decode(tokens),
    prompt,
    tokens,
    own,
    log_probs: logProbs,
  };
}
