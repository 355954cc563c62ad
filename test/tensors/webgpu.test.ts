/**
 * Every WGSL kernel against its formula on the cpu backend, values and gradients, on Dawn with SwiftShader (or with the machine's own driver where
 * SEARCH_E1_TEST_GPU is set): shapes on either side of the shaders' blocks, each variant once, as compiling a shader is what takes time here.
 */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdamW } from '../../src/tensors/adamW.js';
import { attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';
import { hasKernel } from '../../src/tensors/dispatch.js';
import { embedding } from '../../src/tensors/embedding.js';
import { forwardKl } from '../../src/tensors/forward-kl.js';
import { KeyValueCache } from '../../src/tensors/kv-cache.js';
import { linear } from '../../src/tensors/linear.js';
import { rmsNorm } from '../../src/tensors/rms-norm.js';
import { rotary, rotaryTables } from '../../src/tensors/rotary.js';
import { sampleTokens } from '../../src/tensors/sample-tokens.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { swiglu } from '../../src/tensors/swiglu.js';
import { webGpuDevice } from '../../src/tensors/webgpu/device.js';
import { matMul } from '../../src/tensors/webgpu/mat-mul.js';
import { registerWebGpuKernels } from '../../src/tensors/webgpu/register.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';

type Operation = (...inputs: tf.Tensor[]) => tf.Tensor;

interface Case {
  readonly shapes: readonly (readonly number[])[];
  readonly operation: Operation;
  readonly tolerance?: number;
  /** Standard deviation of the inputs. */
  readonly scale?: number;
}

/** Values and gradients of an operation on one backend, as arrays. */
async function run(backend: 'cpu' | 'webgpu', { shapes, operation, scale = 1 }: Case): Promise<Float32Array[]> {
  await startBackend({ backend, kernels: backend === 'webgpu' });
  const results = tf.tidy(() => {
    const inputs = shapes.map((shape, i) => tf.randomNormal([...shape], 0, scale, 'float32', i + 1));
    const value = operation(...inputs);
    const dy = tf.randomNormal(value.shape, 0, 1, 'float32', 99);
    return [value, ...tf.grads(operation)(inputs, dy)];
  });
  const values = (await Promise.all(results.map((tensor) => tensor.data()))) as Float32Array[];
  tf.dispose(results);
  return values;
}

/** The largest difference, relative to the largest value expected, or to 1 where all are smaller. */
function difference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
  return actual.reduce((worst, value, i) => {
    const off = Math.abs(value - expected[i]) / scale;
    return Math.max(worst, Number.isNaN(off) ? Number.POSITIVE_INFINITY : off);
  }, 0);
}

async function expectSame(given: Case): Promise<void> {
  const expected = await run('cpu', given);
  const before = tf.memory().numTensors;
  const actual = await run('webgpu', given);
  expect(tf.memory().numTensors - before, 'tensors left over').toBe(0);
  expected.forEach((values, i) => {
    expect(difference(actual[i], values), i === 0 ? 'value' : `gradient ${i}`).toBeLessThanOrEqual(given.tolerance ?? 1e-5);
  });
}

const onCpu = async (): Promise<void> => void (await startBackend({ backend: 'cpu', kernels: false }));
const onGpu = async (): Promise<void> => void (await startBackend({ backend: 'webgpu' }));

