/**
 * The sizes and weights of a decoder as kernels/decode.cc reads them, one behind the other in one tensor: each matrix turned and in panels of some columns, so that
 * a product reads it in the order in which it lies.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { DecoderSizes } from '../decode-tokens.js';

type Inputs = Readonly<Record<string, tf.TensorInfo | undefined>>;

/** Floats of a vector, and columns of a panel, as in kernels/lanes.h and decode.cc; zeros fill the last one. */
const LANES = 16;
const PANEL = 64;

/** The sizes as the kernel takes them, before the weights. */
const settingsOf = ({ layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, scale, epsilon }: DecoderSizes): tf.Tensor1D =>
  tf.tensor1d([layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, scale, epsilon]);

export function packedWeights(inputs: Inputs, sizes: DecoderSizes): tf.Tensor {
  const { layers, width, inner, heads, kvHeads, headDim, rank } = sizes;
  const [qWidth, kWidth] = [heads * headDim, kvHeads * headDim];
  const parts: tf.Tensor1D[] = [];
  const padding = (n: number, whole: number) => Math.ceil(n / whole) * whole - n;
  /** Zeros where a part is absent: layers without a bias or an adapter. */
  const put = (name: string, shape: readonly number[]) => {
    const part = (inputs[name] as tf.Tensor | undefined) ?? tf.zeros([...shape]);
    const [n, k] = shape;
    if (k === undefined) parts.push(tf.pad1d(part as tf.Tensor1D, [0, padding(n, LANES)]));
    else {
      const filled = tf.concat([part, tf.zeros([padding(n, PANEL), k])]);
      const whole = tf.reshape(filled, [-1, PANEL, k]); // [panels, 64, k]
      parts.push(tf.reshape(tf.transpose(whole, [0, 2, 1]), [-1])); // [panels, k, 64]
    }
  };
  return tf.tidy(() => {
    const settings = settingsOf(sizes);
    parts.push(tf.pad1d(settings, [0, padding(settings.size, LANES)]));
    put('norm', [width]);
    put('head', [sizes.vocabulary, width]);
    for (let i = 0; i < layers; i++) {
      put(`${i}.inputNorm`, [width]);
      put(`${i}.postNorm`, [width]);
      const linears = { q: [qWidth, width], k: [kWidth, width], v: [kWidth, width], o: [width, qWidth] };
      for (const [name, [out, k]] of Object.entries({ ...linears, gate: [inner, width], up: [inner, width], down: [width, inner] })) {
        put(`${i}.${name}.weight`, [out, k]);
        put(`${i}.${name}.bias`, [out]);
        if (rank === 0) continue;
        put(`${i}.${name}.a`, [rank, k]);
        put(`${i}.${name}.b`, [out, rank]);
      }
    }
    return tf.concat(parts);
  });
}
