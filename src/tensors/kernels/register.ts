/**
 * Puts the compiled kernels behind their names in the wasm backend's registry: each entry says where its tensors lie and what shape comes out.
 */
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { type KernelName, kernelsInUse } from '../dispatch.js';
import { type Heap, heapOf } from './heap.js';
import { type KernelBuild, type KernelModule, loadKernels } from './module.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
// biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, given by the operation beside it
type Attributes = any;
type Run = (inputs: Inputs, attributes: Attributes, heap: Heap, kernels: KernelModule) => tf.TensorInfo | tf.TensorInfo[];

const KERNELS: Readonly<Record<KernelName, Run>> = {
  SearchE1Linear({ x, weight, bias }, _, heap, kernels) {
    const [outputs, inputs] = weight.shape;
    const y = heap.output([...x.shape.slice(0, -1), outputs]);
    const scratch = heap.scratch(kernels.matMulScratch());
    const rows = size(x) / inputs;
    kernels.matMul(
      heap.at(x),
      heap.at(weight),
      heap.at(y),
      heap.at(bias),
      scratch,
      rows,
      outputs,
      inputs,
      inputs,
      1,
      1,
      inputs,
      outputs,
      0,
    );
    return y;
  },
  SearchE1SumRows({ x }, _, heap, kernels) {
    const width = last(x);
    const sum = heap.zeros([width]);
    kernels.sumRows(heap.at(x), heap.at(sum), width, 0, size(x) / width);
    return sum;
  },
  SearchE1RmsNorm({ x, weight }, { epsilon }, heap, kernels) {
    const rows = size(x) / last(x);
    const [y, inverse] = [heap.output(x.shape), heap.output([rows])];
    kernels.rmsNormForward(heap.at(x), heap.at(weight), heap.at(y), heap.at(inverse), epsilon, last(x), 0, rows);
    return [y, inverse];
  },
  SearchE1RmsNormGrad({ x, weight, inverse, dy }, _, heap, kernels) {
    const [dx, dWeight] = [heap.output(x.shape), heap.zeros(weight.shape)];
    const pointers = [x, weight, inverse, dy, dx, dWeight].map(heap.at);
    kernels.rmsNormBackward(...pointers, last(x), 0, size(x) / last(x));
    return [dx, dWeight];
  },
  SearchE1Rotary({ x, cos, sin }, { direction }, heap, kernels) {
    const [batch, length, heads, headDim] = x.shape;
    const y = heap.output(x.shape);
    kernels.rotary(...[x, cos, sin, y].map(heap.at), direction, heads, headDim, cos.shape[0], 0, batch * length);
    return y;
  },
  SearchE1Swiglu({ gate, up }, _, heap, kernels) {
    const y = heap.output(gate.shape);
    kernels.swigluForward(...[gate, up, y].map(heap.at), 0, size(y));
    return y;
  },
  SearchE1SwigluGrad({ gate, up, dy }, _, heap, kernels) {
    const [dGate, dUp] = [heap.output(gate.shape), heap.output(up.shape)];
    kernels.swigluBackward(...[gate, up, dy, dGate, dUp].map(heap.at), 0, size(gate));
    return [dGate, dUp];
  },
  SearchE1Embedding({ table, ids }, _, heap, kernels) {
    heap.checkIds(ids, table.shape[0]);
    const y = heap.output([size(ids), last(table)]);
    kernels.embeddingForward(...[table, ids, y].map(heap.at), last(table), 0, size(ids));
    return y;
  },
  SearchE1EmbeddingGrad({ ids, dy }, { rows }, heap, kernels) {
    const dTable = heap.zeros([rows, last(dy)]);
    kernels.embeddingBackward(...[ids, dy, dTable].map(heap.at), last(dy), 0, size(ids));
    return dTable;
  },
  SearchE1CopyPositions({ x, y }, { at, count }, heap, kernels) {
    const [batch, room, ...width] = x.shape;
    kernels.copyPositions(heap.at(x), heap.at(y), room, y.shape[1], at, count, tf.util.sizeFromShape(width), 0, batch);
    return [];
  },
  SearchE1Attention({ q, k, v, keyMask }, { length: keys }, heap, kernels) {
    const [batch, queries, heads, headDim] = q.shape;
    const [, room, keyHeads] = k.shape;
    const [out, lse] = [heap.output(q.shape), heap.output([batch, heads, queries])];
    const scratch = heap.scratch(kernels.attentionScratch(keys));
    const pointers = [q, k, v, keyMask, out, lse].map(heap.at);
    kernels.attentionForward(...pointers, scratch, queries, keys, room, heads, keyHeads, headDim, 0, batch * heads);
    return [out, lse];
  },
  SearchE1AttentionGrad({ q, k, v, keyMask, lse, dOut }, _, heap, kernels) {
    const [batch, queries, heads, headDim] = q.shape;
    const [, keys, keyHeads] = k.shape;
    const gradients = [heap.output(q.shape), heap.output(k.shape), heap.output(v.shape)];
    const scratch = heap.scratch(kernels.attentionScratch(keys));
    const pointers = [q, k, v, keyMask, lse, dOut, ...gradients].map(heap.at);
    kernels.attentionBackward(...pointers, scratch, queries, keys, heads, keyHeads, headDim, 0, batch * keyHeads);
    return gradients;
  },
  SearchE1SelectedLogProbs({ hidden, head, targets }, _, heap, kernels) {
    const [vocabulary, width] = head.shape;
    heap.checkIds(targets, vocabulary);
    const rows = size(targets);
    const [both, lse] = [heap.output([2, rows]), heap.output([rows])];
    const scratch = heap.scratch(kernels.vocabularyScratch(vocabulary));
    const pointers = [hidden, head, targets, both, lse].map(heap.at);
    kernels.selectedLogProbsForward(...pointers, scratch, rows, vocabulary, width, 0, rows);
    return [both, lse];
  },
  SearchE1SelectedLogProbsGrad({ hidden, head, targets, lse, dy }, _, heap, kernels) {
    const [vocabulary, width] = head.shape;
    const gradients = [heap.output(hidden.shape), heap.zeros(head.shape)];
    const scratch = heap.scratch(kernels.vocabularyScratch(vocabulary));
    const pointers = [hidden, head, targets, lse, dy, ...gradients].map(heap.at);
    kernels.selectedLogProbsBackward(...pointers, scratch, vocabulary, width, 0, size(targets));
    return gradients;
  },
  SearchE1ForwardKl({ teacher, student }, { clamp }, heap, kernels) {
    const [rows, vocabulary] = student.shape;
    const [both, saved] = [heap.output([2, rows]), heap.output([rows, 3])];
    kernels.forwardKlForward(...[teacher, student, both, saved].map(heap.at), clamp, rows, vocabulary, 0, rows);
    return [both, saved];
  },
  SearchE1ForwardKlGrad({ teacher, student, saved, dy }, { clamp }, heap, kernels) {
    const [rows, vocabulary] = student.shape;
    const dStudent = heap.output(student.shape);
    kernels.forwardKlBackward(...[teacher, student, saved, dy, dStudent].map(heap.at), clamp, vocabulary, 0, rows);
    return dStudent;
  },
  SearchE1SampleTokens({ logits, uniforms }, { temperature }, heap, kernels) {
    const [rows, vocabulary] = logits.shape;
    const [tokens, logProbs] = [heap.output([rows], 'int32'), heap.output([rows])];
    const scratch = heap.scratch(vocabulary + 4);
    kernels.sampleTokens(...[logits, uniforms, tokens, logProbs].map(heap.at), scratch, temperature, vocabulary, 0, rows);
    return [tokens, logProbs];
  },
  SearchE1AdamW({ weight, gradient, first, second }, attributes, heap, kernels) {
    const { gradientScale, beta1, beta2, rate, rootOfCorrection, epsilon, keep } = attributes;
    const next = [heap.output(weight.shape), heap.output(weight.shape), heap.output(weight.shape)];
    const pointers = [weight, gradient, first, second, ...next].map(heap.at);
    kernels.adamW(...pointers, gradientScale, beta1, 1 - beta1, beta2, 1 - beta2, rate, rootOfCorrection, epsilon, keep, 0, size(weight));
    return next;
  },
  SearchE1SumOfSquares({ x }, _, heap, kernels) {
    const sum = heap.output([]);
    kernels.sumOfSquares(heap.at(x), heap.at(sum), 0, size(x));
    return sum;
  },
};

