/**
 * The fused operations of this project behind their names in the registry: each entry says where its tensors lie, what comes out, and how the work
 * is cut. Units are rows, heads or elements that are written by one thread alone; sums over rows go through blocks of fixed size.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { HalfKernelName, KernelName } from '../dispatch.js';
import type { SimdBackend } from './backend.js';
import { decodeTokens, packDecoder } from './decode-tokens.js';
import { adaptedMatMul, halfMatMul, matMul, type Product } from './mat-mul.js';
import { sumRows } from './sum-rows.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
// biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, given by the operation beside it
type Attributes = any;
type Run = (inputs: Inputs, attributes: Attributes, backend: SimdBackend) => tf.TensorInfo | tf.TensorInfo[];

/** As in assembly/: rows worked on together, columns and elements of a unit. */
const ROW_BLOCK = 64;
const COLUMN_GROUP = 16;
const SQUARES_BLOCK = 16384;
/** Floats (128 MB) that the gradient of log-probabilities may have kept for it, or compute at a time. */
const LARGEST_KEPT = 2 ** 25;

const KERNELS: Readonly<Record<Exclude<KernelName, HalfKernelName>, Run>> = {
  SearchE1Linear({ x, weight, bias, plus }, _, backend) {
    const y = backend.output([...x.shape.slice(0, -1), weight.shape[0]]);
    project(backend, backend.at(x), weight, backend.at(y), size(x) / last(x), { bias: backend.at(bias), plus: backend.at(plus) });
    return y;
  },
  SearchE1HalfMatMul({ x, halves }, { format, byRows }, backend) {
    return halfMatMul(backend, x, halves, format === 'BF16', byRows);
  },
  SearchE1AdaptedLinear({ x, weight, a, b, bias, plus }, { scale }, backend) {
    const { at, output } = backend;
    const [m, rank] = [size(x) / last(x), a.shape[0]];
    const [n, k] = weight.shape;
    const [y, low] = [output([...x.shape.slice(0, -1), n]), output([m, rank])];
    adaptedMatMul(
      backend,
      { a: at(x), b: at(weight), c: at(y), m, n, k, aStrides: [k, 1], bStrides: [1, k], bias: at(bias), plus: at(plus) },
      { u: at(a), v: at(b), low: at(low), rank, scale, uStrides: [1, k], vStrides: [1, rank] },
    );
    return [y, low];
  },
  SearchE1AdaptedLinearGrad({ x, weight, a, b, low, dy }, { scale }, backend) {
    const { at, output, heap } = backend;
    const [rows, rank] = [size(x) / last(x), a.shape[0]];
    const [outputs, inputs] = weight.shape;
    const gradients = [output(x.shape), output(a.shape), output(b.shape)];
    const [dx, dA, dB] = gradients.map(at);
    const dLow = heap.allocate(4 * rows * rank); // dy B: not scaled, what is made of it is
    adaptedMatMul(
      backend,
      { a: at(dy), b: at(weight), c: dx, m: rows, n: inputs, k: outputs, aStrides: [outputs, 1], bStrides: [inputs, 1] },
      { u: at(b), v: at(a), low: dLow, rank, scale, uStrides: [rank, 1], vStrides: [inputs, 1] },
    );
    const summed = { k: rows, factor: scale };
    matMul(backend, { a: dLow, b: at(x), c: dA, m: rank, n: inputs, aStrides: [1, rank], bStrides: [inputs, 1], ...summed });
    matMul(backend, { a: at(dy), b: at(low), c: dB, m: outputs, n: rank, aStrides: [1, outputs], bStrides: [rank, 1], ...summed });
    heap.release(dLow);
    return gradients;
  },
  SearchE1SumRows: ({ x }, _, backend) => sumRows(backend, x, last(x)),
  SearchE1RmsNorm({ x, weight }, { epsilon }, { at, output, threads }) {
    const rows = size(x) / last(x);
    const [y, inverse] = [output(x.shape), output([rows])];
    threads.run('rmsNormForward', [...[x, weight, y, inverse].map(at), epsilon, last(x)], rows, { cost: last(x) / 2 });
    return [y, inverse];
  },
  SearchE1RmsNormGrad({ x, weight, inverse, dy }, _, backend) {
    const { at, output, threads } = backend;
    const rows = size(x) / last(x);
    const blocks = Math.ceil(rows / ROW_BLOCK);
    const [dx, dWeights] = [output(x.shape), output([blocks, last(x)])];
    const args = [...[x, weight, inverse, dy, dx, dWeights].map(at), rows, last(x)];
    threads.run('rmsNormBackward', args, blocks, { cost: ROW_BLOCK * last(x) });
    const dWeight = sumRows(backend, dWeights, last(x));
    backend.disposeData(dWeights.dataId);
    return [dx, dWeight];
  },
  SearchE1Rotary({ x, cos, sin }, { direction }, { at, output, threads }) {
    const [batch, length, heads, headDim] = x.shape;
    const y = output(x.shape);
    const args = [...[x, cos, sin, y].map(at), direction, heads, headDim, cos.shape[0]];
    threads.run('rotary', args, batch * length, { cost: (heads * headDim) / 2 });
    return y;
  },
  SearchE1Swiglu({ gate, up }, _, { at, output, threads }) {
    const y = output(gate.shape);
    threads.run('swigluForward', [gate, up, y].map(at), size(y), { grain: 16, cost: 2 });
    return y;
  },
  SearchE1SwigluGrad({ gate, up, dy }, _, { at, output, threads }) {
    const [dGate, dUp] = [output(gate.shape), output(up.shape)];
    threads.run('swigluBackward', [gate, up, dy, dGate, dUp].map(at), size(gate), { grain: 16, cost: 3 });
    return [dGate, dUp];
  },
  SearchE1Embedding({ table, ids }, _, backend) {
    const { at, output, threads } = backend;
    checkIds(backend, ids, table.shape[0]);
    const y = output([size(ids), last(table)]);
    threads.run('embeddingForward', [...[table, ids, y].map(at), last(table)], size(ids), { cost: last(table) / 4 });
    return y;
  },
  SearchE1EmbeddingGrad({ ids, dy }, { rows }, { at, zeros, threads }) {
    const dTable = zeros([rows, last(dy)]);
    const groups = Math.ceil(last(dy) / COLUMN_GROUP);
    threads.run('embeddingBackward', [...[ids, dy, dTable].map(at), size(ids), last(dy)], groups, { cost: size(ids) * 8 });
    return dTable;
  },
  SearchE1CopyRows({ x, y, to }, _, backend) {
    const { at, threads } = backend;
    checkIds(backend, to, y.shape[0]);
    const width = size(x) / x.shape[0];
    threads.run('copyRows', [...[x, y, to].map(at), width], size(to), { cost: 4 + width / 4 });
    return [];
  },
  SearchE1SegmentAttention({ q, k, v, keyMask, segments, ranges }, { longest }, { at, output, threads, kernels }) {
    const [heads, headDim] = q.shape.slice(2);
    const n = q.shape[0] * q.shape[1];
    const [out, lse] = [output(q.shape), output([heads, n])];
    const args = [...[q, k, v, keyMask, segments, ranges, out, lse].map(at), longest, n, heads, k.shape[2], headDim];
    const units = segments.shape[0] * k.shape[2];
    const cost = ((heads * n) / units) * longest * (headDim / 8 + 2);
    threads.run('attentionForward', args, units, { cost, scratch: kernels.attentionScratch(longest, headDim) });
    return [out, lse];
  },
  SearchE1SegmentAttentionGrad(
    { q, k, v, keyMask, segments, ranges, families, lse, dOut },
    { longest },
    { at, output, zeros, threads, kernels },
  ) {
    const [heads, headDim] = q.shape.slice(2);
    const [n, keyHeads] = [q.shape[0] * q.shape[1], k.shape[2]];
    const gradients = [output(q.shape), zeros(k.shape), zeros(v.shape)];
    const args = [...[q, k, v, keyMask, segments, ranges, families, lse, dOut, ...gradients].map(at), longest, n, heads, keyHeads, headDim];
    const units = (size(families) - 1) * keyHeads;
    const cost = ((heads * n) / units) * longest * (headDim / 3 + 3);
    threads.run('attentionBackward', args, units, { cost, scratch: kernels.attentionScratch(longest, headDim) });
    return gradients;
  },
  SearchE1SelectedLogProbs({ hidden, head, targets }, { save }, backend) {
    const rows = size(targets);
    checkIds(backend, targets, head.shape[0]);
    const kept = save && rows * head.shape[0] <= LARGEST_KEPT;
    const outputs = [backend.output([2, rows]), backend.block(kept ? rows * head.shape[0] : 0), backend.output([kept ? rows : 0])];
    const [both, weights, inverse] = outputs.map(backend.at);
    selectLogProbs(backend, { hidden, head, targets }, [0, rows], both, kept ? weights : 0, inverse);
    return outputs;
  },
  SearchE1SelectedLogProbsGrad({ hidden, head, targets, weights, inverse, dy }, { of }, backend) {
    const { at, heap, output, zeros, threads } = backend;
    const [vocabulary, width] = head.shape;
    const rows = size(targets);
    const gradient = of === 'hidden' ? output(hidden.shape) : zeros(head.shape);
    // All rows where the forward pass kept their weights; else as many at a time as may be kept, computed again.
    const kept = size(inverse) > 0;
    const slab = kept ? rows : Math.max(1, Math.floor(LARGEST_KEPT / vocabulary));
    const room = kept ? 0 : heap.allocate(4 * slab * (vocabulary + 3));
    const scaled = heap.allocate(4 * slab * width);
    for (let first = 0; first < rows; first += slab) {
      const n = Math.min(slab, rows - first);
      const [x, t, d] = [at(hidden) + 4 * first * width, at(targets) + 4 * first, at(dy) + 4 * first];
      const e = kept ? at(weights) : room;
      const r = kept ? at(inverse) : room + 4 * slab * vocabulary;
      if (!kept) selectLogProbs(backend, { hidden, head, targets }, [first, n], r + 4 * slab, e, r);
      if (of === 'hidden') {
        const dx = at(gradient) + 4 * first * width;
        const strides = { aStrides: [vocabulary, 1], bStrides: [width, 1] } as const;
        matMul(backend, { a: e, b: at(head), c: dx, m: n, n: width, k: vocabulary, ...strides });
        threads.run('finishHidden', [dx, at(head), t, d, r, width], n, { cost: width / 2 });
      } else {
        threads.run('scaleRows', [x, d, r, scaled, width], n, { cost: width / 2 });
        const c = at(gradient);
        const strides = { aStrides: [1, vocabulary], bStrides: [width, 1] } as const;
        matMul(backend, { a: e, b: scaled, c, plus: c, m: vocabulary, n: width, k: n, ...strides });
        threads.run('addTargets', [c, x, t, d, n, width], Math.ceil(width / COLUMN_GROUP), { cost: n * 8 });
      }
    }
    heap.release(scaled);
    if (room) heap.release(room);
    return gradient;
  },
  SearchE1PackDecoder: (inputs, sizes, backend) => packDecoder(backend, inputs, sizes),
  SearchE1DecodeTokens(inputs, sizes, backend) {
    checkIds(backend, inputs.tokens, inputs.table.shape[0]);
    checkIds(backend, inputs.positions, inputs.cos.shape[0]);
    checkIds(backend, inputs.places, inputs['0.cachedK'].shape[1]);
    return decodeTokens(backend, inputs, sizes);
  },
  SearchE1ForwardKl({ teacher, student }, { clamp }, { at, output, threads }) {
    const [rows, vocabulary] = student.shape;
    const [both, saved] = [output([2, rows]), output([rows, 5])];
    threads.run('forwardKlForward', [...[teacher, student, both, saved].map(at), clamp, rows, vocabulary], rows, { cost: vocabulary * 4 });
    return [both, saved];
  },
  SearchE1ForwardKlGrad({ teacher, student, saved, dy }, { clamp }, { at, output, threads }) {
    const [rows, vocabulary] = student.shape;
    const dStudent = output(student.shape);
    threads.run('forwardKlBackward', [...[teacher, student, saved, dy, dStudent].map(at), clamp, vocabulary], rows, {
      cost: vocabulary * 2,
    });
    return dStudent;
  },
  SearchE1SampleTokens({ logits, uniforms }, { temperature }, { at, output, threads }) {
    const [rows, vocabulary] = logits.shape;
    const [tokens, logProbs] = [output([rows], 'int32'), output([rows])];
    const args = [...[logits, uniforms, tokens, logProbs].map(at), temperature, vocabulary];
    threads.run('sampleTokens', args, rows, { cost: vocabulary * 2, scratch: vocabulary + 4 });
    return [tokens, logProbs];
  },
  SearchE1AdamW({ weight, gradient, first, second }, attributes, { at, output, threads }) {
    const { gradientScale, beta1, beta2, rate, rootOfCorrection, epsilon, keep } = attributes;
    const next = [output(weight.shape), output(weight.shape), output(weight.shape)];
    const settings = [gradientScale, beta1, 1 - beta1, beta2, 1 - beta2, rate, rootOfCorrection, epsilon, keep];
    threads.run('adamW', [...[weight, gradient, first, second, ...next].map(at), ...settings], size(weight), { grain: 16, cost: 2 });
    return next;
  },
  SearchE1SumOfSquares({ x }, _, { at, output, threads, heap }) {
    const sum = output([]);
    const blocks = Math.ceil(size(x) / SQUARES_BLOCK);
    const sums = heap.allocate(8 * blocks);
    threads.run('sumOfSquares', [at(x), sums, size(x)], blocks, { cost: SQUARES_BLOCK / 4 });
    heap.floats(at(sum), 1)[0] = heap.doubles(sums, blocks).reduce((total, each) => total + each, 0);
    heap.release(sums);
    return sum;
  },
};

