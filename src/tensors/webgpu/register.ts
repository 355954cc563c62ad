/** Puts the WGSL kernels behind their names in the webgpu backend's registry, and this project's matrix product in the place of TensorFlow.js' own. */
import * as tf from '@tensorflow/tfjs-core';
import type { KernelName } from '../dispatch.js';
import type { HalfFormat } from '../half.js';
import {
  type AttentionVariant,
  attentionForward,
  attentionKeyGrad,
  attentionOfFew,
  attentionQueryGrad,
  attentionStatistics,
  rowsPerGroup,
} from './attention.js';
import type { WebGpuDevice } from './device.js';
import * as layers from './layers.js';
import { matMul } from './mat-mul.js';
import { f32, ShaderQueue, u32 } from './queue.js';
import * as vocabulary from './vocabulary.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
// biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, given by the operation beside it
type Attributes = any;
type Run = (queue: ShaderQueue, inputs: Inputs, attributes: Attributes) => tf.TensorInfo | tf.TensorInfo[];

/** Queries of a sequence up to which each gets a workgroup. */
const FEW_QUERIES = 4;

/** Logits that exist at once: rows of them are worked off in groups below this size. */
const LOGIT_BYTES = 2 ** 28;

/** Tokens are decoded operation by operation. */
const KERNELS: Readonly<Record<Exclude<KernelName, 'SearchE1DecodeTokens' | 'SearchE1PackDecoder'>, Run>> = {
  SearchE1Linear(queue, { x, weight, bias, plus }) {
    const [outputs, inputs] = weight.shape;
    const y = queue.output([...x.shape.slice(0, -1), outputs]);
    matMul(queue, x, weight, y, { m: size(x) / inputs, n: outputs, k: inputs, transposeB: true }, { bias, plus });
    return y;
  },
  SearchE1AdaptedLinear(queue, { x, weight, a, b, bias, plus }, { scale }) {
    const [outputs, inputs] = weight.shape;
    const [rank, rows] = [a.shape[0], size(x) / inputs];
    const [y, low] = [queue.output([...x.shape.slice(0, -1), outputs]), queue.output([rows, rank])];
    matMul(queue, x, weight, y, { m: rows, n: outputs, k: inputs, transposeB: true }, { bias, plus });
    matMul(queue, x, a, low, { m: rows, n: rank, k: inputs, transposeB: true });
    matMul(queue, low, b, y, { m: rows, n: outputs, k: rank, transposeB: true, factor: scale, accumulate: true });
    return [y, low];
  },
  SearchE1AdaptedLinearGrad(queue, { x, weight, a, b, low, dy }, { scale }) {
    const [outputs, inputs] = weight.shape;
    const [rank, rows] = [a.shape[0], size(x) / inputs];
    const [dx, dA, dB, dLow] = [queue.output(x.shape), queue.output(a.shape), queue.output(b.shape), queue.output([rows, rank])];
    matMul(queue, dy, b, dLow, { m: rows, n: rank, k: outputs, factor: scale });
    matMul(queue, dy, weight, dx, { m: rows, n: inputs, k: outputs });
    matMul(queue, dLow, a, dx, { m: rows, n: inputs, k: rank, accumulate: true });
    matMul(queue, dLow, x, dA, { m: rank, n: inputs, k: rows, transposeA: true });
    matMul(queue, dy, low, dB, { m: outputs, n: rank, k: rows, transposeA: true, factor: scale });
    queue.release(dLow);
    return [dx, dA, dB];
  },
  /** Where no gradient is taken: writing and scoring. */
  SearchE1HalfLinear(queue, { x, halves, bias, plus, a, b }, { format, scale }) {
    const [outputs, inputs] = [halves.shape[0], 2 * last(halves)];
    const rows = size(x) / inputs;
    const y = queue.output([...x.shape.slice(0, -1), outputs]);
    matMul(queue, x, halves, y, { m: rows, n: outputs, k: inputs, transposeB: true, halves: format }, { bias, plus });
    if (!a) return y;
    const rank = a.shape[0];
    const low = queue.output([rows, rank]);
    matMul(queue, x, a, low, { m: rows, n: rank, k: inputs, transposeB: true });
    matMul(queue, low, b, y, { m: rows, n: outputs, k: rank, transposeB: true, factor: scale, accumulate: true });
    queue.release(low);
    return y;
  },
  SearchE1HalfMatMul(queue, { x, halves }, { format, byRows }) {
    const [rows, columns] = [halves.shape[0], 2 * halves.shape[1]];
    const [m, n, k] = byRows ? [x.shape[0], rows, columns] : [x.shape[0], columns, rows];
    const y = queue.output([m, n]);
    matMul(queue, x, halves, y, { m, n, k, transposeB: byRows, halves: format });
    return y;
  },
  SearchE1HalfRows(queue, { halves, ids }, { format }) {
    checkIds(queue, ids, halves.shape[0]);
    const words = size(ids) * last(halves);
    const y = queue.output([size(ids), 2 * last(halves)]);
    queue.run(layers.halfRows(format), [halves, ids, y], [u32(words), u32(last(halves))], layers.groupsFor(words));
    return y;
  },
  SearchE1SumRows: (queue, { x }) => columnSums(queue, layers.columnSums, [x], size(x) / last(x), last(x)),
  SearchE1RmsNorm(queue, { x, weight }, { epsilon }) {
    const rows = size(x) / last(x);
    const [y, inverse] = [queue.output(x.shape), queue.output([rows])];
    queue.run(layers.rmsNorm, [x, weight, y, inverse], [u32(rows), u32(last(x)), f32(epsilon)], rows);
    return [y, inverse];
  },
  SearchE1RmsNormGrad(queue, { x, weight, inverse, dy }) {
    const rows = size(x) / last(x);
    const dx = queue.output(x.shape);
    queue.run(layers.rmsNormGrad, [x, weight, inverse, dy, dx], [u32(rows), u32(last(x))], rows);
    return [dx, columnSums(queue, layers.rmsNormWeightSums, [x, inverse, dy], rows, last(x))];
  },
  SearchE1Rotary(queue, { x, cos, sin }, { direction }) {
    const [, , heads, headDim] = x.shape;
    const y = queue.output(x.shape);
    const params = [u32(size(x)), u32(heads), u32(headDim), u32(cos.shape[0]), f32(direction)];
    queue.run(layers.rotary, [x, cos, sin, y], params, layers.groupsFor(size(x)));
    return y;
  },
  SearchE1Swiglu(queue, { gate, up }) {
    const y = queue.output(gate.shape);
    queue.run(layers.swiglu, [gate, up, y], [u32(size(y))], layers.groupsFor(size(y)));
    return y;
  },
  SearchE1SwigluGrad(queue, { gate, up, dy }) {
    const gradients = [queue.output(gate.shape), queue.output(up.shape)];
    queue.run(layers.swigluGrad, [gate, up, dy, ...gradients], [u32(size(gate))], layers.groupsFor(size(gate)));
    return gradients;
  },
  SearchE1Embedding(queue, { table, ids }) {
    checkIds(queue, ids, table.shape[0]);
    const y = queue.output([size(ids), last(table)]);
    queue.run(layers.embedding, [table, ids, y], [u32(size(y)), u32(last(table))], layers.groupsFor(size(y)));
    return y;
  },
  SearchE1EmbeddingGrad(queue, { ids, dy }, { rows }) {
    const dTable = zeros(queue, [rows, last(dy)]);
    queue.run(layers.embeddingGrad, [ids, dy, dTable], [u32(size(ids)), u32(last(dy))], size(ids));
    return dTable;
  },
  SearchE1CopyRows(queue, { x, y, to }) {
    checkIds(queue, to, y.shape[0]);
    queue.run(layers.copyRows, [x, to, y], [u32(size(x)), u32(last(x))], layers.groupsFor(size(x)));
    return [];
  },
  SearchE1SegmentAttention(queue, { q, k, v, keyMask, segments, ranges }, { mostQueries }) {
    const [, , heads] = q.shape;
    const count = segments.shape[0];
    const [out, lse] = [queue.output(q.shape), queue.output([heads, size(q) / (heads * last(q))])];
    const variant = variantOf(queue, q, keyMask);
    const few = mostQueries <= FEW_QUERIES;
    const blocks = few ? mostQueries : Math.ceil(mostQueries / rowsPerGroup(variant));
    const shader = few ? attentionOfFew(variant) : attentionForward(variant);
    const tensors = [q, k, v, out, lse, segments, ranges, ...given(keyMask)];
    queue.run(shader, tensors, attentionParams(q, k, count), [blocks, heads, count]);
    return [out, lse];
  },
  SearchE1SegmentAttentionGrad(queue, { q, k, v, keyMask, segments, ranges, lse, out, dOut }, { mostQueries }) {
    const [, , heads, headDim] = q.shape;
    const [, , keyHeads] = k.shape;
    const [count, rows] = [segments.shape[0], size(k) / (keyHeads * headDim)];
    const [dq, dk, dv, statistics] = [queue.output(q.shape), queue.output(k.shape), queue.output(v.shape), queue.output([2, size(lse)])];
    const variant = variantOf(queue, q, keyMask);
    const params = attentionParams(q, k, count);
    const each = rowsPerGroup(variant);
    queue.run(attentionStatistics(headDim), [dOut, out, lse, statistics], [size(lse), heads].map(u32), layers.groupsFor(size(lse)));
    const [read, tables] = [
      [q, k, v, dOut, statistics],
      [segments, ranges, ...given(keyMask)],
    ];
    queue.run(attentionQueryGrad(variant), [...read, dq, ...tables], params, [Math.ceil(mostQueries / each), heads, count]);
    queue.run(attentionKeyGrad(variant), [...read, dk, dv, ...tables], params, [Math.ceil(rows / each), keyHeads, 1]);
    queue.release(statistics);
    return [dq, dk, dv];
  },
  /** Of a softmax the log-sum-exp is kept, in two parts, and the logits are computed again: for 150,000 tokens a row, keeping them would fill the card. */
  SearchE1SelectedLogProbs: (queue, { hidden, head, targets }) => [...selectedLogProbs(queue, hidden, head, targets), queue.output([1])],
  SearchE1SelectedLogProbsGrad: (queue, { hidden, head, targets, weights: sums, dy }, { of }) =>
    of === 'hidden' ? gradientOfHidden(queue, hidden, head, targets, sums, dy) : gradientOfHead(queue, hidden, head, targets, sums, dy),
  SearchE1HalfSelectedLogProbs: (queue, { hidden, halves, targets }, { format }) =>
    selectedLogProbs(queue, hidden, halves, targets, format),
  SearchE1HalfSelectedLogProbsGrad: (queue, { hidden, halves, targets, weights: sums, dy }, { format }) =>
    gradientOfHidden(queue, hidden, halves, targets, sums, dy, format),
  SearchE1ForwardKl(queue, { teacher, student }, { clamp }) {
    const [rows, width] = student.shape;
    const [both, saved] = [queue.output([2, rows]), queue.output([rows, 5])];
    queue.run(vocabulary.forwardKl, [teacher, student, both, saved], [u32(rows), u32(width), ...clampParams(clamp)], rows);
    return [both, saved];
  },
  SearchE1ForwardKlGrad(queue, { teacher, student, saved, dy }, { clamp }) {
    const [rows, width] = student.shape;
    const dStudent = queue.output(student.shape);
    queue.run(vocabulary.forwardKlGrad, [teacher, student, saved, dy, dStudent], [u32(rows), u32(width), ...clampParams(clamp)], rows);
    return dStudent;
  },
  SearchE1SampleTokens(queue, { logits, uniforms }, { temperature }) {
    const [rows, width] = logits.shape;
    const [tokens, logProbs] = [queue.output([rows], 'int32'), queue.output([rows])];
    const drawn = temperature > 0 ? [f32(1 / temperature), u32(0)] : [f32(1), u32(1)];
    queue.run(vocabulary.sample, [logits, uniforms, tokens, logProbs], [u32(rows), u32(width), ...drawn], rows);
    return [tokens, logProbs];
  },
  SearchE1AdamW(queue, { weight, gradient, first, second }, attributes) {
    const { gradientScale, beta1, beta2, rate, rootOfCorrection, epsilon, keep } = attributes;
    const next = [queue.output(weight.shape), queue.output(weight.shape), queue.output(weight.shape)];
    const params = [gradientScale, beta1, 1 - beta1, beta2, 1 - beta2, rate, rootOfCorrection, epsilon, keep].map(f32);
    queue.run(layers.adamW, [weight, gradient, first, second, ...next], [u32(size(weight)), ...params], layers.groupsFor(size(weight)));
    return next;
  },
  SearchE1SumOfSquares(queue, { x }) {
    const groups = Math.max(1, Math.min(1024, Math.ceil(size(x) / 1024)));
    const [partial, sum] = [queue.output([groups]), queue.output([])];
    queue.run(layers.squares, [x, partial], [u32(size(x)), u32(Math.ceil(size(x) / groups))], groups);
    queue.run(layers.total, [partial, sum], [u32(groups)], 1);
    queue.release(partial);
    return sum;
  },
};

