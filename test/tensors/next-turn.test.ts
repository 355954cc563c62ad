/** Where work begins in a turn of its own, an interrupted cell cannot cut it, and what was cut elsewhere is closed. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { startBackend } from '../../src/tensors/backend.js';
import { valueAndGradients } from '../../src/tensors/gradients.js';
import { nextTurn } from '../../src/tensors/next-turn.js';

beforeAll(async () => {
  await startBackend({ backend: 'simd', threads: 1 });
});

test('what waits for the event loop comes first', async () => {
  const order: string[] = [];
  setImmediate(() => order.push('a display'));
  await nextTurn();
  order.push('work');
  expect(order).toEqual(['a display', 'work']);
});

test('an operation and a gradient that were cut in the middle do not stay open', async () => {
  // As vm's breakOnSigint leaves TensorFlow.js in a cell that was computing a gradient: no `finally` has run.
  Object.assign(tf.engine().state, { kernelDepth: 2, gradientDepth: 1, activeTape: [] });
  const square = () => valueAndGradients(() => tf.square(x), [x]);
  const x = tf.scalar(3);
  expect(square).toThrow(/recorded already/);
  await nextTurn();
  const { value, gradients } = square();
  expect([value, ...gradients].map((tensor) => tensor?.dataSync()[0])).toEqual([9, 6]);
  tf.dispose([x, value, ...gradients]);
});
