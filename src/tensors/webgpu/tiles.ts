/**
 * WGSL of the matrix product in square tiles: tiles of the operands go through workgroup memory, each thread keeps a 4 x 4 or 8 x 8 block of C in registers
 * (the scheme of every GPU matrix product since Volkov and Demmel, 2008). A thread loads a 4 x 4 block of one operand at a time, turns it in registers where
 * memory runs along k, and reads the next tile while it computes this one.
 *
 * B may be packed halves, widened as they are read. With `rounded`, operands are scaled and rounded to float16 while they are read (`scaling.ts`), and sums
 * stay float32.
 */
import type { HalfFormat } from '../half.js';
import { type Shader, variants } from './queue.js';
import { FINAL_SCALE, SCALING, SCALING_BUFFERS, SCALING_PARAMS } from './scaling.js';

export interface Writing {
  readonly bias: boolean;
  readonly plus: boolean;
  readonly accumulate: boolean;
}

export type Tile = 32 | 64 | 128;

export interface Operands extends Writing {
  readonly tile: Tile;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Whether rows in memory are whole groups of four, and are read or written so. */
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  readonly vectorC: boolean;
  readonly halves: HalfFormat | undefined;
}

/** Side of a workgroup in threads, and the depth of a tile, such that half of the threads load A's tile in one go and the others B's. */
const TILES: Readonly<Record<Tile, { readonly threads: number; readonly depth: number }>> = {
  32: { threads: 8, depth: 16 },
  64: { threads: 16, depth: 32 },
  128: { threads: 16, depth: 16 },
};

const PARAMS = [
  'm: u32',
  'n: u32',
  'k: u32',
  'strideA: u32',
  'strideB: u32',
  'offsetA: u32',
  'offsetB: u32',
  'offsetC: u32',
  'factor: f32',
];

/** Buffers and parameters of a product; `scaled`: with the peaks that `scaling.ts` reads. */
const productInterface = (operands: Operands, scaled: boolean): Pick<Shader, 'buffers' | 'params'> => {
  const { vectorA, vectorB, vectorC, halves, bias, plus } = operands;
  const array = (vector: boolean) => (vector ? 'array<vec4<f32>>' : 'array<f32>');
  return {
    buffers: [
      ...[
        `a: ${array(vectorA)}`,
        `b: ${halves ? (vectorB ? 'array<vec2<u32>>' : 'array<u32>') : array(vectorB)}`,
        `var c: ${array(vectorC)}`,
      ],
      ...(scaled ? SCALING_BUFFERS : []),
      ...(bias ? ['bias: array<f32>'] : []),
      ...(plus ? [`plus: ${array(vectorC)}`] : []),
    ],
    params: [...PARAMS, ...(scaled ? SCALING_PARAMS : [])],
  };
};

export const tiled = variants((variant: Operands & { readonly rounded: boolean }): Shader => {
  const { tile, transposeA, transposeB, rounded } = variant;
  const { threads, depth } = TILES[tile];
  const blocks = tile / 4; // 4 x 4 blocks along the side of a tile
  const stride = blocks + 1; // one more than needed, so that turned stores hit different banks
  const halves = tile === 128 ? [0, 1] : [0];
  const each = (body: (i: number, r: number, j: number) => string) =>
    halves.flatMap((i) => [0, 1, 2, 3].flatMap((r) => halves.map((j) => body(i, r, j)))).join('\n');
  // The largest tiles' loop is written out: addresses are constants then, and a sixth of the time goes.
  const multiply = (step: string) => `
      ${halves.map((i) => `let a${i} = tileA[${step} * ${stride}u + ${(i * blocks) / 2}u + local.y];`).join(' ')}
      ${halves.map((j) => `let b${j} = tileB[${step} * ${stride}u + ${(j * blocks) / 2}u + local.x];`).join(' ')}
      ${each((i, r, j) => `sum${i}${r}${j} = fma(vec4<f32>(a${i}[${r}]), b${j}, sum${i}${r}${j});`)}`;
  return {
    ...productInterface(variant, rounded),
    code: `
var<workgroup> tileA: array<vec4<f32>, ${depth * stride}>;
var<workgroup> tileB: array<vec4<f32>, ${depth * stride}>;
${rounded ? SCALING : ''}
${readers(variant)}
${blockLoader('a', !transposeA, rounded)}
${blockLoader('b', transposeB, rounded)}
@compute @workgroup_size(${threads}, ${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  ${rounded ? `find_scales(index, ${threads * threads}u);` : ''}
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
    ${tile === 128 ? Array.from({ length: depth }, (_, step) => `{ ${multiply(`${step}u`)} }`).join('\n') : `for (var step = 0u; step < ${depth}u; step++) { ${multiply('step')} }`}
    workgroupBarrier();
  }
  let base = params.offsetC + group.z * params.m * params.n;
  ${each((i, r, j) => `store(base, row0 + ${(i * tile) / 2 + r}u + local.y * 4u, column0 + ${(j * tile) / 2}u + local.x * 4u, sum${i}${r}${j});`)}
}
${storing(variant, rounded)}`,
  };
});

