/**
 * Where a slice begins and ends. TensorFlow.js checks the end alone: what begins before the tensor would be read from beside it on a card, and be a tensor
 * without its numbers in plain JavaScript.
 */
import * as tf from '@tensorflow/tfjs-core';

/**
 * Of the attributes of a `Slice`, -1 of a length being the rest.
 *
 * @returns where it begins, and how long it is, along each axis
 * @throws RangeError for what is not inside x
 */
export function checkedSlice(x: tf.TensorInfo, begin: number | number[], size: number | number[]): readonly [number[], number[]] {
  const [start, lengths] = tf.slice_util.parseSliceParams(x as tf.Tensor, begin, size);
  tf.slice_util.assertParamsValid(x as tf.Tensor, start, lengths);
  if (start.some((at) => !Number.isInteger(at) || at < 0) || lengths.some((length) => !Number.isInteger(length) || length < 0))
    throw new RangeError(`slice: from [${start}], [${lengths}] long, of [${x.shape}]: both should be integers from 0 on`);
  return [start, lengths];
}

const checked = new Set<string>();

/** Lets a backend whose own kernel does not look do so. */
export function checkSlices(backendName: string): void {
  if (checked.has(backendName)) return;
  const { kernelFunc } = tf.getKernel('Slice', backendName) as tf.KernelConfig;
  tf.unregisterKernel('Slice', backendName);
  tf.registerKernel({
    kernelName: 'Slice',
    backendName,
    kernelFunc(call) {
      const { begin, size } = call.attrs as unknown as { begin: number[]; size: number[] };
      checkedSlice(call.inputs.x as tf.TensorInfo, begin, size);
      return kernelFunc(call);
    },
  });
  checked.add(backendName);
}
