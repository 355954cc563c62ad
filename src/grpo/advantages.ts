/** Group-relative advantages: how much better an attempt was than its siblings. After Search-R1, with TRL's and Dr. GRPO's (2503.20783) variants. */

import { assertFinite } from '../non-finite.js';
import { checkChoice, checkNumber, shown } from '../number-setting.js';

/** How rewards become advantages. Left out, Search-R1's. */
export interface AdvantageSettings {
  /** Divided by: the deviation with n - 1 (`sample`), with n (`population`), or nothing. Default `sample`. */
  readonly deviation?: 'sample' | 'population' | 'none';
  /** Whose rewards the deviation is of: the group's or all of the step's. The mean is the group's in either. Default `group`. */
  readonly deviationOver?: 'group' | 'batch';
  /** Added to the deviation. Default 1e-6 (Search-R1); TRL: 1e-4. */
  readonly deviationEpsilon?: number;
}

/**
 * Advantages of one group's rewards: how much better an attempt was than its siblings.
 *
 *     A_i = (r_i - mean(r)) / (std(r) + epsilon)
 *
 * with the n - 1 deviation and an epsilon of 1e-6 by default (Search-R1; TRL: 1e-4). Equal rewards give exactly 0: such a group has nothing to compare.
 * `deviation: 'none'` leaves the division out (Dr. GRPO, 2503.20783).
 *
 * @param rewards one an attempt, at least 2
 * @returns one an attempt, in the same order
 * @throws RangeError for fewer than 2 rewards, and an epsilon below 0
 * @throws TypeError for a reward that is no number, and settings that there are not
 * @throws NonFiniteError for a reward that is NaN or infinite
 *
 * @example
 * ```ts
 * import { groupAdvantages } from 'search-e1/grpo';
 *
 * groupAdvantages([1, 0, 0, 0]); // [ 1.49…, -0.49…, -0.49…, -0.49… ]
 * groupAdvantages([1, 1, 1, 1]); // [ 0, 0, 0, 0 ]
 * groupAdvantages([1, 0, 0, 0], { deviation: 'none' }); // [ 0.75, -0.25, -0.25, -0.25 ]
 * ```
 */
export function groupAdvantages(rewards: readonly number[], settings: Omit<AdvantageSettings, 'deviationOver'> = {}): number[] {
  return stepAdvantages([rewards], settings)[0];
}

/**
 * Advantages of all groups of a step, in their order; all 0 in a group whose rewards are equal.
 *
 *     A_i = (r_i - mean(r)) / (std + epsilon)
 *
 * where r is the attempt's group, and std is that group's deviation or, with `deviationOver: 'batch'`, the one of all rewards given (TRL's `scale_rewards`).
 *
 * @param groups the rewards of each group, at least 2 a group
 * @throws NonFiniteError for a reward that is NaN or infinite
 * @throws RangeError for a group of fewer than 2, and an epsilon below 0
 * @throws TypeError for a reward that is no number, and settings that there are not
 *
 * @example
 * ```ts
 * import { stepAdvantages } from 'search-e1/grpo';
 *
 * stepAdvantages([[1, 0], [0, 0]]); // [ [ 0.70…, -0.70… ], [ 0, 0 ] ]
 * stepAdvantages([[1, 0], [0, 0]], { deviationOver: 'batch' }); // [ [ 0.99…, -0.99… ], [ 0, 0 ] ]
 * ```
 */
export function stepAdvantages(groups: readonly (readonly number[])[], settings: AdvantageSettings = {}): number[][] {
  checkAdvantageSettings(settings);
  const { deviation = 'sample', deviationOver = 'group', deviationEpsilon = 1e-6 } = settings;
  groups.forEach((rewards, g) => {
    if (!Array.isArray(rewards)) throw new TypeError(`rewards of group ${g}: expected an array, got ${shown(rewards)}`);
    rewards.forEach((reward: unknown, i) => {
      if (typeof reward !== 'number') throw new TypeError(`rewards of group ${g}: element ${i} is ${shown(reward)}, expected a number`); // '1' would be joined, not added
    });
    if (rewards.length < 2) throw new RangeError(`a group needs at least 2 rewards to compare, got ${rewards.length}`);
    assertFinite(`rewards of group ${g}`, rewards);
  });
  const ofAll = deviationOver === 'batch' ? deviationOf(groups.flat(), deviation) : undefined;
  return groups.map((rewards) => {
    if (rewards.every((r) => r === rewards[0])) return rewards.map(() => 0); // exactly, whatever rounding would leave of the mean
    const mean = meanOf(rewards);
    if (deviation === 'none') return rewards.map((r) => r - mean);
    const by = (ofAll ?? deviationOf(rewards, deviation)) + deviationEpsilon;
    return rewards.map((r) => (r - mean) / by);
  });
}

/** @throws TypeError, RangeError naming the setting */
export function checkAdvantageSettings({ deviation = 'sample', deviationOver = 'group', deviationEpsilon = 0 }: AdvantageSettings): void {
  checkChoice('deviation', deviation, ['sample', 'population', 'none']);
  checkChoice('deviationOver', deviationOver, ['group', 'batch']);
  checkNumber('deviationEpsilon', deviationEpsilon, { min: 0 });
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

function deviationOf(values: readonly number[], kind: AdvantageSettings['deviation']): number {
  const mean = meanOf(values);
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return Math.sqrt(squares / (kind === 'sample' ? values.length - 1 : values.length));
}
