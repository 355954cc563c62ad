/**
 * One token of each of many sequences through a whole decoder, from ids to logits: what sampling spends its time on.
 *
 * The functions are those of the single operations, in their order, so the numbers are theirs to the last bit. But here a thread takes some of the
 * sequences through all layers, and nothing waits between two operations; and weights are packed beforehand, once for many tokens.
 */
import { attentionForward } from './attention';
import { copyRows, embeddingForward, rmsNormForward, rotary, swigluForward } from './layers';
import { DEPTH, multiplyPacked, pack } from './mat-mul';

/** What a call works on; simd/decode-tokens.ts writes it, field after field, and the layers after it. */
// @ts-ignore: decorator
@unmanaged
class Plan {
  layers: i32;
  width: i32;
  inner: i32;
  heads: i32;
  keyHeads: i32;
  headDim: i32;
  vocabulary: i32;
  rank: i32; // of the adapter, or 0
  norm: usize;
  head: usize; // packed
  rows: i32; // sequences
  longest: i32; // keys that one of them reads
  table: usize; // [vocabulary, width]
  cos: usize; // [positions, headDim]
  sin: usize;
  tokens: usize; // i32 [rows], as the next two
  positions: usize;
  places: usize; // of a token's key and value among the cache's rows
  segments: usize; // as attention takes them
  ranges: usize;
  logits: usize; // [rows, vocabulary]
  workspace: usize;
}

/** The cache and two norms; behind them the addresses of seven linear layers. */
// @ts-ignore: decorator
@unmanaged
class Layer {
  cachedK: usize; // [cache rows, keyHeads, headDim]
  cachedV: usize;
  inputNorm: usize;
  postNorm: usize;
}

// @ts-ignore: decorator
@unmanaged
class Linear {
  weight: usize; // packed
  bias: usize; // or 0
  a: usize; // the adapter's, packed, or 0
  b: usize;
}

/** In the order of the plan. */
const enum Projection { q, k, v, o, gate, up, down, count }

// @ts-ignore: decorator
@inline
function layerOf(plan: Plan, i: i32): Layer {
  const bytes = offsetof<Layer>() + Projection.count * offsetof<Linear>();
  return changetype<Layer>(changetype<usize>(plan) + offsetof<Plan>() + <usize>i * bytes);
}

// @ts-ignore: decorator
@inline
function linearOf(layer: Layer, projection: Projection): Linear {
  return changetype<Linear>(changetype<usize>(layer) + offsetof<Layer>() + <usize>projection * offsetof<Linear>());
}

// @ts-ignore: decorator
@inline
function columnsOf(n: i32): i32 {
  return (n + 7) & ~7;
}

/** Floats of a packed weight [n, k]. */
export function packedWeightSize(n: i32, k: i32): i32 {
  return columnsOf(n) * k;
}

/** A weight [n, k] for `project`: blocks of DEPTH of its columns, which are the units, each as `pack` makes it of the transpose. */
export function packWeight(weight: usize, packed: usize, n: i32, k: i32, start: i32, end: i32): void {
  for (let block = start; block < end; block++) {
    const k0 = block * DEPTH;
    pack(weight + (<usize>k0 << 2), packed + (<usize>(k0 * columnsOf(n)) << 2), min(DEPTH, k - k0), n, 4, <usize>k << 2);
  }
}

/** y [m, n] = factor x [m, k] W^T (+ bias) (+ plus). */
function project(x: usize, packed: usize, y: usize, bias: usize, plus: usize, factor: f32, m: i32, n: i32, k: i32): void {
  for (let k0 = 0; k0 < k; k0 += DEPTH) {
    const depth = min(DEPTH, k - k0);
    const at = packed + (<usize>(k0 * columnsOf(n)) << 2);
    multiplyPacked(x + (<usize>k0 << 2), at, y, k0 == 0 ? bias : 0, k0 > 0 ? y : plus, factor, m, n, depth, k, 1, depth, n);
  }
}

/** The same for a linear layer of the plan, with its adapter where it has one; `low` [m, rank] is to work in. */
function linear(x: usize, layer: Linear, y: usize, plus: usize, low: usize, m: i32, n: i32, k: i32, rank: i32, scale: f32): void {
  project(x, layer.weight, y, layer.bias, plus, 1.0, m, n, k);
  if (!layer.a) return;
  project(x, layer.a, low, 0, 0, 1.0, m, rank, k);
  project(low, layer.b, y, 0, y, scale, m, n, rank);
}

