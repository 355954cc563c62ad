/**
 * Checkpointed activations (Chen et al., 2016; PyTorch's `torch.utils.checkpoint`): of a part of a network only its input is kept, and the backward pass
 * computes the part again to get at what is in between. A third more computation; the memory of one part instead of all.
 *
 * The same operations run on the same numbers, so the gradients are the same.
 */
import * as tf from '@tensorflow/tfjs-core';
import { isRecording } from './dispatch.js';
import { valueAndGradients } from './gradients.js';

export interface CheckpointedReads<C> {
  /** What `f` is handed after its input, and must not take from around itself: there it may be gone by the time that `f` runs again. */
  readonly constants: C;
  /** Variables that `f` reads and that are trained: they get gradients, others do not. */
  readonly trained: readonly tf.Tensor[];
}

/** `f(x, constants)`. Where a gradient is being taken, `f` runs a second time for it, so it must have no effect besides its value. */
export function checkpointed<T extends tf.Tensor, C extends { readonly [name in keyof C]?: tf.Tensor }>(
  f: (x: T, constants: C) => T,
  x: T,
  { constants, trained }: CheckpointedReads<C>,
): T {
  if (!isRecording()) return f(x, constants);
  const given = Object.entries<tf.Tensor | undefined>(constants).flatMap(([name, tensor]) => (tensor ? [{ name, tensor }] : []));
  const twice = tf.customGrad((...args) => {
    const [x, save] = [args[0] as T, args[args.length - 1] as tf.GradSaveFunc];
    save([x, ...given.map(({ tensor }) => tensor)]);
    return {
      value: f(x, constants),
      gradFunc: (dy: tf.Tensor, [x, ...saved]: tf.Tensor[]) => {
        const inputs = [x, ...trained];
        const constants = Object.fromEntries(given.map(({ name }, i) => [name, saved[i]])) as unknown as C;
        const { gradients } = valueAndGradients(() => f(x as T, constants), inputs, dy);
        return gradients.map((gradient, i) => gradient ?? tf.zerosLike(inputs[i]));
      },
    };
  });
  return twice(x, ...trained) as T;
}
