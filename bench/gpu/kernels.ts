/** Each kernel alone, at the sizes that a Qwen2.5-0.5B gives it: where a step's time can go. */
import * as tf from '@tensorflow/tfjs-core';
import { attention } from '../../src/tensors/attention.js';
import type { Compute } from '../../src/tensors/backend.js';
import { runKernel } from '../../src/tensors/dispatch.js';
import { secondsPerCall } from '../../src/tensors/measure.js';
import { webGpuDevice } from '../../src/tensors/webgpu/device.js';
import { matMul } from '../../src/tensors/webgpu/mat-mul.js';
import { registerWebGpuKernels } from '../../src/tensors/webgpu/register.js';
import type { Tile } from '../../src/tensors/webgpu/tiles.js';

export interface KernelSpeed {
  readonly name: string;
  readonly microseconds: number;
  readonly teraflops?: number;
  readonly gigabytes?: number;
}

interface Work {
  readonly name: string;
  /** Floating-point operations, or bytes read and written, of one call. */
  readonly flops?: number;
  readonly bytes?: number;
  readonly shapes: readonly (readonly number[])[];
  readonly call: (...inputs: tf.Tensor[]) => tf.Tensor;
}

/** All sizes are divided by `shrink` on a software GPU. In float16 only what multiplies matrices. */
export async function kernelSpeeds(shrink: number, compute: Compute, say: (text: string) => void): Promise<KernelSpeed[]> {
  const results: KernelSpeed[] = [];
  for (const { name, flops, bytes, shapes, call } of worksOf(shrink, compute)) {
    const inputs = shapes.map((shape, i) => tf.tidy(() => tf.mul(tf.ones([...shape]), 0.01 * (i + 1))));
    const seconds = await secondsPerCall(() => tf.tidy(() => call(...inputs)), shrink > 1 ? { most: 2, rounds: 1 } : {});
    tf.dispose(inputs);
    const speed: KernelSpeed = {
      name,
      microseconds: seconds * 1e6,
      ...(flops && { teraflops: flops / seconds / 1e12 }),
      ...(bytes && { gigabytes: bytes / seconds / 1e9 }),
    };
    results.push(speed);
    say(
      `${name}: ${speed.microseconds.toFixed(0)} us${flops ? `, ${speed.teraflops?.toFixed(2)} TFLOP/s` : ''}${bytes ? `, ${speed.gigabytes?.toFixed(0)} GB/s` : ''}`,
    );
  }
  return results;
}

