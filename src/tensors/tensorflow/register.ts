/**
 * Puts this project's kernels for TensorFlow on the CPU behind their names in the tensorflow backend's registry.
 *
 * Matrix products are TensorFlow's own, which nothing here is faster than. What stands between them is in `kernels/`, in C++, as `npm run setup:tensorflow`
 * compiles it into the package's binding: TensorFlow has no such operations, and as many small ones each formula spends its time in memory
 * and in being dispatched. A binding without them (the package's own download), or a graphics card, computes the plain formulas.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { HalfKernelName, KernelName } from '../dispatch.js';
import { packedWeights, settingsOf } from './decode-tokens.js';

/** What is used of tfjs-node's backend and its binding; a handle is a tensor of TensorFlow's. */
export interface TensorFlowBackend extends tf.KernelBackend {
  readonly isUsingGpuDevice: boolean;
  readonly binding: {
    readonly TF_Version?: string;
    readonly TF_FLOAT: number;
    readonly TF_INT32: number;
    readonly TF_ATTR_TYPE: number;
    readonly TF_ATTR_BOOL: number;
    readonly TF_ATTR_INT: number;
    createTensor(shape: readonly number[], dtype: number, values: Float32Array | Int32Array): Handle;
    deleteTensor(handle: Handle): void;
    executeOp(name: string, attributes: readonly object[], inputs: readonly Handle[], outputs: number): object[];
  };
  getInputTensorIds(tensors: readonly tf.TensorInfo[]): Handle[];
  createOutputTensor(made: object): tf.Tensor;
}
type Handle = number;

type Inputs = Readonly<Record<string, tf.TensorInfo>>; // some may be absent
// biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, given by the operation beside it
type Attributes = any;
type Run = (operations: Operations, inputs: Inputs, attributes: Attributes) => tf.TensorInfo | tf.TensorInfo[];

/** Rows up to which a linear layer is one operation of ours: above, TensorFlow's products are worth their dispatch. */
const FEW_ROWS = 64;