let registered: ShaderQueue | undefined;

/** Registers all kernels for the webgpu backend, once. */
export function registerWebGpuKernels({ backend }: WebGpuDevice): ShaderQueue {
  if (registered) return registered;
  const queue = new ShaderQueue(backend);
  for (const [kernelName, run] of Object.entries(KERNELS)) {
    const kernelFunc = ({ inputs, attrs }: { inputs: Inputs; attrs?: Attributes }) => {
      checkTypes(kernelName, inputs);
      return run(queue, inputs, attrs ?? {});
    };
    tf.registerKernel({ kernelName, backendName: 'webgpu', kernelFunc: kernelFunc as unknown as tf.KernelFunc });
  }
  replaceMatMul(queue);
  splitAddN(queue);
  registered = queue;
  return queue;
}

/** Takes the place of BatchMatMul while kernels are in use; what it does not cover goes to the one before it. */
function replaceMatMul(queue: ShaderQueue): void {
  const before = tf.getKernel('BatchMatMul', 'webgpu').kernelFunc;
  const kernelFunc: tf.KernelFunc = (call) => {
    const { a, b } = call.inputs as unknown as Inputs;
    const { transposeA, transposeB } = call.attrs as unknown as { transposeA: boolean; transposeB: boolean };
    const [leading, other] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
    const [m, k] = transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2);
    const n = b.shape[b.shape.length - (transposeB ? 2 : 1)];
    const plain = a.dtype === 'float32' && b.dtype === 'float32' && `${leading}` === `${other}`;
    if (!plain) return before(call);
    const batch = tf.util.sizeFromShape(leading);
    const out = queue.output([...leading, m, n]);
    matMul(queue, a, b, out, { m, n, k, transposeA, transposeB, batch, strideA: m * k, strideB: n * k });
    return out;
  };
  tf.unregisterKernel('BatchMatMul', 'webgpu');
  tf.registerKernel({ kernelName: 'BatchMatMul', backendName: 'webgpu', kernelFunc });
}

