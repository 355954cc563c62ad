import type { Scored } from '../engines/engine.js';
import type { Trajectory } from './trajectory.js';

/** A trajectory as a loss sees it: prompt and completion in one sequence, of which only the policy's own tokens are scored. */
export function ownTokens({ prompt, tokens, own }: Trajectory): Scored {
  return { tokens: [...prompt, ...tokens], scored: tokens.flatMap((_, t) => (own[t] ? [prompt.length + t] : [])) };
}