/** Segments serve batches of attention too; 16-bit weights have no kernel here yet: their plain formula runs. */
const KERNELS: Readonly<Record<Exclude<KernelName, HalfKernelName | 'SearchE1HalfMatMul'>, Run>> = {
  SearchE1Linear(run, { x, weight, bias, plus }) {
    if (size(x) <= FEW_ROWS * last(x)) return run.one('SearchE1LinearOfFewRows', [x, weight, bias, plus]);
    const rows = run.rows(x);
    const y = run.matMul(rows, weight, { transposeB: true }); // [N, out]
    rows.dispose();
    if (bias || plus) run.finish(y, { bias, plus });
    return run.shaped(y, [...x.shape.slice(0, -1), weight.shape[0]]);
  },
  SearchE1AdaptedLinear(run, { x, weight, a, b, bias, plus }, { scale }) {
    const rows = run.rows(x);
    const low = run.matMul(rows, a, { transposeB: true }); // [N, rank]
    const y = run.matMul(rows, weight, { transposeB: true }); // [N, out]
    const z = run.matMul(low, b, { transposeB: true });
    run.finish(y, { z, bias, plus }, scale);
    tf.dispose([rows, z]);
    return [run.shaped(y, [...x.shape.slice(0, -1), weight.shape[0]]), low];
  },
  SearchE1AdaptedLinearGrad(run, { x, weight, a, b, low, dy }, { scale }) {
    const [rows, dRows] = [run.rows(x), run.rows(dy)];
    const dLow = run.matMul(dRows, b); // [N, rank], but for the scale
    const dx = run.matMul(dRows, weight); // [N, in]
    const z = run.matMul(dLow, a);
    run.finish(dx, { z }, scale);
    const dA = run.matMul(dLow, rows, { transposeA: true }); // [rank, in], likewise
    const dB = run.matMul(dRows, low, { transposeA: true }); // [out, rank], likewise
    const scaled = [dA, dB].map((gradient) => tf.mul(gradient, scale));
    tf.dispose([rows, dRows, dLow, z, dA, dB]);
    return [run.shaped(dx, x.shape), ...scaled];
  },
  SearchE1SumRows: (run, { x }) => run.one('SearchE1SumRows', [x]),
  SearchE1RmsNorm: (run, { x, weight }, { epsilon }) => run.all('SearchE1RmsNorm', [x, weight], 2, [epsilon]),
  SearchE1RmsNormGrad: (run, { x, weight, inverse, dy }) => run.all('SearchE1RmsNormGrad', [x, weight, inverse, dy], 2),
  SearchE1Rotary: (run, { x, cos, sin }, { direction }) => run.one('SearchE1Rotary', [x, cos, sin], [direction]),
  SearchE1Swiglu: (run, { gate, up }) => run.one('SearchE1Swiglu', [gate, up]),
  SearchE1SwigluGrad: (run, { gate, up, dy }) => run.all('SearchE1SwigluGrad', [gate, up, dy], 2),
  SearchE1Embedding: (run, { table, ids }) => run.one('SearchE1Embedding', [table, ids]),
  SearchE1EmbeddingGrad: (run, { ids, dy }, { rows }) => run.one('SearchE1EmbeddingGrad', [ids, dy], [rows]),
  SearchE1CopyRows: (run, { x, y, to }) => run.all('SearchE1CopyRows', [x, y, to], 0),
  SearchE1SegmentAttention: (run, { q, k, v, keyMask, segments, ranges }) =>
    run.all('SearchE1SegmentAttention', [q, k, v, keyMask, segments, ranges], 2),
  SearchE1SegmentAttentionGrad: (run, { q, k, v, keyMask, segments, ranges, families, lse, dOut }) =>
    run.all('SearchE1SegmentAttentionGrad', [q, k, v, keyMask, segments, ranges, families, lse, dOut], 3),
  SearchE1SelectedLogProbs(run, { hidden, head, targets }, { save }) {
    const weights = run.matMul(hidden, head, { transposeB: true }); // [N, V]: logits, and then e^(logit - largest)
    const [both, inverse] = run.all('SearchE1SelectLogProbs', [weights, targets], 2);
    if (save) return [both, weights, inverse];
    tf.dispose([weights, inverse]);
    return [both, tf.zeros([0]), tf.zeros([0])];
  },
  SearchE1SelectedLogProbsGrad(run, { hidden, head, targets, weights, inverse, dy }, { of }) {
    if (of === 'hidden') {
      const dHidden = run.matMul(weights, head); // [N, d]
      run.all('SearchE1FinishHidden', [dHidden, head, targets, dy, inverse], 0);
      return dHidden;
    }
    const scaled = run.one('SearchE1ScaleRows', [hidden, dy, inverse]); // [N, d]
    const dHead = run.matMul(weights, scaled, { transposeA: true }); // [V, d]
    scaled.dispose();
    run.all('SearchE1AddScaledRows', [dHead, hidden, targets, dy], 0);
    return dHead;
  },
  SearchE1PackDecoder: (_, inputs, sizes) => packedWeights(inputs, sizes),
  SearchE1DecodeTokens(run, inputs, sizes) {
    const { plan, table, cos, sin, tokens, positions, places } = inputs;
    const cached = Array.from({ length: sizes.layers }, (_, i) => [inputs[`${i}.cachedK`], inputs[`${i}.cachedV`]]).flat();
    return run.one('SearchE1DecodeTokens', [plan, table, cos, sin, tokens, positions, places], settingsOf(sizes), cached);
  },
  SearchE1ForwardKl: (run, { teacher, student }, { clamp }) => run.all('SearchE1ForwardKl', [teacher, student], 2, [clamp]),
  SearchE1ForwardKlGrad: (run, { teacher, student, saved, dy }, { clamp }) =>
    run.one('SearchE1ForwardKlGrad', [teacher, student, saved, dy], [clamp]),
  SearchE1SampleTokens: (run, { logits, uniforms }, { temperature }) =>
    run.all('SearchE1SampleTokens', [logits, uniforms], 2, [temperature]),
  SearchE1AdamW(run, { weight, gradient, first, second }, attributes) {
    const { gradientScale, beta1, beta2, rate, rootOfCorrection, epsilon, keep } = attributes;
    const settings = tf.tensor1d([gradientScale, beta1, 1 - beta1, beta2, 1 - beta2, rate, rootOfCorrection, epsilon, keep]);
    const next = run.all('SearchE1AdamW', [weight, gradient, first, second, settings], 3);
    settings.dispose();
    return next;
  },
  SearchE1SumOfSquares: (run, { x }) => run.one('SearchE1SumOfSquares', [x]),
};

/** Constants that are kept at most, such as shapes; then they are made anew. */
const MOST_CONSTANTS = 1000;

/** Executes operations of TensorFlow. What they give belongs to the caller. */
class Operations {
  readonly #constants = new Map<string, Handle>();

  constructor(private readonly backend: TensorFlowBackend) {}

