/**
 * Puts this project's kernels for TensorFlow on the CPU behind their names in the tensorflow backend's registry.
 *
 * They are in `kernels/`, in C++, as `npm run setup:tensorflow` compiles it into the package's binding: TensorFlow has no such operations, and as many
 * small ones each formula spends its time in memory and in being dispatched. Matrix products are among them, so that all that computes shares one
 * pool of threads: those of TensorFlow's go on looking for work after each of its operations, on the processors that the next one needs.
 * A binding without the kernels (the package's own download), or a graphics card, computes the plain formulas.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { KernelName, WebGpuKernelName } from '../dispatch.js';
import { packedWeights } from './decode-tokens.js';

/** What is used of tfjs-node's backend and its binding; a handle is a tensor of TensorFlow's. */
export interface TensorFlowBackend extends tf.KernelBackend {
  readonly isUsingGpuDevice: boolean;
  readonly binding: {
    readonly TF_Version?: string;
    readonly TF_FLOAT: number;
    readonly TF_INT32: number;
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

/** Segments serve batches of attention too. */
const KERNELS: Readonly<Record<Exclude<KernelName, WebGpuKernelName>, Run>> = {
  SearchE1HalfMatMul: (run, { x, halves }, { format, byRows }) =>
    run.one('SearchE1HalfMatMul', [x, halves], [Number(format === 'BF16'), Number(byRows)]),
  SearchE1HalfRows: (run, { halves, ids }, { format }) => run.one('SearchE1HalfRows', [halves, ids], [Number(format === 'BF16')]),
  SearchE1Linear: (run, { x, weight, bias, plus }) => run.one('SearchE1Linear', [x, weight, bias, plus]),
  SearchE1AdaptedLinear: (run, { x, weight, a, b, bias, plus }, { scale }) =>
    run.all('SearchE1AdaptedLinear', [x, weight, a, b, bias, plus], 2, [scale]),
  SearchE1AdaptedLinearGrad: (run, { x, weight, a, b, low, dy }, { scale }) =>
    run.all('SearchE1AdaptedLinearGrad', [x, weight, a, b, low, dy], 3, [scale]),
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
  SearchE1SegmentAttentionGrad: (run, { q, k, v, keyMask, segments, ranges, families, out, lse, dOut }) =>
    run.all('SearchE1SegmentAttentionGrad', [q, k, v, keyMask, segments, ranges, families, out, lse, dOut], 3),
  SearchE1SelectedLogProbs: (run, { hidden, head, targets }, { save }) =>
    run.all('SearchE1SelectLogProbs', [hidden, head, targets], 3, [Number(save)]),
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
    return run.one('SearchE1DecodeTokens', [plan, table, cos, sin, tokens, positions, places], undefined, cached);
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

  /** Of two axes, behind any number of 1s. */
  matMul(a: tf.TensorInfo, b: tf.TensorInfo, { transposeA = false, transposeB = false } = {}): tf.Tensor {
    return this.one('SearchE1MatMul', [a, b], [Number(transposeA), Number(transposeB)]);
  }

  fill(shape: readonly number[], value: number): tf.Tensor {
    return this.#execute('SearchE1Fill', [], [this.#constant(shape, 'int32'), this.#constant([value], 'float32')], 1)[0];
  }

  /** The same memory in another shape. */
  reshape(x: tf.TensorInfo, shape: readonly number[]): tf.Tensor {
    return this.#execute('SearchE1Reshape', [], [...this.backend.getInputTensorIds([x]), this.#constant(shape, 'int32')], 1)[0];
  }

  #execute(name: string, attributes: readonly object[], inputs: readonly Handle[], outputs: number): tf.Tensor[] {
    const { binding } = this.backend;
    const made = binding.executeOp(name, attributes, inputs, outputs).map((each) => this.backend.createOutputTensor(each));
    if (this.#constants.size > MOST_CONSTANTS) {
      // only now, as the inputs may be some of them
      for (const old of this.#constants.values()) binding.deleteTensor(old);
      this.#constants.clear();
    }
    return made;
  }

  /** The same tensor for the same numbers, which TensorFlow.js need not know of. */
  #constant(numbers: readonly number[], dtype: 'float32' | 'int32'): Handle {
    const name = `${dtype} ${numbers}`;
    const known = this.#constants.get(name);
    if (known !== undefined) return known;
    const { binding } = this.backend;
    const [type, values] =
      dtype === 'float32' ? [binding.TF_FLOAT, Float32Array.from(numbers)] : [binding.TF_INT32, Int32Array.from(numbers)];
    const made = binding.createTensor([numbers.length], type, values);
    this.#constants.set(name, made);
    return made;
  }
}

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
  multiplyMatrices(operations);
  addInOneShape(operations);
  fillByKernel(operations);
  return true;
}

/** A kernel of TensorFlow.js' backend gives way to `run` where that returns something. */
function replaceKernel(kernelName: string, run: (inputs: Inputs, attributes: Attributes) => tf.TensorInfo | null): void {
  const stock = (tf.getKernel(kernelName, 'tensorflow') as tf.KernelConfig).kernelFunc;
  tf.unregisterKernel(kernelName, 'tensorflow');
  const kernelFunc: tf.KernelFunc = (call) => run(call.inputs as unknown as Inputs, call.attrs) ?? stock(call);
  tf.registerKernel({ kernelName, backendName: 'tensorflow', kernelFunc });
}

/** TensorFlow.js makes a tensor of the shape for every change of shape, of which a decoding step has dozens: here it is made once. */
const keepShapes = (operations: Operations): void =>
  replaceKernel('Reshape', ({ x }, { shape }) =>
    x.dtype === 'float32' ? operations.reshape(x, tf.util.inferFromImplicitShape(shape, tf.util.sizeFromShape(x.shape))) : null,
  );

/** Products of two matrices; those of batches are TensorFlow's. */
const multiplyMatrices = (operations: Operations): void =>
  replaceKernel('BatchMatMul', ({ a, b }, attributes) => {
    const single = [a, b].every(({ shape, dtype }) => dtype === 'float32' && shape.slice(0, -2).every((length) => length === 1));
    return single && a.shape.length === b.shape.length ? operations.matMul(a, b, attributes) : null;
  });

/** Sums of two arrays of one shape, as of the gradients of what is read twice; others are TensorFlow's. */
const addInOneShape = (operations: Operations): void =>
  replaceKernel('Add', ({ a, b }) => {
    const same = a.dtype === 'float32' && b.dtype === 'float32' && `${a.shape}` === `${b.shape}`;
    return same ? operations.one('SearchE1Add', [a, b]) : null;
  });

/** Arrays of one number, as the cache of keys and values begins: their memory then is this project's kernels' to lay out. */
const fillByKernel = (operations: Operations): void =>
  replaceKernel('Fill', (_, { shape, value, dtype }) =>
    (dtype ?? 'float32') === 'float32' && typeof value === 'number' ? operations.fill(shape, value) : null,
  );
