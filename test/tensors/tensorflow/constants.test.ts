/** Constants that kernels for TensorFlow are given, such as shapes: more of them than are kept. */
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { startBackend } from '../../../src/tensors/backend.js';
import { tensorFlow } from './set-up.js';

describe.skipIf(!tensorFlow.kernels)(`constants on tensorflow${tensorFlow.missing}`, () => {
  test('may be any number', async () => {
    await startBackend({ backend: 'tensorflow' });
    for (let length = 1; length <= 1500; length++) {
      const [filled, shaped] = tf.tidy(() => {
        const x = tf.fill([length, 1], length);
        return [x.dataSync(), tf.reshape(x, [1, length]).shape];
      });
      expect(filled.length === length && filled.every((value) => value === length)).toBe(true);
      expect(shaped).toEqual([1, length]);
    }
  });
});
