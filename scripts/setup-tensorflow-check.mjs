/** Loads tfjs-node-gpu as the package does and prints what it is as JSON; scripts/setup-tensorflow.mjs runs it in a process of its own. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const util = require('node:util');
util.isNullOrUndefined ??= (value) => value === null || value === undefined; // tfjs-node 4.22 calls two functions that Node 23 took out
util.isArray ??= Array.isArray;
const tf = require('@tensorflow/tfjs-node-gpu');
await tf.setBackend('tensorflow');
const { isUsingGpuDevice, binding } = tf.backend();

const n = 1024;
const a = tf.randomUniform([n, n], -1, 1, 'float32', 1);
const b = tf.randomUniform([n, n], -1, 1, 'float32', 2);
let best = Number.POSITIVE_INFINITY;
for (let i = 0; i < 8; i++) {
  const start = performance.now();
  const product = tf.matMul(a, b);
  await product.data();
  best = Math.min(best, performance.now() - start);
  product.dispose();
}
const [left, right, product] = await Promise.all([a.data(), b.data(), tf.matMul(a, b).data()]);
let largestError = 0;
for (const [i, j] of [
  [0, 0],
  [17, 900],
  [n - 1, n - 1],
]) {
  let expected = 0;
  for (let k = 0; k < n; k++) expected += left[i * n + k] * right[k * n + j];
  largestError = Math.max(largestError, Math.abs(expected - product[i * n + j]));
}
const report = {
  tensorflow: binding.TF_Version,
  gpu: isUsingGpuDevice,
  gigaflops: Math.round((2 * n ** 3) / best / 1e6),
  largestError: Number(largestError.toPrecision(2)),
};
process.stdout.write(`${JSON.stringify(report)}\n`);