  /**
   * @param inputs undefined is a tensor without elements
   * @param settings numbers that the kernel takes behind its inputs; few different ones, as they are kept
   * @param list inputs behind those, of which there may be any number
   */
  all(
    name: string,
    inputs: readonly (tf.TensorInfo | undefined)[],
    outputs: number,
    settings?: readonly number[],
    list: readonly tf.TensorInfo[] = [],
  ): tf.Tensor[] {
    const handles = inputs.map((input) => (input ? this.backend.getInputTensorIds([input])[0] : this.#constant([], 'float32')));
    if (settings) handles.push(this.#constant(settings, 'float32'));
    const count = list.length > 0 ? [{ name: 'count', type: this.backend.binding.TF_ATTR_INT, value: list.length }] : [];
    return this.#execute(name, count, [...handles, ...this.backend.getInputTensorIds(list)], outputs);
  }

  one(
    name: string,
    inputs: readonly (tf.TensorInfo | undefined)[],
    settings?: readonly number[],
    list?: readonly tf.TensorInfo[],
  ): tf.Tensor {
    return this.all(name, inputs, 1, settings, list)[0];
  }

  /** Not by `MatMul`: the sgemm of oneDNN behind it corrupts memory when a signal reaches its thread (TensorFlow 2.21 under Node's profiler). */
  matMul(a: tf.TensorInfo, b: tf.TensorInfo, { transposeA = false, transposeB = false } = {}): tf.Tensor {
    const { TF_FLOAT, TF_ATTR_TYPE, TF_ATTR_BOOL } = this.backend.binding;
    const attributes = [
      { name: 'T', type: TF_ATTR_TYPE, value: TF_FLOAT },
      { name: 'adj_x', type: TF_ATTR_BOOL, value: transposeA },
      { name: 'adj_y', type: TF_ATTR_BOOL, value: transposeB },
    ];
    return this.#execute('BatchMatMulV2', attributes, this.backend.getInputTensorIds([a, b]), 1)[0];
  }

  /** y += scale z + bias + plus, in place. */
  finish(y: tf.TensorInfo, { z, bias, plus }: Inputs, scale = 1): void {
    this.all('SearchE1FinishLinear', [y, z, bias, plus], 0, [scale]);
  }

  /** The same memory in another shape, of which one axis may be -1: as many as there are. */
  reshape(x: tf.TensorInfo, shape: readonly number[]): tf.Tensor {
    const { TF_FLOAT, TF_INT32, TF_ATTR_TYPE } = this.backend.binding;
    const attributes = [
      { name: 'T', type: TF_ATTR_TYPE, value: x.dtype === 'float32' ? TF_FLOAT : TF_INT32 },
      { name: 'Tshape', type: TF_ATTR_TYPE, value: TF_INT32 },
    ];
    const handles = [...this.backend.getInputTensorIds([x]), this.#constant(shape, 'int32')];
    return this.#execute('Reshape', attributes, handles, 1)[0];
  }

  /** [N, width] of [..., width]. */
  rows(x: tf.TensorInfo): tf.Tensor {
    return this.reshape(x, [-1, last(x)]);
  }

  /** `x` in another shape, in whose place it comes. */
  shaped(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
    const same = this.reshape(x, shape);
    x.dispose();
    return same;
  }

  #execute(name: string, attributes: readonly object[], inputs: readonly Handle[], outputs: number): tf.Tensor[] {
    return this.backend.binding.executeOp(name, attributes, inputs, outputs).map((made) => this.backend.createOutputTensor(made));
  }

  /** The same tensor for the same numbers, which TensorFlow.js need not know of. */
  #constant(numbers: readonly number[], dtype: 'float32' | 'int32'): Handle {
    const name = `${dtype} ${numbers}`;
    const known = this.#constants.get(name);
    if (known !== undefined) return known;
    const { binding } = this.backend;
    if (this.#constants.size === MOST_CONSTANTS) {
      for (const old of this.#constants.values()) binding.deleteTensor(old);
      this.#constants.clear();
    }
    const [type, values] =
      dtype === 'float32' ? [binding.TF_FLOAT, Float32Array.from(numbers)] : [binding.TF_INT32, Int32Array.from(numbers)];
    const made = binding.createTensor([numbers.length], type, values);
    this.#constants.set(name, made);
    return made;
  }
}

const size = (x: tf.TensorInfo): number => tf.util.sizeFromShape(x.shape);

const last = (x: tf.TensorInfo): number => x.shape[x.shape.length - 1];

/** Whether the binding was compiled with the kernels. */
function compiledIn(operations: Operations): boolean {
  try {
    tf.tidy(() => operations.one('SearchE1SumOfSquares', [tf.scalar(0)]));
    return true;
  } catch {
    return false;
  }
}

/** Registers all of them, where they are there and the backend computes on the CPU; says whether it did. */
export function registerTensorFlowKernels(backend: TensorFlowBackend): boolean {
  if (tf.getKernel('SearchE1Linear', 'tensorflow')) return true;
  const operations = new Operations(backend);
  if (backend.isUsingGpuDevice || !compiledIn(operations)) return false;
  for (const [kernelName, run] of Object.entries(KERNELS)) {
    const kernelFunc = ({ inputs, attrs }: { inputs: Inputs; attrs?: Attributes }) => run(operations, inputs, attrs ?? {});
    tf.registerKernel({ kernelName, backendName: 'tensorflow', kernelFunc: kernelFunc as unknown as tf.KernelFunc });
  }
  keepShapes(operations);
  return true;
}

/** TensorFlow.js makes a tensor of the shape for every change of shape, of which a decoding step has dozens: here it is made once. */
function keepShapes(operations: Operations): void {
  const stock = (tf.getKernel('Reshape', 'tensorflow') as tf.KernelConfig).kernelFunc;
  tf.unregisterKernel('Reshape', 'tensorflow');
  tf.registerKernel({
    kernelName: 'Reshape',
    backendName: 'tensorflow',
    kernelFunc(call) {
      const { x } = call.inputs as { x: tf.TensorInfo };
      const { shape } = call.attrs as unknown as { shape: number[] };
      return x.dtype === 'float32' || x.dtype === 'int32' ? operations.reshape(x, shape) : stock(call);
    },
  });
}
