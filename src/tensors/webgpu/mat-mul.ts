/**
 * Matrix product on WebGPU, `C = factor op(A) op(B) (+ bias) (+ plus) (+ C)` with optional transposition: square tiles of the operands go through workgroup memory, each
 * thread keeps a 4 x 4 or 8 x 8 block of C in registers (the scheme of every GPU matrix product since Volkov and Demmel, 2008).
 *
 * A thread loads a 4 x 4 block of one operand at a time, turns it in registers where memory runs along k, and reads the next tile while it computes
 * this one. Few rows (decoding) get a shader of their own that reads each weight once.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { f32, type Shader, type ShaderQueue, u32, variants } from './queue.js';

export interface MatMulShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** A is stored as [k, m]. */
  readonly transposeA?: boolean;
  /** B is stored as [n, k]. */
  readonly transposeB?: boolean;
  /** Number of products, with elements from one to the next; a stride of 0 uses the same matrix for all. */
  readonly batch?: number;
  readonly strideA?: number;
  readonly strideB?: number;
  /** First elements, where an operand is some rows of a larger one. */
  readonly offsetA?: number;
  readonly offsetB?: number;
  readonly offsetC?: number;
  /** Multiplies the product; default 1. */
  readonly factor?: number;
  /** Adds to what is in C instead of replacing it. */
  readonly accumulate?: boolean;
  /** Side of the tiles; by default from the size of C. */
  readonly tile?: Tile;
}

/** What is added to the product while it is written. */
export interface Addends {
  readonly bias?: tf.TensorInfo; // [n], to each row
  readonly plus?: tf.TensorInfo; // of C's shape, another tensor than C
}

export type Tile = 32 | 64 | 128;

/** Side of a workgroup in threads, and the depth of a tile, such that half of the threads load A's tile in one go and the others B's. */
const TILES: Readonly<Record<Tile, { readonly threads: number; readonly depth: number }>> = {
  32: { threads: 8, depth: 16 },
  64: { threads: 16, depth: 32 },
  128: { threads: 16, depth: 16 },
};

/** Workgroups that keep a large card busy: with fewer, smaller tiles are better. */
const ENOUGH_GROUPS = 128;
const FEW_ROWS = 8;

/** Queues `c = factor op(a) op(b) + ...`. */
export function matMul(
  queue: ShaderQueue,
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  c: tf.TensorInfo,
  shape: MatMulShape,
  { bias, plus }: Addends = {},
): void {
  const { m, n, k, transposeA = false, transposeB = false, batch = 1, strideA = 0, strideB = 0, offsetA = 0, offsetB = 0 } = shape;
  const { offsetC = 0, factor = 1, accumulate = false } = shape;
  const whole = (...lengths: readonly number[]) => lengths.every((length) => length % 4 === 0);
  const tensors = [a, b, c, ...(bias ? [bias] : []), ...(plus ? [plus] : [])];
  const writing = { bias: Boolean(bias), plus: Boolean(plus), accumulate };
  if (!shape.tile && m <= FEW_ROWS && transposeB && !transposeA && batch === 1 && whole(k, offsetA, offsetB)) {
    const params = [...[m, n, k, offsetA, offsetB, offsetC].map(u32), f32(factor)];
    const groups = Math.ceil(n / 4);
    queue.run(fewRows({ m, ...writing }), tensors, params, [Math.ceil(groups / 65_535), Math.min(groups, 65_535), 1]);
    return;
  }
  const tile = shape.tile ?? ([128, 64] as const).find((side) => Math.ceil(m / side) * Math.ceil(n / side) * batch >= ENOUGH_GROUPS) ?? 32;
  const shader = tiled({
    tile,
    transposeA,
    transposeB,
    vectorA: whole(transposeA ? m : k, strideA, offsetA),
    vectorB: whole(transposeB ? k : n, strideB, offsetB),
    vectorC: whole(n, offsetC),
    ...writing,
  });
  const params = [...[m, n, k, strideA, strideB, offsetA, offsetB, offsetC].map(u32), f32(factor)];
  queue.run(shader, tensors, params, [Math.ceil(n / tile), Math.ceil(m / tile), batch]);
}

interface Writing {
  readonly bias: boolean;
  readonly plus: boolean;
  readonly accumulate: boolean;
}

interface Variant extends Writing {
  readonly tile: Tile;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Whether rows in memory are whole groups of four, and are read or written so. */
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  readonly vectorC: boolean;
}

