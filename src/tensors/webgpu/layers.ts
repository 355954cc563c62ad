/** WGSL of a layer's small operations: RMSNorm, rotary, the gate of SwiGLU, embedding, copies, sums of rows. One thread an element or one workgroup a row. */
import type { HalfFormat } from '../half.js';
import { GROUP_INDEX, reductions, type Shader, variants } from './queue.js';
import { widening } from './tiles.js';

const GROUP = 128;
const HEADER = `@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32)`;

/** Workgroups for one thread an element. */
export const groupsFor = (elements: number): number => Math.ceil(elements / GROUP);

const elementwise = (buffers: readonly string[], params: readonly string[], body: string, functions = ''): Shader => ({
  buffers,
  params: ['size: u32', ...params],
  code: `${GROUP_INDEX}
${functions}
${HEADER} {
  let i = group_index(group, groups) * ${GROUP}u + lane;
  if (i >= params.size) { return; }
  ${body}
}`,
});

/** A workgroup a row of `width` elements; `row` is checked against `rows`. */
const rowwise = (buffers: readonly string[], params: readonly string[], body: string): Shader => ({
  buffers,
  params: ['rows: u32', 'width: u32', ...params],
  code: `${GROUP_INDEX}
${reductions(GROUP)}
${HEADER} {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let start = row * params.width;
  ${body}
}`,
});

/** y = x / root mean square * weight; `inverse` keeps 1 / root mean square. */
export const rmsNorm = rowwise(
  ['x: array<f32>', 'weight: array<f32>', 'var y: array<f32>', 'var inverse: array<f32>'],
  ['epsilon: f32'],
  `var sum = 0.0;
  for (var j = lane; j < params.width; j += ${GROUP}u) { sum += x[start + j] * x[start + j]; }
  let r = inverseSqrt(reduce_sum(sum, lane) / f32(params.width) + params.epsilon);
  for (var j = lane; j < params.width; j += ${GROUP}u) { y[start + j] = x[start + j] * r * weight[j]; }
  if (lane == 0u) { inverse[row] = r; }`,
);

/** dx = r w dy - x r^3 / d sum(x w dy). */
export const rmsNormGrad = rowwise(
  ['x: array<f32>', 'weight: array<f32>', 'inverse: array<f32>', 'dy: array<f32>', 'var dx: array<f32>'],
  [],
  `let r = inverse[row];
  var sum = 0.0;
  for (var j = lane; j < params.width; j += ${GROUP}u) { sum += x[start + j] * weight[j] * dy[start + j]; }
  let shift = reduce_sum(sum, lane) * r * r / f32(params.width);
  for (var j = lane; j < params.width; j += ${GROUP}u) { dx[start + j] = r * (weight[j] * dy[start + j] - x[start + j] * shift); }`,
);

/** Rows that one workgroup of `columnSums` adds up; a second pass adds the partial sums. */
export const ROWS_A_PART = 128;

const columnSumsOf = (buffers: readonly string[], value: string): Shader => ({
  buffers: [...buffers, 'var partial: array<f32>'],
  params: ['rows: u32', 'width: u32'],
  code: `@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = group.x * 64u + lane;
  if (column >= params.width) { return; }
  let end = min(params.rows, (group.y + 1u) * ${ROWS_A_PART}u);
  var sum = 0.0;
  for (var row = group.y * ${ROWS_A_PART}u; row < end; row++) { let at = row * params.width + column; sum += ${value}; }
  partial[group.y * params.width + column] = sum;
}`,
});

/** Sums of x [rows, width] over groups of rows. */
export const columnSums = columnSumsOf(['x: array<f32>'], 'x[at]');

/** The same of x r dy: the gradient of RMSNorm's weight. */
export const rmsNormWeightSums = columnSumsOf(['x: array<f32>', 'inverse: array<f32>', 'dy: array<f32>'], 'x[at] * inverse[row] * dy[at]');

/** Dimension i turns together with i + headDim / 2. */
export const rotary = elementwise(
  ['x: array<f32>', 'cosines: array<f32>', 'sines: array<f32>', 'var y: array<f32>'],
  ['heads: u32', 'headDim: u32', 'tableRows: u32', 'direction: f32'],
  `let dim = i % params.headDim;
  let position = i / (params.headDim * params.heads);
  let at = (position % params.tableRows) * params.headDim + dim;
  let half = params.headDim / 2u;
  var other: f32;
  if (dim < half) { other = -x[i + half]; } else { other = x[i - half]; }
  y[i] = x[i] * cosines[at] + params.direction * other * sines[at];`,
);

export const swiglu = elementwise(
  ['gate: array<f32>', 'up: array<f32>', 'var y: array<f32>'],
  [],
  'y[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];',
);

