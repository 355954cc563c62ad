/** The decoder of single tokens on the simd backend: writes the plan that assembly/decode.ts works from. */
import type * as tf from '@tensorflow/tfjs-core';
import type { SimdBackend } from './backend.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;

export interface DecoderSizes {
  readonly layers: number;
  readonly width: number;
  readonly inner: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  /** Of the adapter, or 0. */
  readonly rank: number;
  readonly scale: number;
  readonly epsilon: number;
}

/** In the order of the plan. */
const LINEARS = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const;
/** Columns of a weight that are packed together, as in assembly/mat-mul.ts. */
const DEPTH = 256;
/** Least sequences a thread takes: with fewer its register tiles stay half empty. */
const LEAST_ROWS = 4;
/** Nanoseconds a multiplication with addition takes, roughly. */
const COST = 1 / 16;

export function packWeight({ at, output, kernels, threads }: SimdBackend, weight: tf.TensorInfo): tf.TensorInfo {
  const [n, k] = weight.shape;
  const packed = output([kernels.packedWeightSize(n, k)]);
  threads.run('packWeight', [at(weight), at(packed), n, k], Math.ceil(k / DEPTH), { cost: n * DEPTH });
  return packed;
}

export function decodeTokens(backend: SimdBackend, inputs: Inputs, sizes: DecoderSizes): tf.TensorInfo {
  const { kernels, heap, threads } = backend;
  const { layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, epsilon, scale } = sizes;
  const at = (name: string) => backend.at(inputs[name]);
  const rows = inputs.tokens.shape[0];
  const positions = heap.integers(at('positions'), rows);
  const places = heap.integers(at('places'), rows);
  const longest = Math.max(...positions) + 1;
  const logits = backend.output([rows, vocabulary]);
  const workspace = heap.allocate(4 * kernels.decodeWorkspace(rows, width, inner, heads, kvHeads, headDim, rank));

  // Every sequence is a segment of one query, as attention counts them: [first query, queries, first range, ranges, keys], ranges [first key, keys].
  const segments = [...positions].flatMap((position, row) => [row, 1, row, 1, position + 1]);
  const ranges = [...positions].flatMap((position, row) => [places[row] - position, position + 1]);
  const tables = heap.allocate(4 * (segments.length + ranges.length));
  heap.integers(tables, segments.length + ranges.length).set([...segments, ...ranges]);

  const layer = (i: number) => [
    ...['inputNorm', 'postNorm', 'cachedK', 'cachedV'].map((name) => at(`${i}.${name}`)),
    ...LINEARS.flatMap((name) => ['weight', 'bias', 'a', 'b'].map((part) => at(`${i}.${name}.${part}`))),
  ];
  const plan = [
    ...[layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, rows, longest],
    ...['table', 'norm', 'head', 'cos', 'sin', 'tokens', 'positions', 'places'].map(at),
    ...[tables, tables + 4 * segments.length, backend.at(logits), workspace],
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
  ];
  const planAt = heap.allocate(4 * plan.length);
  heap.integers(planAt, plan.length).set(plan);

  const perToken = layers * width * (2 * (heads + kvHeads) * headDim + 3 * inner) + vocabulary * width;
  threads.run('decodeTokens', [planAt, epsilon, scale], rows, {
    grain: Math.max(LEAST_ROWS, Math.ceil(rows / threads.count)),
    cost: perToken * COST,
    scratch: kernels.attentionScratch(longest, headDim),
  });
  for (const block of [planAt, tables, workspace]) heap.release(block);
  return logits;
}
