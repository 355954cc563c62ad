/** The decoder of single tokens on the simd backend: makes the plan that assembly/decode.ts works from, and fills in what changes from step to step. */
import * as tf from '@tensorflow/tfjs-core';
import { type DecoderSizes, LINEARS } from '../decode-tokens.js';
import type { SimdBackend } from './backend.js';
import { COST } from './mat-mul.js';

type Inputs = Readonly<Record<string, tf.TensorInfo | undefined>>;

/** Fields of the plan in the order of assembly/decode.ts: sizes and packed weights, which stay, then what belongs to a step. */
const STAYING = ['layers', 'width', 'inner', 'heads', 'kvHeads', 'headDim', 'vocabulary', 'rank', 'norm', 'head'] as const;
const CHANGING = [
  'rows',
  'longest',
  'table',
  'cos',
  'sin',
  'tokens',
  'positions',
  'places',
  'segments',
  'ranges',
  'logits',
  'workspace',
] as const;
const CACHED = ['cachedK', 'cachedV'] as const;
const NORMS = ['inputNorm', 'postNorm'] as const;
const PARTS = ['weight', 'bias', 'a', 'b'] as const;
const HEADER = STAYING.length + CHANGING.length;
const LAYER = CACHED.length + NORMS.length + LINEARS.length * PARTS.length;

/** Columns of a weight that are packed together, as in assembly/mat-mul.ts. */
const DEPTH = 256;
/** Least sequences a thread takes: with fewer its register tiles stay half empty. */
const LEAST_ROWS = 4;

/** The plan, and all weights but the embedding table, packed, in one block that it points into. */
export function packDecoder(backend: SimdBackend, inputs: Inputs, sizes: DecoderSizes): tf.TensorInfo[] {
  const { heap, kernels, threads, at } = backend;
  const isVector = (x: tf.TensorInfo) => x.shape.length === 1;
  const packedSize = (x: tf.TensorInfo) => (isVector(x) ? x.shape[0] : kernels.packedWeightSize(x.shape[0], x.shape[1]));
  const present = Object.values(inputs).flatMap((x) => (x ? [x] : []));
  const packed = backend.output([present.reduce((sum, x) => sum + packedSize(x), 0)]);
  let end = at(packed);
  /** Address of the copy, or 0. */
  const put = (name: string): number => {
    const x = inputs[name];
    if (!x) return 0;
    const to = end;
    end += 4 * packedSize(x);
    const [n, k] = x.shape;
    if (isVector(x)) heap.floats(to, n).set(heap.floats(at(x), n));
    else threads.run('packWeight', [at(x), to, n, k], Math.ceil(k / DEPTH), { cost: n * DEPTH });
    return to;
  };
  const { layers, width, inner, heads, kvHeads, headDim, vocabulary, rank } = sizes;
  const layer = (i: number) => [
    ...CACHED.map(() => 0),
    ...NORMS.map((name) => put(`${i}.${name}`)),
    ...LINEARS.flatMap((name) => PARTS.map((part) => put(`${i}.${name}.${part}`))),
  ];
  const fields = [
    ...[layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, put('norm'), put('head')],
    ...CHANGING.map(() => 0),
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
  ];
  const plan = backend.output([fields.length], 'int32');
  heap.integers(at(plan), fields.length).set(fields);
  return [plan, packed];
}

/** Logits [rows, vocabulary]. `inputs` holds the plan, `table`, `cos`, `sin`, what was read, and each layer's cache. */
export function decodeTokens(backend: SimdBackend, inputs: Readonly<Record<string, tf.TensorInfo>>, sizes: DecoderSizes): tf.TensorInfo {
  const { kernels, heap, threads, at } = backend;
  const { layers, width, inner, heads, kvHeads, headDim, vocabulary, rank, epsilon, scale } = sizes;
  const rows = inputs.tokens.shape[0];
  const positions = heap.integers(at(inputs.positions), rows);
  const places = heap.integers(at(inputs.places), rows);
  const longest = positions.reduce((most, position) => Math.max(most, position + 1), 0);
  const logits = backend.output([rows, vocabulary]);

  // Every sequence is a segment of one query, as attention counts them: [first query, queries, first range, ranges, keys], ranges [first key, keys].
  const segments = heap.allocate(4 * 7 * rows);
  const ranges = segments + 4 * 5 * rows;
  const tables = heap.integers(segments, 7 * rows);
  for (let row = 0; row < rows; row++) {
    const keys = positions[row] + 1;
    tables.set([row, 1, row, 1, keys], 5 * row);
    tables.set([places[row] - positions[row], keys], 5 * rows + 2 * row);
  }
  const workspace = heap.allocate(4 * kernels.decodeWorkspace(rows, width, inner, heads, kvHeads, headDim, rank));
  const { table, cos, sin, tokens } = inputs;
  const read = [table, cos, sin, tokens, inputs.positions, inputs.places].map(at);
  const plan = heap.integers(at(inputs.plan), tf.util.sizeFromShape(inputs.plan.shape));
  plan.set([rows, longest, ...read, segments, ranges, at(logits), workspace], STAYING.length);
  for (let i = 0; i < layers; i++) plan.set([at(inputs[`${i}.cachedK`]), at(inputs[`${i}.cachedV`])], HEADER + i * LAYER);

  const perToken = layers * width * (2 * (heads + kvHeads) * headDim + 3 * inner) + vocabulary * width;
  threads.run('decodeTokens', [at(inputs.plan), epsilon, scale], rows, {
    grain: Math.max(LEAST_ROWS, Math.ceil(rows / threads.count)),
    cost: perToken * COST,
    scratch: kernels.attentionScratch(longest, headDim),
  });
  heap.release(workspace);
  heap.release(segments);
  return logits;
}
