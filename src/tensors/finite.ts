/**
 * NaN and infinities, found before anything is built on them.
 *
 * A tensor is looked at through the sum of its squares, which is finite only where all of it is: one pass on the device, and one read for any number of
 * tensors. Numbers are read one by one only where that sum is not finite (the squares of finite numbers above 1e19 overflow too).
 */
import * as tf from '@tensorflow/tfjs-core';
import { assertFinite, type FiniteOptions, NonFiniteError } from '../non-finite.js';
import { hasKernel, runKernel } from './dispatch.js';
import { visibleBytes } from './filled.js';
import { type HalfFormat, halfFormat } from './half.js';

/** Index of the first number that is NaN or infinite among numbers as 16-bit files store them, -1 where there is none: those with all bits of the exponent set. */
export function firstNonFiniteHalf(bits: Uint16Array, format: HalfFormat): number {
  const exponent = format === 'BF16' ? 0x7f80 : 0x7c00;
  for (let i = 0; i < bits.length; i++) if ((bits[i] & exponent) === exponent) return i;
  return -1;
}

/** The value of a 16-bit number that is not finite. */
export function nonFiniteHalf(bits: number, format: HalfFormat): number {
  if (bits & (format === 'BF16' ? 0x7f : 0x3ff)) return Number.NaN;
  return bits & 0x8000 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/**
 * Any number of tensors with one read from the device; packed halves (`half.ts`) are looked at where they lie. Integers are finite.
 *
 * @param tensors by the names that the error uses
 * @throws NonFiniteError for the first tensor, in order of the names, with a number that is NaN or infinite
 */
export async function assertFiniteTensors(tensors: Readonly<Record<string, tf.Tensor>>, options: FiniteOptions = {}): Promise<void> {
  const floats = Object.entries(tensors).filter(([, { dtype, size }]) => dtype === 'float32' && size > 0);
  const suspects = new Set<string>();
  if (floats.length > 0) {
    const sums = tf.tidy(() => tf.stack(floats.map(([, tensor]) => sumOfSquares(tensor))));
    const values = await sums.data();
    sums.dispose();
    floats.forEach(([name], i) => {
      if (!Number.isFinite(values[i])) suspects.add(name);
    });
  }
  for (const [name, tensor] of Object.entries(tensors)) {
    const format = halfFormat(tensor);
    if (format) await assertFiniteHalves(name, tensor, format, options);
    else if (suspects.has(name)) assertFinite(name, await tensor.data(), options);
  }
}

async function assertFiniteHalves(what: string, packed: tf.Tensor, format: HalfFormat, { advice }: FiniteOptions): Promise<void> {
  const bytes = visibleBytes(packed) ?? (await packed.data());
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const index = firstNonFiniteHalf(bits, format);
  if (index >= 0) throw new NonFiniteError(what, nonFiniteHalf(bits[index], format), index, advice);
}

/** Sum of the squares of all elements; a scalar. Not finite where one of them is not. */
export const sumOfSquares = (x: tf.Tensor): tf.Scalar =>
  (hasKernel('SearchE1SumOfSquares') ? runKernel('SearchE1SumOfSquares', { x })[0] : tf.sum(tf.square(x))) as tf.Scalar;