/** TensorFlow.js binds all summands of AddN at once, more than a shader may have: they are added up in groups. */
function splitAddN(queue: ShaderQueue): void {
  const before = tf.getKernel('AddN', 'webgpu').kernelFunc;
  const most = queue.backend.device.limits.maxStorageBuffersPerShaderStage - 1; // one is the result
  const kernelFunc: tf.KernelFunc = (call) => {
    let summands = call.inputs as unknown as tf.TensorInfo[];
    const sums: tf.TensorInfo[] = [];
    while (summands.length > most) {
      const sum = before({ ...call, inputs: summands.slice(0, most) as unknown as tf.NamedTensorInfoMap }) as tf.TensorInfo;
      sums.push(sum);
      summands = [...summands.slice(most), sum];
    }
    const total = before({ ...call, inputs: summands as unknown as tf.NamedTensorInfoMap });
    queue.release(...sums);
    return total;
  };
  tf.unregisterKernel('AddN', 'webgpu');
  tf.registerKernel({ kernelName: 'AddN', backendName: 'webgpu', kernelFunc });
}

function columnSums(
  queue: ShaderQueue,
  shader: typeof layers.columnSums,
  inputs: readonly tf.TensorInfo[],
  rows: number,
  width: number,
): tf.TensorInfo {
  const parts = Math.ceil(rows / layers.ROWS_A_PART);
  const partial = queue.output([parts, width]);
  queue.run(shader, [...inputs, partial], [u32(rows), u32(width)], [Math.ceil(width / 64), parts, 1]);
  if (parts === 1) return { ...partial, shape: [width] };
  const sum = columnSums(queue, layers.columnSums, [partial], parts, width);
  queue.release(partial);
  return sum;
}