describe.skipIf(!swiftShaderCanRun)('on WebGPU', { timeout: 300_000 }, () => {
  beforeAll(async () => {
    useSwiftShader();
    const report = await startBackend({ backend: 'webgpu' });
    expect(report).toMatchObject({ name: 'webgpu', kernels: 'wgsl' });
    if (!process.env.SEARCH_E1_TEST_GPU) expect(report.device).toBe('software');
    expect(hasKernel('SearchE1Attention')).toBe(true);
  });

  afterAll(onCpu);

  test.each([
    [32, 37, 45, 20],
    [32, 36, 44, 19],
    [64, 70, 68, 36],
    [128, 130, 136, 20],
  ] as const)('matrix products by tiles of %d in all transpositions', async (tile, m, n, k) => {
    await onGpu();
    const queue = registerWebGpuKernels(webGpuDevice() as NonNullable<ReturnType<typeof webGpuDevice>>);
    for (const [transposeA, transposeB] of [
      [false, false],
      [false, true],
      [true, false],
    ]) {
      const a = tf.randomNormal(transposeA ? [k, m] : [m, k], 0, 1, 'float32', 1);
      const b = tf.randomNormal(transposeB ? [n, k] : [k, n], 0, 1, 'float32', 2);
      const [left, right] = [await a.data(), await b.data()];
      const c = queue.output([m, n]);
      matMul(queue, a, b, c, { m, n, k, transposeA, transposeB, tile });
      const product = tf.engine().makeTensorFromTensorInfo(c);
      const expected = Float32Array.from({ length: m * n }, (_, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        let sum = 0;
        for (let l = 0; l < k; l++) sum += left[transposeA ? l * m + i : i * k + l] * right[transposeB ? j * k + l : l * n + j];
        return sum;
      });
      expect(difference((await product.data()) as Float32Array, expected), `${transposeA} ${transposeB}`).toBeLessThan(1e-5);
      tf.dispose([a, b, product]);
    }
  });

  test('batched matrix products', () => expectSame({ shapes: [[2, 3, 5, 7], [2, 3, 7, 6]], operation: (a, b) => tf.matMul(a, b) })); // biome-ignore format: shapes

  test.each([
    [3, 40, 33],
    [130, 36, 70],
  ])('linear with bias, %d rows', (rows, inputs, outputs) =>
    expectSame({
      shapes: [[rows, inputs], [outputs, inputs], [outputs]],
      operation: (x, w, b) => linear(x, w as tf.Tensor2D, b as tf.Tensor1D),
    }),
  );

  test.each([1, 70, 300])('rmsNorm of width %d', (width) =>
    expectSame({ shapes: [[7, width], [width]], operation: (x, w) => rmsNorm(x, w as tf.Tensor1D, 1e-6), tolerance: 1e-4 }),
  );

  test('rmsNorm of more rows than one group adds up', () =>
    expectSame({ shapes: [[300, 6], [6]], operation: (x, w) => rmsNorm(x, w as tf.Tensor1D, 1e-6) }));

  test.each([
    ['shared by the batch', [0, 1, 2, 3, 4]],
    ['a row for each token', [5, 4, 3, 2, 1, 0, 7, 8, 9, 100]],
  ])('rotary, tables %s', (_, positions) =>
    expectSame({ shapes: [[2, 5, 3, 8]], operation: (x) => rotary(x as tf.Tensor4D, rotaryTables(positions, 8, 10_000)) }),
  );

  test('swiglu', () => expectSame({ shapes: [[9, 33], [9, 33]], operation: (gate, up) => swiglu(gate, up) })); // biome-ignore format: shapes

  test('embedding, with repeated ids in either order', () =>
    expectSame({
      shapes: [[6, 5]],
      operation: (table) => embedding(table as tf.Tensor2D, tf.tensor1d([3, 0, 3, 5, 0, 3, ...Array(140).fill(1), 3], 'int32')),
    }));

  test('embedding refuses an id beyond the table', async () => {
    await onGpu();
    expect(() => tf.tidy(() => embedding(tf.ones([4, 2]), tf.tensor1d([4], 'int32')))).toThrow(/id 4 is not in \[0, 4\)/);
  });

  // Head sizes for one, two and four threads a row, and one that is not whole vectors; queries of one group and of more; grouped keys.
  test.each([
    [70, 70, 4, 2, 8],
    [19, 19, 2, 1, 6],
    [40, 40, 2, 2, 64],
    [20, 33, 4, 1, 128],
    [3, 150, 4, 2, 8],
  ])('attention of %d queries over %d keys, %d heads over %d, size %d', (queries, keys, heads, keyHeads, headDim) => {
    const shapes = [
      [2, queries, heads, headDim],
      [2, keys, keyHeads, headDim],
      [2, keys, keyHeads, headDim],
    ];
    return expectSame({ shapes, operation: (q, k, v) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D) });
  });

  test.each([20, 2])('attention of %d queries with padding', (queries) =>
    expectSame({
      shapes: [[2, queries, 2, 8], [2, 20, 1, 8], [2, 20, 1, 8]], // biome-ignore format: shapes
      operation: (q, k, v) => {
        const keyMask = tf.tensor2d([Array(20).fill(1), [...Array(6).fill(0), ...Array(14).fill(1)]]);
        const out = attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { keyMask });
        return tf.slice(out, [0, Math.max(0, queries - 14), 0, 0], [-1, -1, -1, -1]); // what a padded query reads means nothing
      },
    }),
  );

  test('a key/value cache grows, is read with room to spare, and keeps rows', async () => {
    const outputs: Float32Array[] = [];
    for (const to of [onCpu, onGpu]) {
      await to();
      const cache = new KeyValueCache(1, 100);
      const all = tf.tidy(() => {
        const draw = (shape: [number, number, number, number], seed: number) =>
          tf.randomNormal(shape, 0, 1, 'float32', seed) as tf.Tensor4D;
        cache.append(0, draw([3, 7, 2, 8], 1), draw([3, 7, 2, 8], 2));
        cache.append(0, draw([3, 40, 2, 8], 3), draw([3, 40, 2, 8], 4));
        cache.keepRows([2, 0]);
        const { k, v, length } = cache.append(0, draw([2, 1, 2, 8], 5), draw([2, 1, 2, 8], 6));
        return attention(draw([2, 1, 4, 8], 7), k, v, { length });
      });
      outputs.push((await all.data()) as Float32Array);
      all.dispose();
      cache.dispose();
    }
    expect(difference(outputs[1], outputs[0])).toBeLessThan(1e-5);
  });

  test.each([1, 70])('selectedLogProbs of %d tokens', (rows) =>
    expectSame({
      shapes: [[rows, 12], [301, 12]], // biome-ignore format: shapes
      operation: (hidden, head) => {
        const targets = tf.tensor1d(Int32Array.from({ length: rows }, (_, i) => (i * 37) % 301), 'int32'); // biome-ignore format: a line
        const { logProbs, entropy } = selectedLogProbs(hidden as tf.Tensor2D, head as tf.Tensor2D, targets);
        return tf.stack([logProbs, entropy]);
      },
    }),
  );

  test.each([Number.POSITIVE_INFINITY, 0.01])('forwardKl with clamp %d', (clamp) =>
    expectSame({
      shapes: [[9, 300]],
      operation: (student) => {
        const teacher = tf.randomNormal([9, 300], 0, 2, 'float32', 5) as tf.Tensor2D;
        const { perToken, unclamped } = forwardKl(teacher, student as tf.Tensor2D, { clamp });
        return tf.stack([perToken, unclamped]);
      },
    }),
  );

  test.each([0, 0.7, 1])('sampleTokens at temperature %d', async (temperature) => {
    const drawn = [];
    for (const to of [onCpu, onGpu]) {
      await to();
      const logits = tf.randomNormal([40, 700], 0, 3, 'float32', 11) as tf.Tensor2D;
      drawn.push(
        await sampleTokens(
          logits,
          temperature,
          Float32Array.from({ length: 40 }, (_, i) => i / 40),
        ),
      );
      logits.dispose();
    }
    expect([...drawn[1].tokens]).toEqual([...drawn[0].tokens]);
    expect(difference(drawn[1].logProbs, drawn[0].logProbs)).toBeLessThan(1e-5);
  });

  test('AdamW with clipping and decay', async () => {
    const results: Float32Array[] = [];
    const norms: number[] = [];
    for (const to of [onCpu, onGpu]) {
      await to();
      const variable = tf.tidy(() => tf.variable(tf.randomNormal([3, 700], 0, 1, 'float32', 1)));
      const optimizer = new AdamW({ w: variable });
      for (let step = 1; step <= 3; step++) {
        const gradient = tf.randomNormal([3, 700], 0, step, 'float32', step);
        norms.push(await optimizer.step({ w: gradient }, { learningRate: 0.01, weightDecay: 0.1, clipNorm: 1 }));
        gradient.dispose();
      }
      results.push(Float32Array.from(await variable.data<'float32'>()));
      optimizer.dispose();
      variable.dispose();
    }
    expect(difference(results[1], results[0])).toBeLessThan(1e-6);
    norms.slice(3).forEach((norm, i) => {
      expect(norm / norms[i]).toBeCloseTo(1, 5);
    });
  });

  test('refuses a tensor larger than a buffer may be, with both numbers, and goes on', async () => {
    await onGpu();
    const { maxBufferSize } = webGpuDevice() as NonNullable<ReturnType<typeof webGpuDevice>>;
    const rows = Math.ceil(maxBufferSize / 4 / 1024) + 1;
    const [x, weight] = [tf.zeros([rows, 1]), tf.zeros([1024, 1]) as tf.Tensor2D];
    expect(() => linear(x, weight)).toThrow(new RegExp(`takes ${rows * 4096} bytes; this WebGPU device allows ${maxBufferSize}`));
    tf.dispose([x, weight]);
    const sum = tf.tidy(() => tf.sum(tf.ones([2000])));
    expect((await sum.data())[0]).toBe(2000);
    sum.dispose();
  });

  test('says that reads are asynchronous', async () => {
    await onGpu();
    const x = tf.tidy(() => linear(tf.ones([2, 4]), tf.ones([3, 4])));
    expect(() => x.dataSync()).toThrow(/await tensor.data\(\)/);
    expect([...(await x.data())]).toEqual(Array(6).fill(4));
    x.dispose();
  });
});
