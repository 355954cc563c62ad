/**
 * Causal grouped-query attention in WGSL, forward and backward, without the matrix of weights ever in memory (FlashAttention, Dao et al., 2022): keys and
 * values go through workgroup memory a tile at a time, each row keeps a running maximum and sum, and the gradient computes the weights again from the
 * log-sum-exp of each row. Sequences lie end to end and each is a segment that reads ranges of rows of k and v (`tensors/attention.ts`): nothing is gathered
 * or padded.
 *
 * A row (a query, in the gradient of k and v a key) belongs to one thread, or to two or four neighbours of a subgroup that hold 32 dimensions each and
 * add up their parts of a dot product by shuffling. Few queries (decoding) get a workgroup each instead.
 */
import { GROUP_INDEX, reductions, type Shader, variants } from './queue.js';

export interface AttentionVariant {
  readonly headDim: number;
  readonly masked: boolean;
  /** Whether the device has subgroups of at least four. */
  readonly subgroups: boolean;
}

/** Threads of a workgroup; rows are this over `threadsPerRow`. */
const THREADS = 64;
const TILE = 16;

export const threadsPerRow = ({ headDim, subgroups }: AttentionVariant): number =>
  subgroups && headDim % 128 === 0 ? 4 : subgroups && headDim % 64 === 0 ? 2 : 1;

/** Rows that a workgroup of these shaders works on. */
export const rowsPerGroup = (variant: AttentionVariant): number => THREADS / threadsPerRow(variant);

const PARAMS = ['queries: u32', 'rows: u32', 'segments: u32', 'heads: u32', 'keyHeads: u32', 'scale: f32'];

/** Of each segment: its first query, how many, its first range, how many, how many keys it reads. Of each range: its first row of k and v, how many. */
const TABLES = ['segments: array<u32>', 'ranges: array<u32>'];

/** headDim need not be a multiple of four: the last vector of a row is filled up with zeros. */
const vectorsOf = (headDim: number): number => Math.ceil(headDim / 4);

/** Declarations that all shaders here share. `part` is the share of the dimensions that a thread holds, in vectors. */
function common(variant: AttentionVariant): {
  readonly preamble: string;
  readonly code: string;
  readonly part: number;
  readonly split: number;
} {
  const { headDim, masked } = variant;
  const split = threadsPerRow(variant);
  const part = vectorsOf(headDim) / split;
  const whole = headDim % 4 === 0;
  const load = (name: string) => `
fn ${name}_four(at: u32, vector: u32) -> vec4<f32> {
  ${
    whole
      ? `return ${name}[at / 4u + vector];`
      : `var four = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) { if (vector * 4u + i < ${headDim}u) { four[i] = ${name}[at + vector * 4u + i]; } }
  return four;`
  }
}`;
  const shuffles =
    split === 1 ? '' : Array.from({ length: Math.log2(split) }, (_, i) => `sum += subgroupShuffleXor(sum, ${1 << i}u);`).join(' ');
  return {
    part,
    split,
    preamble: split === 1 ? '' : 'enable subgroups;\ndiagnostic(off, subgroup_uniformity);',
    code: `${['q', 'k', 'v', 'dOut'].map(load).join('')}
fn together(part: f32) -> f32 { var sum = part; ${shuffles} return sum; }
fn open(row: u32) -> bool { return ${masked ? 'keyMask[row] != 0.0' : 'true'}; }
fn row_of(segment: u32, key: u32) -> u32 {
  var range = segments[segment * 5u + 2u];
  let last = range + segments[segment * 5u + 3u] - 1u;
  var rest = key;
  while (range < last && rest >= ranges[range * 2u + 1u]) { rest -= ranges[range * 2u + 1u]; range++; }
  return ranges[range * 2u] + rest;
}`,
  };
}

/** Leaves out the readers of buffers that a shader does not have. */
function shader(buffers: readonly string[], { preamble }: { preamble: string }, code: string): Shader {
  const names = buffers.map((buffer) => buffer.replace(/^var /, '').split(':')[0]);
  const kept = code.replace(/\nfn (\w+)_four\([\s\S]*?\n}/g, (text, name: string) => (names.includes(name) ? text : ''));
  return { buffers, params: PARAMS, preamble, code: kept };
}

const rowsOf = (headDim: number): string => (headDim % 4 === 0 ? 'array<vec4<f32>>' : 'array<f32>');

