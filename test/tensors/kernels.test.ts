/**
 * Every kernel against its formula, values and gradients, over random shapes: sizes 1, odd sizes, sizes past the kernels' blocks of 4, 8, 32, 64 and 256.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { AdamW } from '../../src/tensors/adamW.js';
import { type AttentionSegment, attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';
import { hasKernel, useKernels } from '../../src/tensors/dispatch.js';
import { embedding } from '../../src/tensors/embedding.js';
import { forwardKl } from '../../src/tensors/forward-kl.js';
import { linear } from '../../src/tensors/linear.js';
import { rmsNorm } from '../../src/tensors/rms-norm.js';
import { rotary, rotaryTables } from '../../src/tensors/rotary.js';
import { sampleTokens } from '../../src/tensors/sample-tokens.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { swiglu } from '../../src/tensors/swiglu.js';
import { expectKernelEqualsFormula, expectSame } from './equals-formula.js';
import { tensorFlow } from './tensorflow/set-up.js';

const RUNS = { numRuns: 40 };

/** Small sizes mostly, and now and then one past a block. */
const size = (largest: number) => fc.oneof(fc.constantFrom(1, 2, 3, 4, 5, 8), fc.integer({ min: 1, max: largest }));
const vocabularySize = size(70).map((n) => n + 1); // tf.oneHot refuses 1
const seed = fc.integer({ min: 1, max: 1e6 });

let draws = 0;
const normal = (shape: number[], from: number, scale = 1) => tf.randomNormal(shape, 0, scale, 'float32', from * 64 + (draws++ % 64));