function worksOf(shrink: number, compute: Compute): readonly Work[] {
  const tokens = 4096 / shrink;
  const [batch, length] = [8, tokens / 8];
  const [d, inner, vocabulary] = [896, 4864, 151_936].map((n) => Math.max(64, Math.ceil(n / shrink / 4) * 4));
  const [heads, keyHeads, size] = [14, 2, 64];
  const first = (outputs: tf.Tensor[]) => outputs[0];
  const product = (name: string, m: number, n: number, k: number, transposeA: boolean, transposeB: boolean, tile?: Tile): Work => ({
    name: `matMul ${name} [${m}, ${k}] by [${k}, ${n}]${compute === 'float16' ? ', float16' : ''}${tile ? `, tiles of ${tile}` : ''}`,
    flops: 2 * m * n * k,
    shapes: [transposeA ? [k, m] : [m, k], transposeB ? [n, k] : [k, n]],
    call(a, b) {
      const queue = registerWebGpuKernels(webGpuDevice() as NonNullable<ReturnType<typeof webGpuDevice>>);
      const c = queue.output([m, n]);
      matMul(queue, a, b, c, { m, n, k, transposeA, transposeB, tile });
      return tf.engine().makeTensorFromTensorInfo(c);
    },
  });
  const attentionFlops = 4 * batch * heads * size * ((length * (length + 1)) / 2);
  const heads4 = [batch, length, heads, size];
  const keys4 = [batch, length, keyHeads, size];
  const products: readonly Work[] = [
    ...(compute === 'float32' ? ([32, 64, 128] as const) : ([64, 128] as const)).map((tile) =>
      product('forward', tokens, inner, d, false, true, tile),
    ),
    product('gradient of x', tokens, d, inner, false, false),
    product('gradient of the weight', inner, d, tokens, true, false),
    product('of 160 rows', 160, inner, d, false, true),
    product('of 16 rows', 16, inner, d, false, true),
    product('of 8 rows', 8, inner, d, false, true),
    product('of 1 row', 1, inner, d, false, true),
    product('head of 16 rows', 16, vocabulary, d, false, true),
  ];
  const others: readonly Work[] = [
    {
      name: 'attention forward',
      flops: attentionFlops,
      shapes: [heads4, keys4, keys4],
      call: (q, k, v) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D),
    },
    {
      name: 'attention backward',
      flops: 2.5 * attentionFlops,
      shapes: [heads4, keys4, keys4, heads4, [heads, batch * length], heads4],
      call(q, k, v, out, lse, dOut) {
        const rows = Array.from({ length: batch }, (_, i) => [i * length, length, i, 1, length]);
        const segments = tf.tensor2d(rows, undefined, 'int32');
        const ranges = tf.tensor2d(rows.map(([from]) => [from, length]), undefined, 'int32'); // biome-ignore format: a line
        return first(runKernel('SearchE1SegmentAttentionGrad', { q, k, v, segments, ranges, out, lse, dOut }, { mostQueries: length }));
      },
    },
    {
      name: 'attention of 16 single queries',
      bytes: 2 * 4 * 16 * length * keyHeads * size,
      shapes: [[16, 1, heads, size], [16, length, keyHeads, size], [16, length, keyHeads, size]], // biome-ignore format: a line
      call: (q, k, v) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D),
    },
    { name: 'rmsNorm', bytes: 8 * tokens * d, shapes: [[tokens, d], [d]], call: (x, weight) => first(runKernel('SearchE1RmsNorm', { x, weight }, { epsilon: 1e-6 })) }, // biome-ignore format: a line
    { name: 'rmsNorm of 16 rows', bytes: 8 * 16 * d, shapes: [[16, d], [d]], call: (x, weight) => first(runKernel('SearchE1RmsNorm', { x, weight }, { epsilon: 1e-6 })) }, // biome-ignore format: a line
    { name: 'rotary', bytes: 8 * tokens * heads * size, shapes: [heads4, [length, size], [length, size]], call: (x, cos, sin) => first(runKernel('SearchE1Rotary', { x, cos, sin }, { direction: 1 })) }, // biome-ignore format: a line
    { name: 'swiglu', bytes: 12 * tokens * inner, shapes: [[tokens, inner], [tokens, inner]], call: (gate, up) => first(runKernel('SearchE1Swiglu', { gate, up })) }, // biome-ignore format: a line
    {
      name: 'selectedLogProbs of 512 tokens',
      flops: 2 * 512 * vocabulary * d,
      shapes: [[512, d], [vocabulary, d]], // biome-ignore format: a line
      call: (hidden, head) => first(runKernel('SearchE1SelectedLogProbs', { hidden, head, targets: tf.zeros([512], 'int32') })),
    },
    {
      name: 'sampleTokens of 16 rows',
      bytes: 4 * 16 * vocabulary,
      shapes: [[16, vocabulary], [16]], // biome-ignore format: a line
      call: (logits, uniforms) => first(runKernel('SearchE1SampleTokens', { logits, uniforms }, { temperature: 1 })),
    },
    {
      name: 'AdamW',
      bytes: 28 * vocabulary * d,
      shapes: [1, 2, 3, 4].map(() => [vocabulary, d]),
      call: (weight, gradient, one, two) =>
        first(
          runKernel(
            'SearchE1AdamW',
            { weight, gradient, first: one, second: two },
            { gradientScale: 1, beta1: 0.9, beta2: 0.999, rate: 1e-6, rootOfCorrection: 1, epsilon: 1e-8, keep: 1 },
          ),
        ),
    },
  ];
  return compute === 'float32' ? [...products, ...others] : products;
}
