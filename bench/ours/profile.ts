/**
 * Where the time of a work goes: every kernel of the active backend is wrapped, in TensorFlow.js' own registry, and timed by itself. What no kernel accounts
 * for is JavaScript: TensorFlow.js, this package, garbage.
 */
import * as tf from '@tensorflow/tfjs-core';
import { adapter, attention as attentionFlops, forward } from '../flops.js';
import type { Profile } from '../messages.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
type Attributes = Readonly<Record<string, number | boolean>>;

const size = ({ shape }: tf.TensorInfo): number => tf.util.sizeFromShape(shape);

/**
 * Useful floating-point operations of the kernels that are products of matrices, counted as in `flops.ts`: a multiply-add is 2, causal attention has the keys
 * at or before each query, its gradient twice that, whatever is computed again.
 */
const COUNTS: Readonly<Record<string, (inputs: Inputs, attributes: Attributes) => number>> = {
  BatchMatMul: product,
  _FusedMatMul: product,
  SearchE1HalfMatMul: ({ x, halves }, { byRows }) => 2 * size(x) * (byRows ? halves.shape[0] : 2 * halves.shape[1]),
  SearchE1Linear: ({ x, weight }) => 2 * size(x) * weight.shape[0],
  SearchE1AdaptedLinear: ({ x, weight, a }) => 2 * size(x) * weight.shape[0] + lowRank(x, weight, a),
  SearchE1AdaptedLinearGrad: ({ x, weight, a }) => 2 * size(x) * weight.shape[0] + 2 * lowRank(x, weight, a),
  SearchE1SelectedLogProbs: ({ hidden, head }) => 2 * size(hidden) * head.shape[0],
  SearchE1SelectedLogProbsGrad: ({ hidden, head }) => 2 * size(hidden) * head.shape[0],
  SearchE1SegmentAttention: (inputs) => attention(inputs),
  SearchE1SegmentAttentionGrad: (inputs) => 2 * attention(inputs),
  SearchE1DecodeTokens: decoding,
};

function product({ a, b }: Inputs, { transposeA, transposeB }: Attributes): number {
  const [k, n] = transposeB ? b.shape.slice(-2).reverse() : b.shape.slice(-2);
  const m = a.shape[a.shape.length - (transposeA ? 1 : 2)];
  return 2 * m * n * k * Math.max(size(a) / (m * k), size(b) / (k * n));
}

/** Both products of an adapter. */
function lowRank(x: tf.TensorInfo, weight: tf.TensorInfo, a: tf.TensorInfo): number {
  const [outputs, inputs] = weight.shape;
  return 2 * (size(x) / inputs) * a.shape[0] * (inputs + outputs);
}

/** A row of segments: its first query, queries, first range, ranges, keys. */
function attention({ q, segments }: Inputs): number {
  const [heads, headDim] = q.shape.slice(-2);
  const rows = read(segments);
  let flops = 0;
  for (let at = 0; at < rows.length; at += 5) {
    const [queries, keys] = [rows[at + 1], rows[at + 4]];
    flops += attentionFlops({ layers: 1, hiddenSize: heads * headDim }, keys - queries, keys);
  }
  return flops;
}

function decoding({ positions }: Inputs, sizes: Attributes): number {
  const { layers, width, inner, heads, kvHeads, vocabulary, rank } = sizes as Record<string, number>;
  const model = { vocabSize: vocabulary, hiddenSize: width, intermediateSize: inner, layers, heads, kvHeads };
  return read(positions).reduce((sum, from) => sum + forward(model, { from, to: from + 1, scored: 1 }) + adapter(model, rank), 0);
}

const read = ({ dataId }: tf.TensorInfo): Int32Array => tf.engine().readSync(dataId) as Int32Array;

/** Starts; the function that comes back stops, and says what one of so many repetitions came to. Kernels that are queued, as on webgpu, cannot be timed so. */
export function profileKernels(): (repetitions: number) => Profile {
  const backend = tf.getBackend();
  if (backend === 'webgpu')
    throw new Error('--profile times kernels that compute when they are called, and those of webgpu are queued: choose another backend');
  const kernels = tf.getKernelsForBackend(backend);
  const found = new Map<string, { calls: number; seconds: number; flops: number }>();
  let within = 0; // seconds of the kernels that the present one has called
  const timed = (config: tf.KernelConfig): tf.KernelConfig => ({
    ...config,
    kernelFunc(params) {
      const before = within;
      within = 0;
      const started = performance.now();
      try {
        return config.kernelFunc(params);
      } finally {
        const seconds = (performance.now() - started) / 1000;
        const entry = found.get(config.kernelName) ?? { calls: 0, seconds: 0, flops: 0 };
        found.set(config.kernelName, entry);
        entry.calls++;
        entry.seconds += seconds - within;
        entry.flops += COUNTS[config.kernelName]?.(params.inputs as Inputs, (params.attrs ?? {}) as Attributes) ?? 0;
        within = before + seconds;
      }
    },
  });
  register(kernels.map(timed));
  const started = performance.now();
  return (repetitions) => {
    const seconds = (performance.now() - started) / 1000 / repetitions;
    register(kernels);
    const operations = [...found].map(([name, entry]) => ({
      name: name.replace('SearchE1', ''),
      calls: entry.calls / repetitions,
      seconds: entry.seconds / repetitions,
      flops: entry.flops / repetitions,
    }));
    return { seconds, operations };
  };
}

function register(kernels: readonly tf.KernelConfig[]): void {
  for (const config of kernels) {
    tf.unregisterKernel(config.kernelName, config.backendName);
    tf.registerKernel({ ...config, setupFunc: undefined }); // set up it is
  }
}
