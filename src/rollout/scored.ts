import { checkObject } from '../arguments.js';
import type { Scored } from '../engines/engine.js';
import type { Trajectory } from './trajectory.js';

/**
 * A trajectory as a loss sees it: prompt and completion in one sequence, of which only the policy's own tokens are scored; passages and feedback are masked
 * out.
 *
 * @returns `tokens`, prompt first, and `scored`, the ascending positions in `tokens` of the policy's own
 * @throws TypeError for what is no trajectory
 *
 * @example
 * ```ts
 * import { ownTokens } from 'search-e1/rollout';
 *
 * const question = { id: 'q', dataset: 'mine', question: 'who ?', goldenAnswers: ['Ada Stone'] };
 * const written = { tokens: [20, 21, 30, 22], own: [true, true, false, true], logProbs: [-0.1, -0.2, 0, -0.3] };
 * const outcome = { turns: [], searches: 1, answer: null, finish: 'turns', reward: 0 } as const;
 * ownTokens({ question, prompt: [10, 11], ...written, ...outcome }); // { tokens: [ 10, 11, 20, 21, 30, 22 ], scored: [ 2, 3, 5 ] }
 * ```
 */
export function ownTokens(trajectory: Trajectory): Scored {
  checkObject('ownTokens', 'what was given', trajectory, ['prompt', 'tokens', 'own']);
  const { prompt, tokens, own } = trajectory;
  return { tokens: [...prompt, ...tokens], scored: tokens.flatMap((_, t) => (own[t] ? [prompt.length + t] : [])) };
}
