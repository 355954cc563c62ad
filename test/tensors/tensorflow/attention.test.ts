/** Attention by the kernels for TensorFlow with heads of any width and keys past their blocks; `kernels.test.ts` has the rest. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, test } from 'vitest';
import { attention } from '../../../src/tensors/attention.js';
import { startBackend } from '../../../src/tensors/backend.js';
import { expectKernelEqualsFormula } from '../equals-formula.js';
import { tensorFlow } from './set-up.js';

describe.skipIf(!tensorFlow.kernels)(`attention on tensorflow${tensorFlow.missing}`, () => {
  beforeAll(() => startBackend({ backend: 'tensorflow' }));

  const equalsFormula = (queries: fc.Arbitrary<number>) => () =>
    fc.assert(
      fc.property(
        ...([queries, fc.integer({ min: 0, max: 210 }), fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 3 })] as const),
        ...([fc.constantFrom(1, 15, 16, 17, 31, 48, 63, 64, 65, 80, 128, 150), fc.nat(1000)] as const),
        (count, prefix, keyHeads, group, headDim, seed) => {
          tf.tidy(() => {
            const normal = (shape: number[], at: number) => tf.randomNormal(shape, 0, 1, 'float32', seed + at);
            const key = [2, count + prefix, keyHeads, headDim];
            expectKernelEqualsFormula([normal([2, count, keyHeads * group, headDim], 1), normal(key, 2), normal(key, 3)], (q, k, v) =>
              attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D),
            );
          });
        },
      ),
      { numRuns: 30 },
    );

  test('of few queries, which read keys as they lie', equalsFormula(fc.integer({ min: 1, max: 3 })));
  test('of many, which are computed in blocks', equalsFormula(fc.constantFrom(4, 15, 16, 17, 33, 47, 48, 49, 97, 150)));
});