/** Which block a thread loads: neighbouring threads read what lies side by side in memory. */
function place(alongSide: boolean, blocks: number, depth: number, axis: 'k' | 'side'): string {
  const fast = alongSide ? blocks : depth / 4;
  return (axis === 'side') === alongSide ? `block % ${fast}u` : `block / ${fast}u`;
}

/** `load_x(offset, side, k)`: four vectors along the side, for k to k + 3. */
function blockLoader(name: 'a' | 'b', alongK: boolean, rounded: boolean): string {
  const [line, column] = alongK ? ['side', 'k'] : ['k', 'side'];
  const four = (i: number) => `four_${name}(offset, ${line} + ${i}u, ${column})`;
  const rows = [0, 1, 2, 3].map((i) => `let r${i} = ${rounded ? `rounded(${four(i)} * scale_${name})` : four(i)};`).join('\n  ');
  const turned = [0, 1, 2, 3].map((i) => `vec4<f32>(r0[${i}], r1[${i}], r2[${i}], r3[${i}])`).join(', ');
  return `
fn load_${name}(offset: u32, side: u32, k: u32) -> array<vec4<f32>, 4> {
  ${rows}
  return array<vec4<f32>, 4>(${alongK ? turned : 'r0, r1, r2, r3'});
}`;
}

/** `four_a` and `four_b(offset, line, column)`: four neighbours in memory, `column` a multiple of four; 0 beyond the edges. */
function readers({ transposeA, transposeB, vectorA, vectorB, halves }: Operands): string {
  const a = reader('a', transposeA ? ['params.k', 'params.m'] : ['params.m', 'params.k'], (at) => `a[${at}]`, vectorA);
  const element = halves ? (vectorB ? (at: string) => `widen4(b[${at}])` : (at: string) => `widen(b[${at} / 2u])[${at} & 1u]`) : undefined;
  const b = reader('b', transposeB ? ['params.n', 'params.k'] : ['params.k', 'params.n'], element ?? ((at) => `b[${at}]`), vectorB);
  return `${widening(halves)}${a}${b}`;
}

function reader(name: 'a' | 'b', [lines, columns]: readonly string[], element: (at: string) => string, vector: boolean): string {
  return `
fn four_${name}(offset: u32, line: u32, column: u32) -> vec4<f32> {
  ${
    vector
      ? `if (line < ${lines} && column < ${columns}) { return ${element(`((offset + line * ${columns} + column) / 4u)`)}; } return vec4<f32>(0.0);`
      : `var four = vec4<f32>(0.0);
  if (line < ${lines}) { for (var i = 0u; i < 4u; i++) { if (column + i < ${columns}) { four[i] = ${element(`(offset + line * ${columns} + column + i)`)}; } } }
  return four;`
  }
}`;
}

/** `widen(word)` and `widen4(words)`: packed halves as float32, the lower half of a word first. */
export const widening = (halves: HalfFormat | undefined): string =>
  halves
    ? `
fn widen(word: u32) -> vec2<f32> { return ${halves === 'F16' ? 'unpack2x16float(word)' : 'bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u))'}; }
fn widen4(words: vec2<u32>) -> vec4<f32> { return vec4<f32>(widen(words.x), widen(words.y)); }`
    : '';

/** `store(base, row, column, sum)`: writes four neighbours of C with what is added to them; nothing beyond the edges. */
const storing = ({ vectorC, bias, plus, accumulate }: Operands, scaled: boolean): string => `
fn store(base: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row >= params.m || column >= params.n) { return; }
  var value = ${scaled ? FINAL_SCALE : ''}sum * params.factor;
  ${bias ? 'for (var i = 0u; i < 4u; i++) { if (column + i < params.n) { value[i] += bias[column + i]; } }' : ''}
  let at = base + row * params.n + column;
  ${
    vectorC
      ? `c[at / 4u] ${accumulate ? '+=' : '='} value${plus ? ' + plus[at / 4u]' : ''};`
      : `for (var i = 0u; i < 4u; i++) { if (column + i < params.n) { c[at + i] ${accumulate ? '+=' : '='} value[i]${plus ? ' + plus[at + i]' : ''}; } }`
  }
}`;
