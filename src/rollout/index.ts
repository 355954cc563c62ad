/**
 * Episodes: the policy writes and searches, the environment answers; every token is own or retrieved.
 *
 * @module
 */
export { type Action, classroomProtocol, type Protocol, parseAction } from './protocol.js';
export type { Question } from './question.js';
export { type Environment, type RolloutOptions, rollout, rolloutGroups } from './rollout.js';
export { ownTokens } from './scored.js';
export { searchR1Protocol } from './search-r1.js';
export type { Group, Trajectory, Turn, TurnContent } from './trajectory.js';