function zeros(queue: ShaderQueue, shape: readonly number[]): tf.TensorInfo {
  const out = queue.output(shape);
  queue.run(layers.zeros, [out], [u32(size(out))], layers.groupsFor(size(out)));
  return out;
}

/** Log-probabilities and entropies [2, N]; of each row the largest logit, and the logarithm of the sum of all less it [2, N]. */
function selectedLogProbs(
  queue: ShaderQueue,
  hidden: tf.TensorInfo,
  head: tf.TensorInfo,
  targets: tf.TensorInfo,
  halves?: HalfFormat,
): tf.TensorInfo[] {
  const rows = size(targets);
  checkIds(queue, targets, head.shape[0]);
  const [both, sums] = [queue.output([2, rows]), queue.output([2, rows])];
  for (const { logits, first, count } of logitsInParts(queue, hidden, head, halves)) {
    queue.run(vocabulary.selected, [logits, targets, both, sums], [count, head.shape[0], first, rows].map(u32), count);
    queue.release(logits);
  }
  return [both, sums];
}

function gradientOfHidden(
  queue: ShaderQueue,
  hidden: tf.TensorInfo,
  head: tf.TensorInfo,
  targets: tf.TensorInfo,
  sums: tf.TensorInfo,
  dy: tf.TensorInfo,
  halves?: HalfFormat,
): tf.TensorInfo {
  const [width, entries] = [last(hidden), head.shape[0]];
  const gradient = queue.output(hidden.shape);
  for (const { logits, first, count } of logitsInParts(queue, hidden, head, halves)) {
    queue.run(vocabulary.selectedGrad, [logits, targets, sums, dy], [count, entries, first, size(targets)].map(u32), count);
    matMul(queue, logits, head, gradient, { m: count, n: width, k: entries, offsetC: first * width, halves });
    queue.release(logits);
  }
  return gradient;
}

