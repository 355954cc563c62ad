import type { DistributionLoss, Paired } from '../engines/engine.js';
import { forwardKl } from '../tensors/forward-kl.js';

/**
 * The OFSD loss, for `Engine.forwardBackward`: of every scored token KL(teacher || student) over the whole vocabulary, each entry's contribution cut from
 * above before the sum; then the mean over the tokens.
 *
 *     sum_v min(p_T(v) (log p_T(v) - log p_S(v)), clamp)
 *
 * OPSD v3's pointwise clip (0.05 there; the paper names a per-vocabulary clip and no value). The sum may be negative. Too low a clamp drops the gradient of
 * the very entry that the teacher prefers most: `kl_unclamped` beside a falling loss tells. Infinity switches it off. Its metric: `kl_unclamped`, the true KL
 * in nats.
 *
 * @param data what teacher and student read (`pairedSequences`); the teacher is the policy without its adapter
 * @param settings `clamp`: nats above 0, or Infinity. OPSD v3: 0.05; classroom: 2
 * @throws RangeError for a clamp that is not above 0
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, pairSiblings, rolloutGroups, tinypedia } from 'search-e1';
 * import { forwardKlLoss, pairedSequences } from 'search-e1/ofsd';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const { pairs } = pairSiblings(await rolloutGroups(engine, environment, train.slice(0, 4), 8, { seed: 1 }));
 * engine.addAdapter({ rank: 8, alpha: 8, seed: 1 });
 * const data = pairs.map((pair) => pairedSequences(engine, classroomProtocol, pair));
 * const { metrics } = await engine.forwardBackward(forwardKlLoss(data, { clamp: 2 }));
 * metrics.kl_unclamped > 0; // true
 * ```
 */
export function forwardKlLoss(data: readonly Paired[], { clamp }: { readonly clamp: number }): DistributionLoss {
  checkClamp(clamp, 'forwardKlLoss: clamp');
  return {
    name: 'forward_kl',
    reads: 'logits',
    data,
    perToken(teacherLogits, studentLogits) {
      const { perToken, unclamped } = forwardKl(teacherLogits, studentLogits, { clamp });
      return { loss: perToken, metrics: { kl_unclamped: unclamped } };
    },
  };
}

/** @throws RangeError naming it by `name` */
export function checkClamp(clamp: number, name: string): void {
  if (!(clamp > 0)) throw new RangeError(`${name}: expected nats above 0, or Infinity for none, got ${clamp}`);
}
