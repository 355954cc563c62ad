/**
 * What the stock wasm backend of tfjs 4.22 lacks for training: the kernel behind the gradient of `gather`, and transposed matrix products that
 * are not twenty times slower than plain ones (XNNPACK is used for plain ones alone).
 */

import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';

interface KernelCall {
  readonly inputs: Record<string, tf.TensorInfo>;
  readonly backend: unknown;
  readonly attrs?: unknown;
}
type Kernel = (call: KernelCall) => tf.TensorInfo;

let repaired = false;

/** To be called once the wasm backend has started; calling it again does nothing. */
export function repairWasmBackend(): void {
  if (repaired) return;
  repaired = true;
  register('UnsortedSegmentSum', unsortedSegmentSum);
  const stock = stockKernel('BatchMatMul');
  const transpose = stockKernel('Transpose');
  tf.unregisterKernel('BatchMatMul', 'wasm');
  register('BatchMatMul', (call) => transposeFirst(call, stock, transpose));
}

const register = (kernelName: string, kernel: Kernel) =>
  tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernel as unknown as tf.KernelFunc });

const stockKernel = (name: string) => tf.getKernel(name, 'wasm').kernelFunc as unknown as Kernel;

/** Adds rows of `x` to the rows of the output that `segmentIds` names: the gradient of `gather` along axis 0. */
function unsortedSegmentSum({ inputs: { x, segmentIds }, attrs, backend }: KernelCall): tf.TensorInfo {
  const wasm = backend as BackendWasm;
  const { numSegments } = attrs as { numSegments: number };
  const out = wasm.makeOutput([numSegments, ...x.shape.slice(segmentIds.shape.length)], 'float32');
  const width = tf.util.sizeFromShape(x.shape.slice(segmentIds.shape.length));
  const sums = wasm.typedArrayFromHeap(out);
  const rows = wasm.typedArrayFromHeap(x);
  const ids = wasm.typedArrayFromHeap(segmentIds);
  sums.fill(0);
  for (let i = 0; i < ids.length; i++) {
    for (let j = 0; j < width; j++) sums[ids[i] * width + j] += rows[i * width + j];
  }
  return out;
}

function transposeFirst({ inputs: { a, b }, attrs, backend }: KernelCall, stock: Kernel, transpose: Kernel): tf.TensorInfo {
  const { transposeA, transposeB } = attrs as { transposeA: boolean; transposeB: boolean };
  const turned = (x: tf.TensorInfo) => {
    const rank = x.shape.length;
    const perm = [...x.shape.keys()].map((axis) => (axis === rank - 1 ? rank - 2 : axis === rank - 2 ? rank - 1 : axis));
    return transpose({ inputs: { x }, attrs: { perm }, backend });
  };
  const left = transposeA ? turned(a) : a;
  const right = transposeB ? turned(b) : b;
  const out = stock({ inputs: { a: left, b: right }, attrs: { transposeA: false, transposeB: false }, backend });
  for (const [used, given] of [
    [left, a],
    [right, b],
  ])
    if (used !== given) (backend as BackendWasm).disposeData(used.dataId);
  return out;
}
