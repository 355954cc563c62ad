/** The webgpu backend on Dawn with SwiftShader, or with the machine's own driver where SEARCH_E1_TEST_GPU is set. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBackend } from '../../src/tensors/backend.js';
import { hasKernel } from '../../src/tensors/dispatch.js';
import { embedding } from '../../src/tensors/embedding.js';
import { linear } from '../../src/tensors/linear.js';
import { webGpuDevice } from '../../src/tensors/webgpu/device.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';
import { CHECKS } from './webgpu-checks.js';

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

describe.skipIf(!swiftShaderCanRun)('on WebGPU', { timeout: 300_000 }, () => {
  const onGpu = () => startBackend({ backend: 'webgpu' });

  beforeAll(async () => {
    useSwiftShader();
    const report = await onGpu();
    expect(report).toMatchObject({ name: 'webgpu', kernels: 'wgsl' });
    if (!process.env.SEARCH_E1_TEST_GPU) expect(report.device).toBe('software');
    expect(hasKernel('SearchE1SegmentAttention')).toBe(true);
  });

  afterAll(async () => {
    await startBackend({ backend: 'cpu' });
  });

  test.each(CHECKS)('$name', async ({ run, tolerance }) => {
    expect(await run()).toBeLessThanOrEqual(tolerance);
  });

  test('embedding refuses an id beyond the table', async () => {
    await onGpu();
    expect(() => tf.tidy(() => embedding(tf.ones([4, 2]), tf.tensor1d([4], 'int32')))).toThrow(/id 4 is not in \[0, 4\)/);
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

  test('keeps nothing of what was read', async () => {
    await onGpu();
    const read: WeakRef<object>[] = [];
    for (let i = 0; i < 20; i++) {
      const x = tf.tidy(() => linear(tf.ones([2, 4]), tf.ones([3, 4])));
      read.push(new WeakRef(await x.data()));
      x.dispose();
    }
    await new Promise(setImmediate); // a WeakRef holds its object until the turn in which it was made ends
    collectGarbage();
    expect(read.filter((values) => values.deref()).length).toBeLessThan(3); // the last may still lie on the stack
  });
});