const kernelsEqualFormulas = (backend: 'simd' | 'tensorflow', build: RegExp) => () => {
  beforeAll(async () => {
    const { kernels } = await startBackend({ backend });
    expect(kernels).toMatch(build);
    expect(hasKernel('SearchE1SegmentAttention')).toBe(true);
  });

  test('batched matrix products in all transpositions', () => {
    fc.assert(
      fc.property(
        size(300),
        size(40),
        size(300),
        size(4),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom('both', 'left', 'right'),
        seed,
        (...drawn) => {
          const [m, n, k, batch, transposeA, transposeB, batched, from] = drawn;
          tf.tidy(() => {
            const a = normal([batched === 'right' ? 1 : batch, ...(transposeA ? [k, m] : [m, k])], from);
            const b = normal([batched === 'left' ? 1 : batch, ...(transposeB ? [n, k] : [k, n])], from);
            const [expected, actual] = [false, true].map((on) => {
              useKernels(on);
              return tf.matMul(a, b, transposeA, transposeB).dataSync() as Float32Array;
            });
            expectSame(actual, expected, 1e-5, `${transposeA} ${transposeB}`);
          });
        },
      ),
      RUNS,
    );
  });

  test('matrix products wider than a packed panel', () => {
    tf.tidy(() => expectKernelEqualsFormula([normal([5, 515], 1), normal([519, 515], 2)], (x, w) => linear(x, w as tf.Tensor2D)));
  });

  test('linear with and without bias', () => {
    fc.assert(
      fc.property(size(6), size(9), size(40), size(40), fc.boolean(), seed, (batch, length, inputs, outputs, withBias, from) => {
        tf.tidy(() => {
          const tensors = [normal([batch, length, inputs], from), normal([outputs, inputs], from)];
          if (withBias) tensors.push(normal([outputs], from));
          expectKernelEqualsFormula(tensors, (x, weight, bias) => linear(x, weight as tf.Tensor2D, bias as tf.Tensor1D | undefined));
        });
      }),
      RUNS,
    );
  });

  test('linear over hundreds of rows', () => {
    tf.tidy(() => {
      const inputs = [normal([3, 100, 37], 1), normal([45, 37], 2), normal([45], 3), normal([3, 100, 45], 4)];
      expectKernelEqualsFormula(inputs, (x, weight, bias, plus) => linear(x, weight as tf.Tensor2D, bias as tf.Tensor1D, { plus }));
    });
  });

  test.runIf(backend === 'tensorflow')('work that is large enough for several threads', () => {
    tf.tidy(() => {
      const segments = Array.from({ length: 6 }, (_, i): AttentionSegment => ({ queries: 70, keys: 70, from: 70 * i }));
      const [query, key] = [[1, 420, 4, 32] as number[], [1, 420, 2, 32] as number[]];
      expectKernelEqualsFormula([normal(query, 1), normal(key, 2), normal(key, 3)], (q, k, v) =>
        attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { segments }),
      );
      const rows = normal([420, 257], 4);
      expectKernelEqualsFormula([rows, normal([257], 5)], (x, weight) => rmsNorm(x, weight as tf.Tensor1D, 1e-6), 2e-5);
      expectKernelEqualsFormula([rows, normal([420, 257], 6)], swiglu);
      const ids = tf.tensor1d(
        Array.from({ length: 420 }, (_, i) => (i * 31) % 90),
        'int32',
      );
      expectKernelEqualsFormula([normal([90, 257], 7)], (table) => embedding(table as tf.Tensor2D, ids), 2e-5);
    });
  });

  test('linear with a residual, an adapter, or both', () => {
    fc.assert(
      fc.property(size(6), size(9), size(40), size(40), size(5), fc.boolean(), fc.boolean(), seed, (...drawn) => {
        const [batch, length, inputs, outputs, rank, withBias, withPlus, from] = drawn;
        tf.tidy(() => {
          const tensors = [normal([batch, length, inputs], from), normal([outputs, inputs], from)];
          tensors.push(normal([rank, inputs], from), normal([outputs, rank], from));
          if (withBias) tensors.push(normal([outputs], from));
          if (withPlus) tensors.push(normal([batch, length, outputs], from));
          const operation =
            (adapted: boolean) =>
            (x: tf.Tensor, weight: tf.Tensor, a: tf.Tensor, b: tf.Tensor, ...rest: tf.Tensor[]) => {
              const [bias, plus] = [withBias ? rest[0] : undefined, withPlus ? rest[rest.length - 1] : undefined];
              const adapter = { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 2 / rank };
              const y = linear(x, weight as tf.Tensor2D, bias as tf.Tensor1D | undefined, { plus, adapter: adapted ? adapter : undefined });
              return adapted ? y : tf.add(y, tf.mul(0, tf.add(tf.sum(a), tf.sum(b)))); // every input takes part
            };
          expectKernelEqualsFormula(tensors, operation(true) as (...inputs: tf.Tensor[]) => tf.Tensor, 2e-5);
          if (withPlus) expectKernelEqualsFormula(tensors, operation(false) as (...inputs: tf.Tensor[]) => tf.Tensor, 2e-5);
        });
      }),
      RUNS,
    );
  });

  test('no rows at all: gradients of weights are zeros', () => {
    tf.tidy(() => {
      const x = tf.zeros([0, 5]);
      expectKernelEqualsFormula([x, normal([4, 5], 1), normal([4], 2)], (x, weight, bias) =>
        linear(x, weight as tf.Tensor2D, bias as tf.Tensor1D),
      );
      expectKernelEqualsFormula([x, normal([5], 1)], (x, weight) => rmsNorm(x, weight as tf.Tensor1D, 1e-6));
    });
  });

  test('a row of a product does not depend on the rows around it', () => {
    useKernels(true);
    tf.tidy(() => {
      const x = normal([31, 300], 1) as tf.Tensor2D;
      const weight = normal([45, 300], 2) as tf.Tensor2D;
      const all = linear(x, weight).arraySync() as number[][];
      for (const row of [0, 5, 6, 29, 30]) expect(linear(tf.slice(x, [row, 0], [1, -1]), weight).arraySync()).toEqual([all[row]]);
    });
  });

  test('rmsNorm', () => {
    fc.assert(
      fc.property(size(9), size(70), fc.constantFrom(1e-6, 1e-2), fc.constantFrom(1, 1e-3), seed, (rows, width, epsilon, scale, from) => {
        tf.tidy(() => {
          const inputs = [normal([rows, width], from, scale), normal([width], from)];
          expectKernelEqualsFormula(inputs, (x, weight) => rmsNorm(x, weight as tf.Tensor1D, epsilon), 1e-4); // dx of width 1 cancels to nothing
        });
      }),
      RUNS,
    );
  });

  test('rotary with one row of tables a token, and with rows shared by the batch', () => {
    fc.assert(
      fc.property(
        size(3),
        size(9),
        size(4),
        fc.constantFrom(2, 4, 6, 8, 20, 32),
        fc.boolean(),
        seed,
        (batch, length, heads, headDim, shared, from) => {
          tf.tidy(() => {
            const tables = rotaryTables(
              Array.from({ length: shared ? length : batch * length }, (_, i) => (i * 7) % 31),
              headDim,
              1e4,
            );
            expectKernelEqualsFormula([normal([batch, length, heads, headDim], from)], (x) => rotary(x as tf.Tensor4D, tables));
          });
        },
      ),
      RUNS,
    );
  });

  test('swiglu', () => {
    fc.assert(
      fc.property(size(9), size(30), fc.constantFrom(1, 30), seed, (rows, width, scale, from) => {
        tf.tidy(() => expectKernelEqualsFormula([normal([rows, width], from, scale), normal([rows, width], from)], swiglu));
      }),
      RUNS,
    );
  });

  test('embedding with repeated ids', () => {
    fc.assert(
      fc.property(size(20), size(20), fc.array(fc.nat(), { minLength: 1, maxLength: 40 }), seed, (vocabulary, width, drawn, from) => {
        tf.tidy(() => {
          const ids = tf.tensor1d(drawn.map((id) => id % vocabulary), 'int32'); // biome-ignore format: one idea
          expectKernelEqualsFormula([normal([vocabulary, width], from)], (table) => embedding(table as tf.Tensor2D, ids));
        });
      }),
      RUNS,
    );
  });

  test('an id outside the table is refused, as a kernel would write beside it', () => {
    tf.tidy(() => {
      useKernels(true);
      expect(() => embedding(tf.ones([3, 2]), tf.tensor1d([0, 3], 'int32'))).toThrow(/id 3 at 1 should be in \[0, 3\)/);
      expect(() => selectedLogProbs(tf.ones([1, 2]), tf.ones([3, 2]), tf.tensor1d([-1], 'int32'))).toThrow(/id -1/);
    });
  });

  test('attention with grouped keys, cached prefixes and left padding', () => {
    const shapes = [size(3), size(70), size(20), size(2), size(3), fc.constantFrom(1, 2, 6, 8, 20, 32), fc.boolean(), seed] as const;
    fc.assert(
      fc.property(...shapes, (batch, queries, prefix, keyHeads, group, headDim, padding, from) => {
        tf.tidy(() => {
          const keys = queries + prefix;
          const key = [batch, keys, keyHeads, headDim];
          // Row b hides its first b keys; a query that may read nothing is not compared, as its output means nothing.
          const hidden = (row: number) => (padding ? Math.min(row, keys - 1) : 0);
          const keyMask = tf.tensor2d(
            Array.from({ length: batch }, (_, row) => Array.from({ length: keys }, (_, j) => (j < hidden(row) ? 0 : 1))),
          );
          const compared = tf.tensor4d(
            Array.from({ length: batch }, (_, row) => Array.from({ length: queries }, (_, i) => [[prefix + i < hidden(row) ? 0 : 1]])),
            [batch, queries, 1, 1],
          );
          expectKernelEqualsFormula(
            [normal([batch, queries, keyHeads * group, headDim], from), normal(key, from), normal(key, from)],
            (q, k, v) => tf.mul(attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, padding ? { keyMask } : {}), compared),
          );
        });
      }),
      RUNS,
    );
  });

  test('attention over segments end to end, some of which read keys of those before them', () => {
    const families = fc.array(fc.tuple(size(30), fc.array(size(30), { maxLength: 2 }), fc.boolean()), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(families, size(3), size(3), fc.constantFrom(1, 2, 6, 8, 20, 32), seed, (lengths, keyHeads, group, headDim, from) => {
        tf.tidy(() => {
          const segments: AttentionSegment[] = [];
          let rows = 0;
          for (const [first, others, partly] of lengths) {
            const before = [{ from: rows, keys: partly ? Math.ceil(first / 2) : first }];
            segments.push({ queries: first, keys: first, from: rows });
            rows += first;
            for (const keys of others) {
              segments.push({ queries: keys, keys, from: rows, before: [...before] });
              if (partly) before.push({ from: rows, keys: Math.ceil(keys / 3) });
              rows += keys;
            }
          }
          const key = [1, rows, keyHeads, headDim];
          expectKernelEqualsFormula([normal([1, rows, keyHeads * group, headDim], from), normal(key, from), normal(key, from)], (q, k, v) =>
            attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { segments }),
          );
        });
      }),
      { numRuns: 15 },
    );
  });

  test('selectedLogProbs and its entropies', () => {
    const tolerance = 5e-5; // logits reach 50 here, so their floats are 4e-6 apart
    fc.assert(
      fc.property(size(140), vocabularySize, size(20), seed, fc.constantFrom(1, 5), (rows, vocabulary, width, from, scale) => {
        tf.tidy(() => {
          const targets = tf.tensor1d(
            Array.from({ length: rows }, (_, i) => (i * 17 + from) % vocabulary),
            'int32',
          );
          const inputs = [normal([rows, width], from, scale), normal([vocabulary, width], from)];
          const both = (hidden: tf.Tensor, head: tf.Tensor) => selectedLogProbs(hidden as tf.Tensor2D, head as tf.Tensor2D, targets);
          expectKernelEqualsFormula(inputs, (hidden, head) => both(hidden, head).logProbs, tolerance);
          expectKernelEqualsFormula(inputs, (hidden, head) => both(hidden, head).entropy, tolerance);
        });
      }),
      RUNS,
    );
  });

  test('selectedLogProbs over so many rows that their softmax is not kept', () => {
    // 600 x 70,001 floats are more than the kernel keeps or computes at a time; each half is not.
    const [rows, vocabulary, width] = [600, 70_001, 4];
    tf.tidy(() => {
      useKernels(true);
      const hidden = normal([rows, width], 1) as tf.Tensor2D;
      const head = normal([vocabulary, width], 2) as tf.Tensor2D;
      const targets = tf.tensor1d(
        Array.from({ length: rows }, (_, i) => (i * 7919) % vocabulary),
        'int32',
      );
      const dy = normal([rows], 3);
      const gradients = (first: number, count: number) =>
        tf.grads((x, head) => selectedLogProbs(x as tf.Tensor2D, head as tf.Tensor2D, tf.slice(targets, [first], [count])).logProbs)(
          [tf.slice(hidden, [first, 0], [count, -1]), head],
          tf.slice(dy, [first], [count]),
        );
      const [whole, ...halves] = [gradients(0, rows), gradients(0, 300), gradients(300, 300)];
      expectSame(
        whole[0].dataSync() as Float32Array,
        tf.concat(halves.map(([dHidden]) => dHidden)).dataSync() as Float32Array,
        1e-6,
        'hidden',
      );
      const dHead = tf.add(halves[0][1], halves[1][1]).dataSync() as Float32Array;
      expectSame(whole[1].dataSync() as Float32Array, dHead, 1e-5, 'head', 1e-3);
    });
  });

  test('forwardKl, clipped and not', () => {
    fc.assert(
      fc.property(
        size(9),
        size(70),
        fc.constantFrom(0.01, 0.2, Infinity),
        fc.constantFrom(1, 4),
        seed,
        (rows, vocabulary, clamp, scale, from) => {
          tf.tidy(() => {
            const teacher = normal([rows, vocabulary], from, scale) as tf.Tensor2D;
            const inputs = [normal([rows, vocabulary], from, scale)];
            expectKernelEqualsFormula(inputs, (student) => forwardKl(teacher, student as tf.Tensor2D, { clamp }).perToken);
            expectKernelEqualsFormula(inputs, (student) => forwardKl(teacher, student as tf.Tensor2D, { clamp }).unclamped);
          });
        },
      ),
      RUNS,
    );
  });

  test('sampleTokens', async () => {
    await fc.assert(
      fc.asyncProperty(size(6), size(90), fc.constantFrom(0, 0.5, 1, 2), seed, async (rows, vocabulary, temperature, from) => {
        const logits = normal([rows, vocabulary], from, 3) as tf.Tensor2D;
        const uniforms = Float32Array.from({ length: rows }, (_, i) => ((i * 37 + from) % 101) / 101);
        useKernels(false);
        const expected = await sampleTokens(logits, temperature, uniforms);
        useKernels(true);
        const actual = await sampleTokens(logits, temperature, uniforms);
        logits.dispose();
        expect([...actual.tokens]).toEqual([...expected.tokens]);
        expectSame(actual.logProbs, expected.logProbs, 1e-5, 'logProbs');
      }),
      RUNS,
    );
  });

  test('AdamW', async () => {
    await fc.assert(
      fc.asyncProperty(
        size(9),
        size(9),
        fc.constantFrom(0, 0.5),
        fc.constantFrom(0, 0.1),
        seed,
        async (rows, width, clipNorm, weightDecay, from) => {
          const start = normal([rows, width], from);
          const gradients = [1, 2, 3].map(() => normal([rows, width], from));
          const results: Float32Array[][] = [];
          for (const on of [false, true]) {
            useKernels(on);
            const variable = tf.variable(start);
            const optimiser = new AdamW({ w: variable });
            const norms: number[] = [];
            for (const w of gradients) norms.push(await optimiser.step({ w }, { learningRate: 0.01, clipNorm, weightDecay }));
            const { first, second } = await optimiser.state();
            results.push([Float32Array.from(norms), variable.dataSync() as Float32Array, first.w, second.w]);
            optimiser.dispose();
            variable.dispose();
          }
          tf.dispose([start, ...gradients]);
          results[0].forEach((expected, i) => {
            expectSame(results[1][i], expected, 1e-6, ['norms', 'weight', 'first', 'second'][i], 1e-4);
          });
        },
      ),
      RUNS,
    );
  });
};

describe('kernels equal formulas on the simd backend:', kernelsEqualFormulas('simd', /simd/));
describe.skipIf(!tensorFlow.kernels)(
  `kernels equal formulas on the tensorflow backend${tensorFlow.missing}:`,
  kernelsEqualFormulas('tensorflow', /c\+\+/),
);