let build: KernelBuild | undefined;

/**
 * Registers all kernels for the wasm backend, which has to be the active one; calling it again does nothing.
 *
 * @returns which build of them this Node runs
 * @throws Error where WebAssembly has no SIMD
 */
export function registerKernels(): KernelBuild {
  if (build) return build;
  const heap = heapOf(tf.backend() as BackendWasm);
  const loaded = loadKernels(heap.memory);
  for (const [kernelName, run] of Object.entries(KERNELS)) {
    const kernelFunc = ({ inputs, attrs }: { inputs: Inputs; attrs?: Attributes }) => {
      checkTypes(kernelName, inputs);
      return run(inputs, attrs ?? {}, heap, loaded.kernels);
    };
    tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernelFunc as unknown as tf.KernelFunc });
  }
  replaceMatMul(heap, loaded.kernels);
  build = loaded.build;
  return build;
}

/** A kernel reads bytes as what it expects them to be. */
function checkTypes(kernelName: string, inputs: Inputs): void {
  for (const [name, { dtype }] of Object.entries(inputs)) {
    const expected = name === 'ids' || name === 'targets' ? 'int32' : 'float32';
    if (dtype !== expected) throw new TypeError(`${kernelName}: ${name} should be ${expected}, got ${dtype}; use tf.cast`);
  }
}