export const swigluGrad = elementwise(
  ['gate: array<f32>', 'up: array<f32>', 'dy: array<f32>', 'var dGate: array<f32>', 'var dUp: array<f32>'],
  [],
  `let s = 1.0 / (1.0 + exp(-gate[i]));
  dGate[i] = dy[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
  dUp[i] = dy[i] * gate[i] * s;`,
);

export const zeros = elementwise(['var y: array<f32>'], [], 'y[i] = 0.0;');

export const embedding = elementwise(
  ['table: array<f32>', 'ids: array<i32>', 'var y: array<f32>'],
  ['width: u32'],
  'y[i] = table[u32(ids[i / params.width]) * params.width + i % params.width];',
);

/** Rows of packed halves, widened: one thread a word of two numbers. */
export const halfRows = variants((format: HalfFormat) =>
  elementwise(
    ['table: array<u32>', 'ids: array<i32>', 'var y: array<vec2<f32>>'],
    ['words: u32'],
    'y[i] = widen(table[u32(ids[i / params.words]) * params.words + i % params.words]);',
    widening(format),
  ),
);

/**
 * A workgroup a position: the first that names an id adds up the rows of all that do, in their order, so that the sum is the same every time (WGSL has no
 * atomic addition of floats).
 */
export const embeddingGrad: Shader = {
  buffers: ['ids: array<i32>', 'dy: array<f32>', 'var dTable: array<f32>'],
  params: ['rows: u32', 'width: u32'],
  code: `${GROUP_INDEX}
var<workgroup> earlier: atomic<u32>;
var<workgroup> seen: array<i32, ${GROUP}>;
${HEADER} {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let id = ids[row];
  for (var other = lane; other < row; other += ${GROUP}u) { if (ids[other] == id) { atomicStore(&earlier, 1u); } }
  workgroupBarrier();
  if (workgroupUniformLoad(&earlier) == 1u) { return; }
  for (var start = row; start < params.rows; start += ${GROUP}u) {
    workgroupBarrier();
    seen[lane] = -1;
    if (start + lane < params.rows) { seen[lane] = ids[start + lane]; }
    workgroupBarrier();
    for (var at = 0u; at < ${GROUP}u; at++) {
      if (seen[at] == id) {
        for (var j = lane; j < params.width; j += ${GROUP}u) { dTable[u32(id) * params.width + j] += dy[(start + at) * params.width + j]; }
      }
    }
  }
}`,
};

/** Row i of x goes to row to[i] of y. */
export const copyRows = elementwise(
  ['x: array<f32>', 'to: array<i32>', 'var y: array<f32>'],
  ['width: u32'],
  'y[u32(to[i / params.width]) * params.width + i % params.width] = x[i];',
);

/** Sums of squares of stretches of x, one a workgroup. */
export const squares: Shader = {
  buffers: ['x: array<f32>', 'var partial: array<f32>'],
  params: ['size: u32', 'stretch: u32'],
  code: `${reductions(GROUP)}
${HEADER} {
  let end = min(params.size, (group.x + 1u) * params.stretch);
  var sum = 0.0;
  for (var i = group.x * params.stretch + lane; i < end; i += ${GROUP}u) { sum += x[i] * x[i]; }
  let total = reduce_sum(sum, lane);
  if (lane == 0u) { partial[group.x] = total; }
}`,
};

/** The sum of a few numbers. */
export const total: Shader = {
  buffers: ['partial: array<f32>', 'var sum: array<f32>'],
  params: ['size: u32'],
  code: `${reductions(GROUP)}
${HEADER} {
  var part = 0.0;
  for (var i = lane; i < params.size; i += ${GROUP}u) { part += partial[i]; }
  let all = reduce_sum(part, lane);
  if (lane == 0u) { sum[0] = all; }
}`,
};

/** As `tensors/adamW.ts` writes it, with the gradient scaled down first. */
export const adamW = elementwise(
  [
    ...['weight: array<f32>', 'gradient: array<f32>', 'first: array<f32>', 'second: array<f32>'],
    ...['var nextWeight: array<f32>', 'var nextFirst: array<f32>', 'var nextSecond: array<f32>'],
  ],
  ['scale: f32', 'beta1: f32', 'rest1: f32', 'beta2: f32', 'rest2: f32', 'rate: f32', 'rootOfCorrection: f32', 'epsilon: f32', 'keep: f32'],
  `let g = gradient[i] * params.scale;
  let m = params.beta1 * first[i] + params.rest1 * g;
  let v = params.beta2 * second[i] + params.rest2 * g * g;
  nextFirst[i] = m;
  nextSecond[i] = v;
  nextWeight[i] = weight[i] * params.keep - params.rate * m / (sqrt(v) / params.rootOfCorrection + params.epsilon);`,
);
