import type { DistributionLoss, Paired } from '../engines/engine.js';
import { forwardKl } from '../tensors/forward-kl.js';

/**
 * The OFSD loss of one token: KL(teacher || student) over the whole vocabulary, each entry's contribution cut from above before the sum.
 *
 *     sum_v min(p_T(v) (log p_T(v) - log p_S(v)), clamp)
 *
 * OPSD v3's pointwise clip (0.05 there; the paper names a per-vocabulary clip and no value). The sum may be negative. Too low a clamp drops the gradient of the very entry
 * that the teacher prefers most: `kl_unclamped` beside a falling loss tells. Infinity switches it off.
 */
export function forwardKlLoss(data: readonly Paired[], { clamp }: { readonly clamp: number }): DistributionLoss {
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
