/** The weights of a decoder as kernels/decode.cc reads them: each matrix turned, its columns padded to whole vectors, one behind the other in one tensor. */
import * as tf from '@tensorflow/tfjs-core';
import type { DecoderSizes } from '../decode-tokens.js';

type Inputs = Readonly<Record<string, tf.TensorInfo | undefined>>;

/** Floats of a vector, as in kernels/lanes.h. */
const LANES = 16;

/** The sizes as the kernel takes them. */
export const settingsOf = ({ layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, scale, epsilon }: DecoderSizes): number[] => [
  ...[layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, scale, epsilon],
];

export function packedWeights(inputs: Inputs, sizes: DecoderSizes): tf.Tensor {
  const { layers, width, inner, heads, kvHeads, headDim, rank } = sizes;
  const [qWidth, kWidth] = [heads * headDim, kvHeads * headDim];
  const parts: tf.Tensor1D[] = [];
  const padding = (n: number) => Math.ceil(n / LANES) * LANES - n;
  /** Zeros where a part is absent: layers without a bias or an adapter. */
  const put = (name: string, shape: readonly number[]) => {
    const part = (inputs[name] as tf.Tensor | undefined) ?? tf.zeros([...shape]);
    const turned = shape.length === 2 ? tf.transpose(part) : part;
    const columns = turned.shape[turned.shape.length - 1];
    parts.push(tf.reshape(tf.pad(turned, [...turned.shape.slice(1).map((): [number, number] => [0, 0]), [0, padding(columns)]]), [-1]));
  };
  return tf.tidy(() => {
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
