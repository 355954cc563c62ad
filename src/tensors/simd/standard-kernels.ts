/**
 * TensorFlow.js's own operations where training and sampling spend time in them, on floats (copies: integers too); what a kernel does not cover goes to
 * the stock one.
 */
import * as tf from '@tensorflow/tfjs-core';
import { checkedSlice } from '../checked-slice.js';
import type { SimdBackend } from './backend.js';
import { type Axis, broadcastAxes, joinAxes, rowMajor } from './broadcast.js';
import { batchMatMul } from './mat-mul.js';
import { sumRows } from './sum-rows.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
// biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, declared by TensorFlow.js
type Attributes = any;
/** Undefined where the kernel does not cover the case. */
type Run = (inputs: Inputs, attributes: Attributes, backend: SimdBackend) => tf.TensorInfo | undefined;

/** In the order of assembly/elementwise.ts. */
const BINARY = ['Add', 'Sub', 'Multiply', 'RealDiv', 'Maximum', 'Minimum', 'SquaredDifference'];
const UNARY = ['Neg', 'Abs', 'Sqrt', 'Rsqrt', 'Square', 'Exp', 'Sigmoid', 'Reciprocal'];
/** Elements of a long row that make a unit there. */
const PIECE = 4096;

const KERNELS: Readonly<Record<string, Run>> = {
  ...Object.fromEntries(BINARY.map((name, operation) => [name, binary(operation)])),
  ...Object.fromEntries(UNARY.map((name, operation) => [name, unary(operation)])),

  BatchMatMul: ({ a, b }, { transposeA, transposeB }, backend) => batchMatMul(backend, a, b, transposeA, transposeB),

  AddN(inputs, _, backend) {
    const [first, second, ...rest] = Object.values(inputs);
    if (!second || !Object.values(inputs).every((x) => backend.holds(x, 'float32') && `${x.shape}` === `${first.shape}`)) return undefined;
    const sum = backend.output(first.shape);
    combine(backend, 0, first, second, sum);
    for (const x of rest) combine(backend, 0, sum, x, sum);
    return sum;
  },

  /** The stock kernel gives integers out as floats: fine for JavaScript's arrays, not for bytes in memory. */
  Cast({ x }, { dtype }, backend) {
    if ((dtype !== 'float32' && dtype !== 'int32') || x.dtype === dtype || x.dtype === 'complex64' || x.dtype === 'string')
      return undefined;
    return backend.makeTensorInfo(x.shape, dtype, backend.readSync(x.dataId));
  },

  Fill(_, { shape, value, dtype }, backend) {
    if (typeof value !== 'number' || (dtype !== undefined && dtype !== 'float32')) return undefined;
    const y = backend.output(shape);
    backend.heap.floats(backend.at(y), size(y)).fill(value);
    return y;
  },

  Sum({ x }, { axis, keepDims }, backend) {
    const { kept, width, last, first } = reduction(x, axis);
    if (!backend.holds(x, 'float32') || size(x) === 0) return undefined;
    if (last) return reduceRows(backend, 'rowSums', x, width, remaining(x, kept, keepDims), [1]);
    return first ? { ...sumRows(backend, x, size(x) / width), shape: remaining(x, kept, keepDims) } : undefined;
  },

  Mean({ x }, { axis, keepDims }, backend) {
    const { kept, width, last } = reduction(x, axis);
    if (!backend.holds(x, 'float32') || size(x) === 0 || !last) return undefined;
    return reduceRows(backend, 'rowSums', x, width, remaining(x, kept, keepDims), [1 / width]);
  },

  Max({ x }, { reductionIndices, keepDims }, backend) {
    const { kept, width, last } = reduction(x, reductionIndices);
    if (!backend.holds(x, 'float32') || size(x) === 0 || !last) return undefined;
    return reduceRows(backend, 'rowMaxima', x, width, remaining(x, kept, keepDims), []);
  },

  Softmax({ logits }, { dim }, backend) {
    const { at, output, threads } = backend;
    const width = logits.shape[logits.shape.length - 1];
    if (!backend.holds(logits, 'float32') || size(logits) === 0 || (dim !== -1 && dim !== logits.shape.length - 1)) return undefined;
    const y = output(logits.shape);
    threads.run('softmaxRows', [at(logits), at(y), width], size(y) / width, { cost: width * 2 });
    return y;
  },

  Transpose({ x }, { perm }, backend) {
    if (!isHeld(x, backend) || x.shape.length < 2) return undefined;
    const order = perm as readonly number[];
    const y = backend.output(
      order.map((axis) => x.shape[axis]),
      x.dtype,
    );
    const [from, to] = [rowMajor(x.shape), rowMajor(y.shape)];
    copy(
      backend,
      backend.at(x),
      backend.at(y),
      order.map((axis, i) => ({ length: y.shape[i], steps: [from[axis], to[i]] })),
    );
    return y;
  },

  Slice({ x }, { begin, size }, backend) {
    if (!isHeld(x, backend) || x.shape.length === 0) return undefined;
    const [start, lengths] = checkedSlice(x, begin, size);
    const y = backend.output(lengths, x.dtype);
    const [from, to] = [rowMajor(x.shape), rowMajor(lengths)];
    const offset = start.reduce((sum, at, i) => sum + at * from[i], 0);
    copy(
      backend,
      backend.at(x) + 4 * offset,
      backend.at(y),
      lengths.map((length, i) => ({ length, steps: [from[i], to[i]] })),
    );
    return y;
  },

  Concat(inputs, { axis }, backend) {
    const parts = Object.values(inputs);
    const [first] = parts;
    if (!isHeld(first, backend)) return undefined;
    const along = tf.util.parseAxisParam(axis, first.shape)[0];
    if (!parts.every((part) => backend.holds(part, first.dtype))) return undefined;
    tf.backend_util.assertParamsConsistent(
      parts.map(({ shape }) => shape),
      along,
    );
    const y = backend.output(tf.backend_util.computeOutShape(parts.map(({ shape }) => shape) as number[][], along), first.dtype);
    const rows = tf.util.sizeFromShape(first.shape.slice(0, along));
    const yRow = tf.util.sizeFromShape(y.shape.slice(along));
    let at = backend.at(y);
    for (const part of parts) {
      const width = tf.util.sizeFromShape(part.shape.slice(along));
      copy(backend, backend.at(part), at, [
        { length: rows, steps: [width, yRow] },
        { length: width, steps: [1, 1] },
      ]);
      at += 4 * width;
    }
    return y;
  },

  GatherV2({ x, indices }, { axis, batchDims }, backend) {
    const { at, output, threads, heap } = backend;
    if (!isHeld(x, backend) || !backend.holds(indices, 'int32') || x.shape.length === 0) return undefined;
    const rows = x.shape[0];
    const inside = heap.integers(at(indices), size(indices)).every((id) => id >= 0 && id < rows);
    if (batchDims !== 0 || tf.util.parseAxisParam(axis, x.shape)[0] !== 0 || !inside) return undefined;
    const width = tf.util.sizeFromShape(x.shape.slice(1));
    const y = output([...indices.shape, ...x.shape.slice(1)], x.dtype);
    threads.run('embeddingForward', [at(x), at(indices), at(y), width], size(indices), { cost: width / 4 });
    return y;
  },
};

