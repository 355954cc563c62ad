/**
 * Products in float16 without overflow: each operand is multiplied by the power of two that brings its largest magnitude to between 2^14 and 2^15, rounded
 * to float16, and the float32 product is divided by both powers. Float16 ends at 65,504, so that nothing overflows; numbers below 2^-29 of the operand's largest
 * lose digits, below 2^-39 they vanish. That is loss scaling (Micikevicius et al., 2018) for each operand of each product, found anew each time, so that small
 * gradients need no setting. An operand with a NaN or an infinity is not scaled, and they spread as they do in float32.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { HalfFormat } from '../half.js';
import { type Shader, type ShaderQueue, u32, variants } from './queue.js';

/** Largest magnitudes of parts of an operand, as bits. */
export interface Peaks {
  readonly bits: tf.TensorInfo; // int32 [count]
  readonly count: number;
}

const THREADS = 256;
/** Enough workgroups to read as fast as the memory goes. */
const MOST_GROUPS = 1024;
const WORDS_A_GROUP = 4096;

/** Queues the search for an operand's largest magnitude; `bits` is the caller's to release. */
export function peaksOf(queue: ShaderQueue, operand: tf.TensorInfo, halves?: HalfFormat): Peaks {
  const words = tf.util.sizeFromShape(operand.shape);
  const count = Math.max(1, Math.min(MOST_GROUPS, Math.ceil(words / WORDS_A_GROUP)));
  const bits = queue.output([count], 'int32');
  const vector = words % 4 === 0;
  queue.run(largest({ vector, halves }), [operand, bits], [u32(vector ? words / 4 : words), u32(count)], count);
  return { bits, count };
}

/** As bits magnitudes are ordered like the numbers, infinities and NaN above them. */
const largest = variants(({ vector, halves }: { readonly vector: boolean; readonly halves: HalfFormat | undefined }): Shader => {
  const parts = vector ? ['x', 'y', 'z', 'w'].map((part) => `words.${part}`) : ['words'];
  const magnitudes = parts.flatMap((word) => {
    if (halves === 'F16') return [0, 1].map((i) => `bitcast<u32>(abs(unpack2x16float(${word})[${i}]))`);
    if (halves === 'BF16') return [`(${word} << 16u) & 0x7fffffffu`, `${word} & 0x7fff0000u`];
    return [`${word} & 0x7fffffffu`];
  });
  return {
    buffers: [`x: array<${vector ? 'vec4<u32>' : 'u32'}>`, 'var peaks: array<u32>'],
    params: ['size: u32', 'groups: u32'],
    code: `var<workgroup> top: atomic<u32>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  var highest = 0u;
  for (var i = group.x * ${THREADS}u + index; i < params.size; i += params.groups * ${THREADS}u) {
    let words = x[i];
    ${magnitudes.map((magnitude) => `highest = max(highest, ${magnitude});`).join(' ')}
  }
  atomicMax(&top, highest);
  workgroupBarrier();
  if (index == 0u) { peaks[group.x] = atomicLoad(&top); }
}`,
  };
});

/** What a product's shader needs besides its own to read scaled operands. */
export const SCALING_BUFFERS = ['peaksA: array<u32>', 'peaksB: array<u32>'] as const;
export const SCALING_PARAMS = ['countA: u32', 'countB: u32'] as const;

/** WGSL: `find_scales(index, threads)` sets `scale_a`, `scale_b` for every thread; `rounded(four)` is what float16 keeps of a vector. */
export const SCALING = `
var<workgroup> top_a: atomic<u32>;
var<workgroup> top_b: atomic<u32>;
var<private> scale_a: f32;
var<private> scale_b: f32;
var<private> back_a: f32;
var<private> back_b: f32;
fn find_scales(index: u32, threads: u32) {
  var highest_a = 0u;
  var highest_b = 0u;
  for (var i = index; i < params.countA; i += threads) { highest_a = max(highest_a, peaksA[i]); }
  for (var i = index; i < params.countB; i += threads) { highest_b = max(highest_b, peaksB[i]); }
  atomicMax(&top_a, highest_a);
  atomicMax(&top_b, highest_b);
  workgroupBarrier();
  let a = exponent_of(atomicLoad(&top_a));
  let b = exponent_of(atomicLoad(&top_b));
  scale_a = bitcast<f32>((268u - a) << 23u);
  scale_b = bitcast<f32>((268u - b) << 23u);
  back_a = bitcast<f32>((a - 14u) << 23u);
  back_b = bitcast<f32>((b - 14u) << 23u);
}
/** Biased, such that its scale and the inverse of it are normal numbers; of what is not finite such that the scale is 1. */
fn exponent_of(bits: u32) -> u32 { return select(clamp(bits >> 23u, 15u, 254u), 141u, bits >= 0x7f800000u); }
fn rounded(four: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(pack2x16float(four.xy)), unpack2x16float(pack2x16float(four.zw)));
}`;

/** WGSL: undoes both scales. */
export const FINAL_SCALE = 'back_a * back_b * ';