/** Writes vector `i` of a row that starts at `at`. */
const write = (to: string, headDim: number, value: string): string =>
  headDim % 4 === 0
    ? `${to}[at / 4u + first + i] = ${value};`
    : `let four = ${value}; for (var c = 0u; c < 4u; c++) { if ((first + i) * 4u + c < ${headDim}u) { ${to}[at + (first + i) * 4u + c] = four[c]; } }`;

const mask = (masked: boolean): readonly string[] => (masked ? ['keyMask: array<f32>'] : []);

/** Whether key `key` of a segment may be read: its row is looked for only where there is a mask. */
const readable = ({ masked }: AttentionVariant, segment: string, key: string): string =>
  masked ? `open(row_of(${segment}, ${key}))` : 'true';

/** A workgroup: some queries of one head of one segment. Dispatch x: blocks of queries, y: heads, z: segments. */
export const attentionForward = variants((variant: AttentionVariant): Shader => {
  const { headDim } = variant;
  const shared = common(variant);
  const vectors = vectorsOf(headDim);
  const { part, split } = shared;
  return shader(
    [
      `q: ${rowsOf(headDim)}`,
      `k: ${rowsOf(headDim)}`,
      `v: ${rowsOf(headDim)}`,
      `var out: ${rowsOf(headDim)}`,
      'var lse: array<f32>',
      ...TABLES,
      ...mask(variant.masked),
    ],
    shared,
    `${shared.code}
var<workgroup> tileK: array<vec4<f32>, ${TILE * vectors}>;
var<workgroup> tileV: array<vec4<f32>, ${TILE * vectors}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let segment = group.z;
  let queries = segments[segment * 5u + 1u];
  let keys = segments[segment * 5u + 4u];
  if (group.x * ${THREADS / split}u >= queries) { return; }
  let head = group.y;
  let keyHead = head * params.keyHeads / params.heads;
  let query = group.x * ${THREADS / split}u + index / ${split}u;
  let first = (index % ${split}u) * ${part}u;
  let row = min(query, queries - 1u);
  let own = segments[segment * 5u] + row;
  let at = (own * params.heads + head) * ${headDim}u;
  var mine: array<vec4<f32>, ${part}>;
  var sum: array<vec4<f32>, ${part}>;
  for (var i = 0u; i < ${part}u; i++) { mine[i] = q_four(at, first + i) * params.scale; }
  let limit = keys - queries + row; // the last key this query may read
  let lastOfGroup = keys - queries + min((group.x + 1u) * ${THREADS / split}u, queries) - 1u;
  var top = -1e30;
  var mass = 0.0;
  for (var key0 = 0u; key0 <= lastOfGroup; key0 += ${TILE}u) {
    workgroupBarrier();
    for (var i = index; i < ${TILE * vectors}u; i += ${THREADS}u) {
      let from_ = (row_of(segment, min(key0 + i / ${vectors}u, keys - 1u)) * params.keyHeads + keyHead) * ${headDim}u;
      tileK[i] = k_four(from_, i % ${vectors}u);
      tileV[i] = v_four(from_, i % ${vectors}u);
    }
    workgroupBarrier();
    var scores: array<f32, ${TILE}>;
    var highest = top;
    var read = 0u; // a bit for each key that is read: a comparison would not see a score that is NaN
    for (var j = 0u; j < ${TILE}u; j++) {
      var four = vec4<f32>(0.0);
      for (var i = 0u; i < ${part}u; i++) { four = fma(mine[i], tileK[j * ${vectors}u + first + i], four); }
      let key = key0 + j;
      let score = together(dot(four, vec4<f32>(1.0)));
      let reads = key <= limit && ${readable(variant, 'segment', 'min(key, keys - 1u)')};
      if (reads) { read |= 1u << j; }
      scores[j] = select(-1e30, score, reads);
      highest = max(highest, scores[j]);
    }
    let shrink = exp(top - highest);
    top = highest;
    mass *= shrink;
    for (var i = 0u; i < ${part}u; i++) { sum[i] *= shrink; }
    for (var j = 0u; j < ${TILE}u; j++) {
      let weight = select(0.0, exp(scores[j] - top), (read & (1u << j)) != 0u);
      mass += weight;
      for (var i = 0u; i < ${part}u; i++) { sum[i] = fma(vec4<f32>(weight), tileV[j * ${vectors}u + first + i], sum[i]); }
    }
  }
  if (query < queries) {
    let scale = select(1.0 / mass, 0.0, mass == 0.0);
    for (var i = 0u; i < ${part}u; i++) { ${write('out', headDim, 'sum[i] * scale')} }
    if (first == 0u) { lse[head * params.queries + own] = select(top + log(mass), 0.0, mass == 0.0); }
  }
}`,
  );
});