/** Puts the kernels before those copied from the cpu backend. */
export function registerStandardKernels(): void {
  for (const [kernelName, run] of Object.entries(KERNELS)) {
    const stock = tf.getKernel(kernelName, 'simd').kernelFunc;
    const kernelFunc: tf.KernelFunc = (call) => {
      const { inputs, attrs, backend } = call as unknown as { inputs: Inputs; attrs: Attributes; backend: SimdBackend };
      return run(inputs, attrs, backend) ?? stock(call);
    };
    tf.unregisterKernel(kernelName, 'simd');
    tf.registerKernel({ kernelName, backendName: 'simd', kernelFunc });
  }
}

function binary(operation: number): Run {
  return ({ a, b }, _, backend) => {
    if (!backend.holds(a, 'float32') || !backend.holds(b, 'float32')) return undefined;
    const out = backend.output(tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape));
    if (combine(backend, operation, a, b, out)) return out;
    backend.disposeData(out.dataId);
    return undefined;
  };
}

/** Writes a combined with b to `out`; false where the two broadcast in too many directions. */
function combine({ at, threads }: SimdBackend, operation: number, a: tf.TensorInfo, b: tf.TensorInfo, out: tf.TensorInfo): boolean {
  const axes = joinAxes(broadcastAxes(out.shape, [a.shape, b.shape]));
  if (axes.length > 3) return false;
  const none: Axis = { length: 1, steps: [0, 0] };
  const [outer, middle, inner] = [none, none, none, ...axes].slice(-3);
  const pieces = Math.ceil(inner.length / PIECE);
  const steps = [...inner.steps, ...middle.steps, ...outer.steps];
  threads.run('binary', [at(a), at(b), at(out), operation, inner.length, middle.length, ...steps], outer.length * middle.length * pieces, {
    cost: Math.min(inner.length, PIECE) / 2 + 4,
  });
  return true;
}