/** x W^T for `rows` rows of x, from address to address. */
function project(
  backend: SimdBackend,
  x: number,
  weight: tf.TensorInfo,
  y: number,
  rows: number,
  more: Pick<Product, 'bias' | 'plus' | 'factor'> = {},
): void {
  const [outputs, inputs] = weight.shape;
  const strides = { aStrides: [inputs, 1], bStrides: [1, inputs] } as const;
  matMul(backend, { a: x, b: backend.at(weight), c: y, m: rows, n: outputs, k: inputs, ...strides, ...more });
}

/** Log-probabilities and entropies of `n` rows from `first` on, written as [2, n]; the weights are kept where an address for them is given. */
function selectLogProbs(
  { at, threads, kernels }: SimdBackend,
  { hidden, head, targets }: Inputs,
  [first, n]: readonly [number, number],
  both: number,
  weights: number,
  inverse: number,
): void {
  const [vocabulary, width] = head.shape;
  const args = [at(hidden) + 4 * first * width, at(head), at(targets) + 4 * first, both, weights, inverse, n, vocabulary, width];
  const cost = ROW_BLOCK * vocabulary * (width / 16 + 2);
  threads.run('selectedLogProbs', args, Math.ceil(n / ROW_BLOCK), { cost, scratch: kernels.vocabularyScratch(vocabulary) });
}