const tiled = variants((variant: Variant): Shader => {
  const { tile, transposeA, transposeB, vectorA, vectorB, vectorC, bias, plus, accumulate } = variant;
  const { threads, depth } = TILES[tile];
  const blocks = tile / 4; // 4 x 4 blocks along the side of a tile
  const stride = blocks + 1; // one more than needed, so that turned stores hit different banks
  const halves = tile === 128 ? [0, 1] : [0];
  const each = (body: (i: number, r: number, j: number) => string) =>
    halves.flatMap((i) => [0, 1, 2, 3].flatMap((r) => halves.map((j) => body(i, r, j)))).join('\n');
  const array = (vector: boolean) => (vector ? 'array<vec4<f32>>' : 'array<f32>');
  return {
    buffers: [
      ...[`a: ${array(vectorA)}`, `b: ${array(vectorB)}`, `var c: ${array(vectorC)}`],
      ...(bias ? ['bias: array<f32>'] : []),
      ...(plus ? [`plus: ${array(vectorC)}`] : []),
    ],
    params: ['m: u32', 'n: u32', 'k: u32', 'strideA: u32', 'strideB: u32', 'offsetA: u32', 'offsetB: u32', 'offsetC: u32', 'factor: f32'],
    code: `
var<workgroup> tileA: array<vec4<f32>, ${depth * stride}>;
var<workgroup> tileB: array<vec4<f32>, ${depth * stride}>;
${loader('a', 'm', !transposeA, vectorA)}
${loader('b', 'n', transposeB, vectorB)}
@compute @workgroup_size(${threads}, ${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row0 = group.y * ${tile}u;
  let column0 = group.x * ${tile}u;
  let offsetA = params.offsetA + group.z * params.strideA;
  let offsetB = params.offsetB + group.z * params.strideB;
  let loadsA = index < ${(threads * threads) / 2}u;
  let block = index % ${(threads * threads) / 2}u;
  let alongK = select(${place(!transposeB, blocks, depth, 'k')}, ${place(transposeA, blocks, depth, 'k')}, loadsA);
  let alongSide = select(${place(!transposeB, blocks, depth, 'side')}, ${place(transposeA, blocks, depth, 'side')}, loadsA);
  ${each((i, r, j) => `var sum${i}${r}${j} = vec4<f32>(0.0);`)}
  var next: array<vec4<f32>, 4>;
  if (loadsA) { next = load_a(offsetA, row0 + alongSide * 4u, alongK * 4u); } else { next = load_b(offsetB, column0 + alongSide * 4u, alongK * 4u); }
  for (var k0 = 0u; k0 < params.k; k0 += ${depth}u) {
    let at = alongK * ${4 * stride}u + alongSide;
    if (loadsA) {
      ${[0, 1, 2, 3].map((i) => `tileA[at + ${i * stride}u] = next[${i}];`).join(' ')}
    } else {
      ${[0, 1, 2, 3].map((i) => `tileB[at + ${i * stride}u] = next[${i}];`).join(' ')}
    }
    workgroupBarrier();
    let k1 = k0 + ${depth}u + alongK * 4u;
    if (k0 + ${depth}u < params.k) {
      if (loadsA) { next = load_a(offsetA, row0 + alongSide * 4u, k1); } else { next = load_b(offsetB, column0 + alongSide * 4u, k1); }
    }
    for (var step = 0u; step < ${depth}u; step++) {
      ${halves.map((i) => `let a${i} = tileA[step * ${stride}u + ${(i * blocks) / 2}u + local.y];`).join(' ')}
      ${halves.map((j) => `let b${j} = tileB[step * ${stride}u + ${(j * blocks) / 2}u + local.x];`).join(' ')}
      ${each((i, r, j) => `sum${i}${r}${j} = fma(vec4<f32>(a${i}[${r}]), b${j}, sum${i}${r}${j});`)}
    }
    workgroupBarrier();
  }
  let base = params.offsetC + group.z * params.m * params.n;
  ${each((i, r, j) => `store(base, row0 + ${(i * tile) / 2 + r}u + local.y * 4u, column0 + ${(j * tile) / 2}u + local.x * 4u, sum${i}${r}${j});`)}
}
fn store(base: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row >= params.m || column >= params.n) { return; }
  var value = sum * params.factor;
  ${bias ? 'for (var i = 0u; i < 4u; i++) { if (column + i < params.n) { value[i] += bias[column + i]; } }' : ''}
  let at = base + row * params.n + column;
  ${
    vectorC
      ? `c[at / 4u] ${accumulate ? '+=' : '='} value${plus ? ' + plus[at / 4u]' : ''};`
      : `for (var i = 0u; i < 4u; i++) { if (column + i < params.n) { c[at + i] ${accumulate ? '+=' : '='} value[i]${plus ? ' + plus[at + i]' : ''}; } }`
  }
}`,
  };
});