function gradientOfHead(
  queue: ShaderQueue,
  hidden: tf.TensorInfo,
  head: tf.TensorInfo,
  targets: tf.TensorInfo,
  sums: tf.TensorInfo,
  dy: tf.TensorInfo,
): tf.TensorInfo {
  const [entries, width] = head.shape;
  const gradient = zeros(queue, head.shape);
  for (const { logits, first, count } of logitsInParts(queue, hidden, head)) {
    queue.run(vocabulary.selectedGrad, [logits, targets, sums, dy], [count, entries, first, size(targets)].map(u32), count);
    const shape = { m: entries, n: width, k: count, transposeA: true, offsetB: first * width, accumulate: true };
    matMul(queue, logits, hidden, gradient, shape);
    queue.release(logits);
  }
  return gradient;
}

/** Logits [count, V] of rows of hidden, so many at a time that they stay below LOGIT_BYTES and the device's limit; the caller releases them. */
function* logitsInParts(queue: ShaderQueue, hidden: tf.TensorInfo, head: tf.TensorInfo, halves?: HalfFormat) {
  const [entries, width] = [head.shape[0], last(hidden)];
  const rows = size(hidden) / width;
  const most = Math.max(1, Math.floor(Math.min(LOGIT_BYTES, queue.maxBytes) / (4 * entries)));
  for (let first = 0; first < rows; first += most) {
    const count = Math.min(most, rows - first);
    const logits = queue.output([count, entries]);
    matMul(queue, hidden, head, logits, { m: count, n: entries, k: width, transposeB: true, offsetA: first * width, halves });
    yield { logits, first, count };
  }
}

const variantOf = (queue: ShaderQueue, q: tf.TensorInfo, keyMask: tf.TensorInfo | undefined): AttentionVariant => ({
  headDim: q.shape[3],
  masked: Boolean(keyMask),
  subgroups: queue.features.has('subgroups'),
});

function attentionParams(q: tf.TensorInfo, k: tf.TensorInfo, segments: number) {
  const [heads, headDim] = q.shape.slice(2);
  const keyHeads = k.shape[2];
  const counts = [size(q) / (heads * headDim), size(k) / (keyHeads * headDim), segments, heads, keyHeads];
  return [...counts.map(u32), f32(1 / Math.sqrt(headDim))];
}

/** WGSL has no infinity: a clamp that clips nothing is said by a flag. */
const clampParams = (clamp: number) => (Number.isFinite(clamp) ? [u32(1), f32(clamp)] : [u32(0), f32(0)]);

const INTEGERS: readonly string[] = ['ids', 'targets', 'to', 'halves', 'segments', 'ranges', 'families'];

/** A kernel reads bytes as what it expects them to be. */
function checkTypes(kernelName: string, inputs: Inputs): void {
  for (const [name, { dtype }] of Object.entries(inputs)) {
    const expected = INTEGERS.includes(name) ? 'int32' : 'float32';
    if (dtype !== expected) throw new TypeError(`${kernelName}: ${name} should be ${expected}, got ${dtype}; use tf.cast`);
  }
}

/** Ids that are still on the JavaScript side are checked; on the device one that is out of range reads the last row. */
function checkIds({ backend }: ShaderQueue, ids: tf.TensorInfo, rows: number): void {
  const values = backend.tensorMap.get(ids.dataId).values as Int32Array | null;
  const wrong = values?.find((id) => id < 0 || id >= rows);
  if (wrong !== undefined) throw new RangeError(`id ${wrong} is not in [0, ${rows})`);
}

const given = (tensor: tf.TensorInfo | undefined): readonly tf.TensorInfo[] => (tensor ? [tensor] : []);
const size = (tensor: tf.TensorInfo): number => tf.util.sizeFromShape(tensor.shape);
const last = (tensor: tf.TensorInfo): number => tensor.shape[tensor.shape.length - 1];