/** Floats of the workspace for `rows` sequences. */
export function decodeWorkspace(rows: i32, width: i32, inner: i32, heads: i32, keyHeads: i32, headDim: i32, rank: i32): i32 {
  return rows * (2 * width + 2 * inner + (2 * heads + keyHeads) * headDim + heads + 1 + rank);
}

/** Units are sequences, one row of logits each; `scale` is the adapter's. Keys and values of the tokens go to their places in the cache. */
export function decodeTokens(address: usize, epsilon: f32, scale: f32, start: i32, end: i32): void {
  const plan = changetype<Plan>(address);
  const width = plan.width;
  const inner = plan.inner;
  const heads = plan.heads;
  const keyHeads = plan.keyHeads;
  const headDim = plan.headDim;
  const rank = plan.rank;
  const rows = plan.rows;
  const qWidth = heads * headDim;
  const kWidth = keyHeads * headDim;
  const m = end - start;
  // Arrays of all rows, of which this call writes its own.
  const h = plan.workspace;
  const x = h + bytes(rows * width);
  const q = x + bytes(rows * width);
  const mixed = q + bytes(rows * qWidth);
  const kv = mixed + bytes(rows * qWidth);
  const gate = kv + bytes(rows * kWidth);
  const up = gate + bytes(rows * inner);
  const lse = up + bytes(rows * inner);
  const inverse = lse + bytes(rows * heads);
  const low = inverse + bytes(rows) + bytes(start * rank);
  const hRows = h + bytes(start * width);
  const xRows = x + bytes(start * width);
  const qRows = q + bytes(start * qWidth);
  const kvRows = kv + bytes(start * kWidth);
  const gateRows = gate + bytes(start * inner);

  embeddingForward(plan.table, plan.tokens, h, width, start, end);
  for (let i = 0; i < plan.layers; i++) {
    const layer = layerOf(plan, i);
    rmsNormForward(h, layer.inputNorm, x, inverse, epsilon, width, start, end);
    linear(xRows, linearOf(layer, Projection.k), kvRows, 0, low, m, kWidth, width, rank, scale);
    turn(plan, kv, keyHeads, start, end);
    copyRows(kv, layer.cachedK, plan.places, kWidth, start, end);
    linear(xRows, linearOf(layer, Projection.v), kvRows, 0, low, m, kWidth, width, rank, scale);
    copyRows(kv, layer.cachedV, plan.places, kWidth, start, end);
    linear(xRows, linearOf(layer, Projection.q), qRows, 0, low, m, qWidth, width, rank, scale);
    turn(plan, q, heads, start, end);
    attentionForward(
      q, layer.cachedK, layer.cachedV, 0, plan.segments, plan.ranges, mixed, lse,
      plan.longest, rows, heads, keyHeads, headDim, start * keyHeads, end * keyHeads,
    );
    linear(mixed + bytes(start * qWidth), linearOf(layer, Projection.o), hRows, hRows, low, m, width, qWidth, rank, scale);
    rmsNormForward(h, layer.postNorm, x, inverse, epsilon, width, start, end);
    linear(xRows, linearOf(layer, Projection.gate), gateRows, 0, low, m, inner, width, rank, scale);
    linear(xRows, linearOf(layer, Projection.up), up + bytes(start * inner), 0, low, m, inner, width, rank, scale);
    swigluForward(gate, up, gate, start * inner, end * inner);
    linear(gateRows, linearOf(layer, Projection.down), hRows, hRows, low, m, width, inner, rank, scale);
  }
  rmsNormForward(h, plan.norm, x, inverse, epsilon, width, start, end);
  project(xRows, plan.head, plan.logits + bytes(start * plan.vocabulary), 0, 0, 1.0, m, plan.vocabulary, width);
}

/** Turns rows of q or k, each by the tables' row of its position. */
function turn(plan: Plan, x: usize, heads: i32, start: i32, end: i32): void {
  for (let row = start; row < end; row++) {
    const at = x + bytes(row * heads * plan.headDim);
    const table = bytes(load<i32>(plan.positions + bytes(row)) * plan.headDim);
    rotary(at, plan.cos + table, plan.sin + table, at, 1.0, heads, plan.headDim, 1, 0, 1);
  }
}

// @ts-ignore: decorator
@inline
function bytes(floats: i32): usize {
  return <usize>floats << 2;
}
