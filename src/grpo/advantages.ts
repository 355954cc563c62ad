/**
 * Group-relative advantages: how much better an attempt was than its siblings.
 *
 *     A_i = (r_i - mean(r)) / (std(r) + epsilon)
 *
 * with the n - 1 standard deviation (torch's default, as Search-R1 and TRL compute it). Search-R1 adds 1e-6, TRL 1e-4.
 */

/** Advantages of one group's rewards; all 0 where the rewards are equal. */
export function groupAdvantages(rewards: readonly number[], epsilon = 1e-6): number[] {
  if (rewards.length < 2) throw new RangeError(`a group needs at least 2 rewards to compare, got ${rewards.length}`);
  if (rewards.every((r) => r === rewards[0])) return rewards.map(() => 0); // exactly, whatever rounding would leave of the mean
  const mean = rewards.reduce((sum, r) => sum + r, 0) / rewards.length;
  const variance = rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0) / (rewards.length - 1);
  return rewards.map((r) => (r - mean) / (Math.sqrt(variance) + epsilon));
}