/** Registers all of them for the simd backend. */
export function registerFusedKernels(): void {
  for (const [kernelName, run] of Object.entries(KERNELS)) {
    const kernelFunc = (call: { inputs: Inputs; attrs?: Attributes; backend: unknown }) => {
      checkTypes(kernelName, call.inputs);
      return run(call.inputs, call.attrs ?? {}, call.backend as SimdBackend);
    };
    tf.registerKernel({ kernelName, backendName: 'simd', kernelFunc: kernelFunc as unknown as tf.KernelFunc });
  }
}

const INTEGERS: ReadonlySet<string> = new Set('ids plan tokens positions places targets halves to segments ranges families'.split(' '));

/** A kernel reads bytes as what it expects them to be. */
function checkTypes(kernelName: string, inputs: Inputs): void {
  for (const [name, { dtype }] of Object.entries(inputs)) {
    const expected = INTEGERS.has(name) ? 'int32' : 'float32';
    if (dtype !== expected) throw new TypeError(`${kernelName}: ${name} should be ${expected}, got ${dtype}; use tf.cast`);
  }
}

/** A kernel would read and write beside the table. */
function checkIds({ at, heap }: SimdBackend, ids: tf.TensorInfo, limit: number): void {
  const values = heap.integers(at(ids), size(ids));
  const wrong = values.findIndex((id) => id < 0 || id >= limit);
  if (wrong >= 0) throw new RangeError(`id ${values[wrong]} at ${wrong} should be in [0, ${limit})`);
}

const size = (tensor: tf.TensorInfo): number => tf.util.sizeFromShape(tensor.shape);

const last = (tensor: tf.TensorInfo): number => tensor.shape[tensor.shape.length - 1];