/** A workgroup a query and head: its threads share out the keys, then the dimensions. Dispatch x: queries of a segment, y: heads, z: segments. */
export const attentionOfFew = variants((variant: AttentionVariant): Shader => {
  const { headDim } = variant;
  const shared = common({ ...variant, subgroups: false });
  const vectors = vectorsOf(headDim);
  const size = 128;
  return shader(
    [
      `q: ${rowsOf(headDim)}`,
      `k: ${rowsOf(headDim)}`,
      `v: ${rowsOf(headDim)}`,
      'var out: array<f32>',
      'var lse: array<f32>',
      ...TABLES,
      ...mask(variant.masked),
    ],
    shared,
    `${shared.code}
${reductions(size)}
var<workgroup> mine: array<vec4<f32>, ${vectors}>;
var<workgroup> weights: array<f32, ${size}>;
var<workgroup> partial: array<vec4<f32>, ${size}>;
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let segment = group.z;
  let queries = segments[segment * 5u + 1u];
  let keys = segments[segment * 5u + 4u];
  let query = group.x;
  if (query >= queries) { return; }
  let head = group.y;
  let keyHead = head * params.keyHeads / params.heads;
  let own = segments[segment * 5u] + query;
  let at = (own * params.heads + head) * ${headDim}u;
  for (var i = index; i < ${vectors}u; i += ${size}u) { mine[i] = q_four(at, i) * params.scale; }
  let readable = keys - queries + query + 1u;
  // Threads as rows of the sum over keys: thread i adds vector i % vectors of every keysAtOnce-th key.
  let keysAtOnce = ${Math.max(1, Math.floor(size / vectors))}u;
  let vector = index % ${vectors}u;
  let share = index / ${vectors}u;
  var top = -1e30;
  var mass = 0.0;
  var sum = vec4<f32>(0.0);
  for (var key0 = 0u; key0 < readable; key0 += ${size}u) {
    workgroupBarrier();
    let key = key0 + index;
    var score = -1e30;
    let row = row_of(segment, min(key, readable - 1u));
    let reads = key < readable && open(row);
    if (reads) {
      let from_ = (row * params.keyHeads + keyHead) * ${headDim}u;
      var four = vec4<f32>(0.0);
      for (var i = 0u; i < ${vectors}u; i++) { four = fma(mine[i], k_four(from_, i), four); }
      score = dot(four, vec4<f32>(1.0));
    }
    let highest = max(top, reduce_max(score, index));
    let weight = select(0.0, exp(score - highest), reads);
    weights[index] = weight;
    let shrink = exp(top - highest);
    top = highest;
    mass = mass * shrink + reduce_sum(weight, index);
    sum *= shrink;
    if (share < keysAtOnce) {
      let end = min(${size}u, readable - key0);
      for (var j = share; j < end; j += keysAtOnce) {
        let from_ = (row_of(segment, key0 + j) * params.keyHeads + keyHead) * ${headDim}u;
        sum = fma(vec4<f32>(weights[j]), v_four(from_, vector), sum);
      }
    }
  }
  partial[index] = sum;
  workgroupBarrier();
  if (index < ${vectors}u) {
    var whole = vec4<f32>(0.0);
    for (var s = 0u; s < keysAtOnce; s++) { whole += partial[s * ${vectors}u + index]; }
    let scale = select(1.0 / mass, 0.0, mass == 0.0);
    for (var c = 0u; c < 4u; c++) { if (index * 4u + c < ${headDim}u) { out[at + index * 4u + c] = whole[c] * scale; } }
  }
  if (index == 0u) { lse[head * params.queries + own] = select(top + log(mass), 0.0, mass == 0.0); }
}`,
  );
});

/** Of each head and query what the gradients need besides: statistics [2, H, N], its log-sum-exp, and delta = sum over dimensions of dOut out. One thread each. */
export const attentionStatistics = variants((headDim: number): Shader => {
  return {
    buffers: ['dOut: array<f32>', 'out: array<f32>', 'lse: array<f32>', 'var statistics: array<f32>'],
    params: ['size: u32', 'heads: u32'],
    code: `${GROUP_INDEX}
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = group_index(group, groups) * 128u + lane;
  if (i >= params.size) { return; }
  var sum = 0.0;
  for (var j = 0u; j < ${headDim}u; j++) { sum += dOut[i * ${headDim}u + j] * out[i * ${headDim}u + j]; }
  let at = i % params.heads * (params.size / params.heads) + i / params.heads;
  statistics[at] = lse[at];
  statistics[params.size + at] = sum;
}`,
  };
});

