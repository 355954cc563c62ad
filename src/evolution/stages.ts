/**
 * The stages of a run, and the seed of every draw in it: the one place that names them.
 *
 *     0-base, 1-grpo, 1-ofsd, 2-grpo, 2-ofsd, ...
 *
 * A stage's draws are named by the run's seed and the stage, so that "seed 1" is one run whoever runs it: `evolve`, `study`, or a notebook that calls the
 * stages one by one.
 */
import { checkNumber } from '../number-setting.js';
import { random } from '../random.js';

/** A part of a run that ends with a checkpoint: the base policy, a round's GRPO, a round's distillation. */
export interface Stage {
  /** `1-grpo`; also the folder of its checkpoint. */
  readonly name: string;
  /** What is done in it; nothing in `base`, which is only evaluated. */
  readonly kind: 'base' | 'grpo' | 'ofsd';
  /** From 1; 0 for the base policy. */
  readonly round: number;
}

/** The policy that a run begins with. */
export const BASE_STAGE: Stage = { name: '0-base', kind: 'base', round: 0 };

/**
 * All stages of a run of so many rounds, in order, the base policy first.
 *
 * @throws TypeError, RangeError for anything but a whole number from 0
 *
 * @example
 * ```ts
 * import { stagesOf } from 'search-e1/evolution';
 *
 * stagesOf(2).map(({ name }) => name); // [ '0-base', '1-grpo', '1-ofsd', '2-grpo', '2-ofsd' ]
 * ```
 */
export function stagesOf(rounds: number): Stage[] {
  checkNumber('stagesOf: rounds', rounds, { integer: true, min: 0 });
  const kinds = ['grpo', 'ofsd'] as const;
  const trained = Array.from({ length: rounds }, (_, i) => kinds.map((kind): Stage => ({ name: `${i + 1}-${kind}`, kind, round: i + 1 })));
  return [BASE_STAGE, ...trained.flat()];
}

/** The checkpoint's folder after a step within a stage. */
export const stepCheckpoint = (stage: string, step: number): string => `${stage}-step-${step}`;

/** Whether a folder's name is that of a stage's or a step's checkpoint. */
export const isCheckpointName = (name: string): boolean => /^\d+-(base|grpo|ofsd)(-step-\d+)?$/.test(name);

/** What is drawn in a round: GRPO's questions, rollouts and mini-batches; the pairs' questions, attempts and teacher check; the adapter and its batches. */
export type Drawn = 'evaluation' | `${number}-grpo` | `${number}-pairs` | `${number}-ofsd`;

/**
 * The seed of a part of a run, from the seed of the run.
 *
 *     grpo(…, { ...classroomGrpo, seed: stageSeed(1, '1-grpo') })
 *     makePairs(…, { seed: stageSeed(1, '1-pairs') })
 *     ofsd(…, { ...classroomOfsd, seed: stageSeed(1, '1-ofsd') })
 *     evaluateBoth(…, { seed: stageSeed(1, 'evaluation') })
 *
 * are round one of `evolve` with seed 1. Evaluations of one run share a seed, so that two policies are compared on the same draws.
 *
 * @returns an integer in [0, 2^31)
 * @throws RangeError for a seed that is no integer from 0 to 2^53 - 1, and for a name that is none of those above
 *
 * @example
 * ```ts
 * import { stageSeed } from 'search-e1/evolution';
 *
 * stageSeed(1, '1-grpo') === stageSeed(1, '1-grpo'); // true
 * stageSeed(1, '1-grpo') === stageSeed(1, '2-grpo'); // false
 * ```
 */
export function stageSeed(seed: number, drawn: Drawn): number {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(`seed: expected an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${seed}`);
  if (!/^(evaluation|[1-9]\d*-(grpo|pairs|ofsd))$/.test(drawn))
    throw new RangeError(`stageSeed: expected 'evaluation', '1-grpo', '1-pairs', '1-ofsd' or the same of another round, got '${drawn}'`);
  return random(seed, 'stage', drawn).integer(2 ** 31);
}