/** Takes the place of BatchMatMul while kernels are in use; what it does not cover goes to the one before it. */
function replaceMatMul(heap: Heap, kernels: KernelModule): void {
  const before = tf.getKernel('BatchMatMul', 'wasm').kernelFunc;
  const kernelFunc: tf.KernelFunc = (call) => {
    const { a, b } = call.inputs as unknown as Inputs;
    const batch = kernelsInUse() && a.dtype === 'float32' && b.dtype === 'float32' ? commonBatch(a.shape, b.shape) : undefined;
    if (!batch) return before(call);
    const { transposeA, transposeB } = call.attrs as unknown as { transposeA: boolean; transposeB: boolean };
    const [m, k] = transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2);
    const n = b.shape[b.shape.length - (transposeB ? 2 : 1)];
    const out = heap.output([...batch, m, n]);
    const count = tf.util.sizeFromShape([...batch]);
    kernels.matMulBatched(
      ...[a, b, out].map(heap.at),
      heap.scratch(kernels.matMulScratch()),
      ...[m, n, k],
      ...(transposeA ? [1, m] : [k, 1]),
      ...(transposeB ? [1, k] : [n, 1]),
      ...[size(a) === m * k ? 0 : m * k, size(b) === k * n ? 0 : k * n],
      ...[0, count],
    );
    return out;
  };
  tf.unregisterKernel('BatchMatMul', 'wasm');
  tf.registerKernel({ kernelName: 'BatchMatMul', backendName: 'wasm', kernelFunc });
}

/** The batch axes of the product, where both operands have the same or one has a single entry; otherwise undefined. */
function commonBatch(a: readonly number[], b: readonly number[]): readonly number[] | undefined {
  const [left, right] = [a.slice(0, -2), b.slice(0, -2)];
  if (`${left}` === `${right}`) return left;
  if (left.length === right.length && right.every((length) => length === 1)) return left;
  if (left.length === right.length && left.every((length) => length === 1)) return right;
  return undefined;
}

const size = (tensor: tf.TensorInfo): number => tf.util.sizeFromShape(tensor.shape);

const last = (tensor: tf.TensorInfo): number => tensor.shape[tensor.shape.length - 1];