function unary(operation: number): Run {
  return ({ x }, _, backend) => {
    const { at, output, threads } = backend;
    if (!backend.holds(x, 'float32')) return undefined;
    const y = output(x.shape);
    threads.run('unary', [at(x), at(y), operation], size(x), { grain: 16, cost: 1 });
    return y;
  };
}

/** Copies along the axes, whose steps are those of source and target; the innermost is copied as a block where both move by 1. */
function copy(backend: SimdBackend, from: number, to: number, axes: readonly Axis[]): void {
  if (axes.some(({ length }) => length === 0)) return;
  const joined = joinAxes(axes);
  const last = joined[joined.length - 1];
  const block = last?.steps.every((step) => step === 1) ? joined.pop()!.length : 1;
  if (joined.length > 3) {
    const [{ length, steps }, ...rest] = joined;
    const inner = block > 1 ? [...rest, { length: block, steps: [1, 1] }] : rest;
    for (let i = 0; i < length; i++) copy(backend, from + 4 * i * steps[0], to + 4 * i * steps[1], inner);
    return;
  }
  const none: Axis = { length: 1, steps: [0, 0] };
  const [outer, rows, columns] = [none, none, none, ...joined].slice(-3);
  const steps = [0, 1].flatMap((which) => [outer, rows, columns].map((axis) => axis.steps[which]));
  const cost = columns.length * (2 + block / 4);
  backend.threads.run('copyBlocks', [from, to, rows.length, columns.length, block, ...steps], outer.length * rows.length, { cost });
}

/** Which axes are kept, how many elements fall together, and whether these are the last axes, or the first. */
function reduction(x: tf.TensorInfo, axis: number | number[]) {
  const reduced = tf.util.parseAxisParam(axis, x.shape);
  const kept = x.shape.map((_, i) => !reduced.includes(i));
  const width = reduced.reduce((product, i) => product * x.shape[i], 1);
  const last = reduced.length === 0 || Math.min(...reduced) === x.shape.length - reduced.length;
  const first = Math.max(...reduced) === reduced.length - 1;
  return { kept, width, last, first };
}

const remaining = (x: tf.TensorInfo, kept: readonly boolean[], keepDims: boolean): number[] =>
  x.shape.flatMap((length, i) => (kept[i] ? [length] : keepDims ? [1] : []));

function reduceRows(
  { at, output, threads }: SimdBackend,
  kernel: 'rowSums' | 'rowMaxima',
  x: tf.TensorInfo,
  width: number,
  shape: readonly number[],
  settings: readonly number[],
): tf.TensorInfo {
  const y = output(shape);
  threads.run(kernel, [at(x), at(y), ...settings, width], size(x) / width, { cost: width / 2 });
  return y;
}

/** Whether the tensor lies in shared memory, four bytes an element. */
const isHeld = (x: tf.TensorInfo, backend: SimdBackend): x is tf.TensorInfo & { dtype: 'float32' | 'int32' } =>
  backend.holds(x, 'float32') || backend.holds(x, 'int32');

const size = (tensor: tf.TensorInfo): number => tf.util.sizeFromShape(tensor.shape);
