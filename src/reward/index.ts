/**
 * The reward: exact match of the answer, 1 or 0, and nothing else; F1 beside it for the evaluation.
 *
 * @module
 */
export { coverMatch, exactMatch } from './exact-match.js';
export { extractAnswer, extractAnswerSearchR1 } from './extract-answer.js';
export { type F1Options, type F1Rule, f1 } from './f1.js';
export { normalizeAnswer } from './normalize.js';
