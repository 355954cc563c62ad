/**
 * WGSL of at most sixteen rows times B^T: some threads share a column of the result, or two, which are rows of B, and read them once. That is decoding,
 * where a product takes as long as its weights take to arrive. In float32 whatever the rest computes in, since reading is what costs.
 */
import type { HalfFormat } from '../half.js';
import { type Shader, variants } from './queue.js';
import { type Writing, widening } from './tiles.js';

export interface FewRowsVariant extends Writing {
  readonly m: number;
  /** Threads that share a column: more where rows of B are long. */
  readonly lanes: 32 | 128;
  readonly halves: HalfFormat | undefined;
}

const THREADS = 128;

/** Columns that a group of lanes works on: what it reads of A then serves both. */
const columnsAtOnce = (m: number): number => (m > 4 ? 2 : 1);

/** Columns of the result that a workgroup computes. */
export const columnsPerGroup = ({ m, lanes }: FewRowsVariant): number => columnsAtOnce(m) * (THREADS / lanes);

export const fewRows = variants((variant: FewRowsVariant): Shader => {
  const { m, lanes, halves, bias, plus, accumulate } = variant;
  const rows = [...Array(m).keys()];
  const columns = [...Array(columnsAtOnce(m)).keys()];
  const each = (body: (r: number, j: number) => string) => rows.flatMap((r) => columns.map((j) => body(r, j))).join('\n      ');
  const sums = (r: number, j: number) => `${(r * columns.length + j) * THREADS}u + index`;
  return {
    buffers: [
      ...['a: array<vec4<f32>>', `b: array<${halves ? 'vec2<u32>' : 'vec4<f32>'}>`, 'var c: array<f32>'],
      ...(bias ? ['bias: array<f32>'] : []),
      ...(plus ? ['plus: array<f32>'] : []),
    ],
    params: ['m: u32', 'n: u32', 'k: u32', 'offsetA: u32', 'offsetB: u32', 'offsetC: u32', 'factor: f32'],
    code: `
${widening(halves)}
var<workgroup> sums: array<f32, ${THREADS * m * columns.length}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let column0 = (group.y + group.x * groups.y) * ${columnsPerGroup(variant)}u + index / ${lanes}u * ${columns.length}u;
  let lane = index % ${lanes}u;
  let vectors = params.k / 4u;
  ${columns.map((j) => `let from${j} = params.offsetB / 4u + min(column0 + ${j}u, params.n - 1u) * vectors;`).join('\n  ')}
  ${each((r, j) => `var sum${r}_${j} = 0.0;`)}
  if (column0 < params.n) {
    for (var i = lane; i < vectors; i += ${lanes}u) {
      ${columns.map((j) => `let weight${j} = ${halves ? `widen4(b[from${j} + i])` : `b[from${j} + i]`};`).join(' ')}
      ${rows.map((r) => `let a${r} = a[params.offsetA / 4u + ${r}u * vectors + i]; ${columns.map((j) => `sum${r}_${j} += dot(weight${j}, a${r});`).join(' ')}`).join('\n      ')}
    }
  }
  ${each((r, j) => `sums[${sums(r, j)}] = sum${r}_${j};`)}
  workgroupBarrier();
  for (var step = ${lanes / 2}u; step > 0u; step /= 2u) {
    if (lane < step) { ${each((r, j) => `sums[${sums(r, j)}] += sums[${sums(r, j)} + step];`)} }
    workgroupBarrier();
  }
  let row = lane / ${columns.length}u;
  let column = column0 + lane % ${columns.length}u;
  if (row < params.m && column < params.n) {
    let at = params.offsetC + row * params.n + column;
    c[at] ${accumulate ? '+=' : '='} sums[lane * ${THREADS}u + index - lane] * params.factor${bias ? ' + bias[column]' : ''}${plus ? ' + plus[at]' : ''};
  }
}`,
  };
});