/** dq = scale sum over keys of p (dOut v - delta) k. Dispatch as the forward pass. */
export const attentionQueryGrad = variants((variant: AttentionVariant): Shader => {
  const { headDim } = variant;
  const shared = common(variant);
  const vectors = vectorsOf(headDim);
  const { part, split } = shared;
  return shader(
    [
      ...[`q: ${rowsOf(headDim)}`, `k: ${rowsOf(headDim)}`, `v: ${rowsOf(headDim)}`, `dOut: ${rowsOf(headDim)}`],
      ...['statistics: array<f32>', `var dq: ${rowsOf(headDim)}`, ...TABLES, ...mask(variant.masked)],
    ],
    shared,
    `${shared.code}
var<workgroup> tileK: array<vec4<f32>, ${TILE * vectors}>;
var<workgroup> tileV: array<vec4<f32>, ${TILE * vectors}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let segment = group.z;
  let queries = segments[segment * 5u + 1u];
  let keys = segments[segment * 5u + 4u];
  if (group.x * ${THREADS / split}u >= queries) { return; }
  let head = group.y;
  let keyHead = head * params.keyHeads / params.heads;
  let query = group.x * ${THREADS / split}u + index / ${split}u;
  let first = (index % ${split}u) * ${part}u;
  let row = min(query, queries - 1u);
  let own = segments[segment * 5u] + row;
  let at = (own * params.heads + head) * ${headDim}u;
  var mine: array<vec4<f32>, ${part}>;
  var gradient: array<vec4<f32>, ${part}>;
  var sum: array<vec4<f32>, ${part}>;
  for (var i = 0u; i < ${part}u; i++) { mine[i] = q_four(at, first + i) * params.scale; gradient[i] = dOut_four(at, first + i); }
  let ownLse = statistics[head * params.queries + own];
  let ownDelta = statistics[(params.heads + head) * params.queries + own];
  let limit = keys - queries + row;
  let lastOfGroup = keys - queries + min((group.x + 1u) * ${THREADS / split}u, queries) - 1u;
  for (var key0 = 0u; key0 <= lastOfGroup; key0 += ${TILE}u) {
    workgroupBarrier();
    for (var i = index; i < ${TILE * vectors}u; i += ${THREADS}u) {
      let from_ = (row_of(segment, min(key0 + i / ${vectors}u, keys - 1u)) * params.keyHeads + keyHead) * ${headDim}u;
      tileK[i] = k_four(from_, i % ${vectors}u);
      tileV[i] = v_four(from_, i % ${vectors}u);
    }
    workgroupBarrier();
    for (var j = 0u; j < ${TILE}u; j++) {
      var score4 = vec4<f32>(0.0);
      var value4 = vec4<f32>(0.0);
      for (var i = 0u; i < ${part}u; i++) {
        score4 = fma(mine[i], tileK[j * ${vectors}u + first + i], score4);
        value4 = fma(gradient[i], tileV[j * ${vectors}u + first + i], value4);
      }
      let key = key0 + j;
      let score = together(dot(score4, vec4<f32>(1.0)));
      let value = together(dot(value4, vec4<f32>(1.0)));
      let p = select(0.0, exp(score - ownLse), key <= limit && ${readable(variant, 'segment', 'min(key, keys - 1u)')});
      let dScore = p * (value - ownDelta) * params.scale;
      for (var i = 0u; i < ${part}u; i++) { sum[i] = fma(vec4<f32>(dScore), tileK[j * ${vectors}u + first + i], sum[i]); }
    }
  }
  if (query < queries) { for (var i = 0u; i < ${part}u; i++) { ${write('dq', headDim, 'sum[i]')} } }
}`,
  );
});

/**
 * dv = sum over queries of p dOut; dk = scale sum of p (dOut v - delta) q. A block of rows of k and v goes through all segments that read of it, in their
 * order, so that the sums are the same every time. Dispatch x: blocks of rows, y: key/value heads.
 */
