/** Draws by the kernel for TensorFlow from vocabularies of many blocks; `kernels.test.ts` has the small ones. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { startBackend } from '../../../src/tensors/backend.js';
import { useKernels } from '../../../src/tensors/dispatch.js';
import { sampleTokens } from '../../../src/tensors/sample-tokens.js';
import { expectSame } from '../equals-formula.js';
import { tensorFlow } from './set-up.js';

describe.skipIf(!tensorFlow.kernels)(`draws on tensorflow${tensorFlow.missing}`, () => {
  beforeAll(() => startBackend({ backend: 'tensorflow' }));

  test('are those of the formula, but where a uniform falls within rounding of a limit', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 200, max: 3000 }),
        fc.constantFrom(0, 0.7, 1),
        fc.nat(1000),
        async (vocabulary, temperature, seed) => {
          const logits = tf.randomNormal([8, vocabulary], 0, 3, 'float32', seed) as tf.Tensor2D;
          const uniforms = Float32Array.from([0, 0.1, 0.25, 0.4, 0.6, 0.8, 0.99, 1 - 2 ** -24]);
          useKernels(false);
          const expected = await sampleTokens(logits, temperature, uniforms);
          useKernels(true);
          const actual = await sampleTokens(logits, temperature, uniforms);
          logits.dispose();
          const same = [...actual.tokens].map((token, i) => token === expected.tokens[i]);
          expect(same.filter((equal) => !equal).length).toBeLessThanOrEqual(1);
          const kept = (values: Float32Array) => values.filter((_, i) => same[i]);
          expectSame(kept(actual.logProbs), kept(expected.logProbs), 1e-5, 'logProbs');
        },
      ),
      { numRuns: 30 },
    ));

  test('never take a token without any weight', async () => {
    const values = new Float32Array(1000).fill(Number.NEGATIVE_INFINITY);
    values[300] = 1;
    values[310] = 0;
    const logits = tf.tensor2d(values, [1, 1000]);
    for (const uniform of [0, 0.5, 0.9, 1 - 2 ** -24]) {
      const { tokens } = await sampleTokens(logits, 1, Float32Array.of(uniform));
      expect([300, 310]).toContain(tokens[0]);
    }
    logits.dispose();
  });
});