/** Which block a thread loads: neighbouring threads read what lies side by side in memory. */
function place(alongSide: boolean, blocks: number, depth: number, axis: 'k' | 'side'): string {
  const fast = alongSide ? blocks : depth / 4;
  return (axis === 'side') === alongSide ? `block % ${fast}u` : `block / ${fast}u`;
}

/** `load_x(offset, side, k)`: four vectors along the side, for k to k + 3; 0 beyond the edges. */
function loader(name: 'a' | 'b', side: 'm' | 'n', alongK: boolean, vector: boolean): string {
  const [lines, columns] = alongK ? [`params.${side}`, 'params.k'] : ['params.k', `params.${side}`];
  const [line, column] = alongK ? ['side', 'k'] : ['k', 'side'];
  const read = vector
    ? `if (line < ${lines} && column < ${columns}) { return ${name}[(offset + line * ${columns} + column) / 4u]; } return vec4<f32>(0.0);`
    : `var four = vec4<f32>(0.0);
  if (line < ${lines}) { for (var i = 0u; i < 4u; i++) { if (column + i < ${columns}) { four[i] = ${name}[offset + line * ${columns} + column + i]; } } }
  return four;`;
  const rows = [0, 1, 2, 3].map((i) => `let r${i} = four_${name}(offset, ${line} + ${i}u, ${column});`).join('\n  ');
  const turned = [0, 1, 2, 3].map((i) => `vec4<f32>(r0[${i}], r1[${i}], r2[${i}], r3[${i}])`).join(', ');
  return `
fn four_${name}(offset: u32, line: u32, column: u32) -> vec4<f32> { ${read} }
fn load_${name}(offset: u32, side: u32, k: u32) -> array<vec4<f32>, 4> {
  ${rows}
  return array<vec4<f32>, 4>(${alongK ? turned : 'r0, r1, r2, r3'});
}`;
}

/** At most eight rows times B^T: 32 threads share a column of the result, that is a row of B, and read it once. */
const fewRows = variants(({ m, bias, plus, accumulate }: Writing & { readonly m: number }): Shader => {
  const rows = [...Array(m).keys()];
  return {
    buffers: [
      ...['a: array<vec4<f32>>', 'b: array<vec4<f32>>', 'var c: array<f32>'],
      ...(bias ? ['bias: array<f32>'] : []),
      ...(plus ? ['plus: array<f32>'] : []),
    ],
    params: ['m: u32', 'n: u32', 'k: u32', 'offsetA: u32', 'offsetB: u32', 'offsetC: u32', 'factor: f32'],
    code: `
var<workgroup> sums: array<f32, ${128 * m}>;
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let column = (group.y + group.x * groups.y) * 4u + index / 32u;
  let lane = index % 32u;
  let vectors = params.k / 4u;
  let inside = column < params.n;
  ${rows.map((r) => `var sum${r} = vec4<f32>(0.0);`).join(' ')}
  if (inside) {
    for (var i = lane; i < vectors; i += 32u) {
      let weight = b[params.offsetB / 4u + column * vectors + i];
      ${rows.map((r) => `sum${r} = fma(weight, a[params.offsetA / 4u + ${r}u * vectors + i], sum${r});`).join('\n      ')}
    }
  }
  ${rows.map((r) => `sums[${r * 128}u + index] = dot(sum${r}, vec4<f32>(1.0));`).join('\n  ')}
  workgroupBarrier();
  for (var step = 16u; step > 0u; step /= 2u) {
    if (lane < step) { ${rows.map((r) => `sums[${r * 128}u + index] += sums[${r * 128}u + index + step];`).join(' ')} }
    workgroupBarrier();
  }
  if (inside && lane < params.m) {
    let at = params.offsetC + lane * params.n + column;
    c[at] ${accumulate ? '+=' : '='} sums[lane * 128u + index - lane] * params.factor${bias ? ' + bias[column]' : ''}${plus ? ' + plus[at]' : ''};
  }
}`,
  };
});