export const attentionKeyGrad = variants((variant: AttentionVariant): Shader => {
  const { headDim } = variant;
  const shared = common(variant);
  const vectors = vectorsOf(headDim);
  const { part, split } = shared;
  return shader(
    [
      ...[`q: ${rowsOf(headDim)}`, `k: ${rowsOf(headDim)}`, `v: ${rowsOf(headDim)}`, `dOut: ${rowsOf(headDim)}`],
      ...['statistics: array<f32>', `var dk: ${rowsOf(headDim)}`, `var dv: ${rowsOf(headDim)}`, ...TABLES, ...mask(variant.masked)],
    ],
    shared,
    `${shared.code}
var<workgroup> tileQ: array<vec4<f32>, ${TILE * vectors}>;
var<workgroup> tileD: array<vec4<f32>, ${TILE * vectors}>;
var<workgroup> rowLse: array<f32, ${TILE}>;
var<workgroup> rowDelta: array<f32, ${TILE}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let keyHead = group.y;
  let each = params.heads / params.keyHeads;
  let blockStart = group.x * ${THREADS / split}u;
  let blockEnd = blockStart + ${THREADS / split}u;
  let row = min(blockStart + index / ${split}u, params.rows - 1u);
  let first = (index % ${split}u) * ${part}u;
  let at = (row * params.keyHeads + keyHead) * ${headDim}u;
  var mineK: array<vec4<f32>, ${part}>;
  var mineV: array<vec4<f32>, ${part}>;
  var sumK: array<vec4<f32>, ${part}>;
  var sumV: array<vec4<f32>, ${part}>;
  for (var i = 0u; i < ${part}u; i++) { mineK[i] = k_four(at, first + i) * params.scale; mineV[i] = v_four(at, first + i); }
  let readable = open(row);
  for (var segment = 0u; segment < params.segments; segment++) {
    let queries = segments[segment * 5u + 1u];
    let before = segments[segment * 5u + 4u] - queries; // query i stands at position before + i
    let firstRange = segments[segment * 5u + 2u];
    var passed = 0u; // keys of the ranges before this one
    for (var range = firstRange; range < firstRange + segments[segment * 5u + 3u]; range++) {
      let from_ = ranges[range * 2u];
      let count = ranges[range * 2u + 1u];
      if (from_ < blockEnd && from_ + count > blockStart) {
        let inside = row >= from_ && row < from_ + count;
        let key = passed + row - from_; // of this segment, where it is inside
        let firstKey = passed + max(blockStart, from_) - from_;
        let query0 = select(0u, firstKey - before, firstKey > before);
        for (var head = keyHead * each; head < (keyHead + 1u) * each; head++) {
          for (var start = query0; start < queries; start += ${TILE}u) {
            workgroupBarrier();
            for (var i = index; i < ${TILE * vectors}u; i += ${THREADS}u) {
              let query = segments[segment * 5u] + min(start + i / ${vectors}u, queries - 1u);
              tileQ[i] = q_four((query * params.heads + head) * ${headDim}u, i % ${vectors}u);
              tileD[i] = dOut_four((query * params.heads + head) * ${headDim}u, i % ${vectors}u);
            }
            if (index < ${TILE}u) {
              let query = segments[segment * 5u] + min(start + index, queries - 1u);
              rowLse[index] = statistics[head * params.queries + query];
              rowDelta[index] = statistics[(params.heads + head) * params.queries + query];
            }
            workgroupBarrier();
            for (var j = 0u; j < ${TILE}u; j++) {
              var score4 = vec4<f32>(0.0);
              var value4 = vec4<f32>(0.0);
              for (var i = 0u; i < ${part}u; i++) {
                score4 = fma(mineK[i], tileQ[j * ${vectors}u + first + i], score4);
                value4 = fma(mineV[i], tileD[j * ${vectors}u + first + i], value4);
              }
              let query = start + j;
              let score = together(dot(score4, vec4<f32>(1.0)));
              let value = together(dot(value4, vec4<f32>(1.0)));
              let reads = readable && inside && query < queries && key <= before + query;
              let p = select(0.0, exp(score - rowLse[j]), reads);
              let dScore = p * (value - rowDelta[j]) * params.scale;
              for (var i = 0u; i < ${part}u; i++) {
                sumV[i] = fma(vec4<f32>(p), tileD[j * ${vectors}u + first + i], sumV[i]);
                sumK[i] = fma(vec4<f32>(dScore), tileQ[j * ${vectors}u + first + i], sumK[i]);
              }
            }
          }
        }
      }
      passed += count;
    }
  }
  if (blockStart + index / ${split}u < params.rows) {
    for (var i = 0u; i < ${part}u; i++) { ${write('dk', headDim, 'sumK[i]').replaceAll('four', 'fourK')} ${write('dv', headDim, 'sumV[i]')} }
  }
}`,
  );
});
