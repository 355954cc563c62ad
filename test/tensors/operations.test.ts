import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { type AttentionSegment, attention } from '../../src/tensors/attention.js';
import { startBackend } from '../../src/tensors/backend.js';
import { embedding } from '../../src/tensors/embedding.js';
import { forwardKl } from '../../src/tensors/forward-kl.js';
import { linear } from '../../src/tensors/linear.js';
import { rmsNorm } from '../../src/tensors/rms-norm.js';
import { rotary, rotaryTables } from '../../src/tensors/rotary.js';
import { sampleTokens } from '../../src/tensors/sample-tokens.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { swiglu } from '../../src/tensors/swiglu.js';
import { topKForwardKl } from '../../src/tensors/top-k-forward-kl.js';
import { expectClose, fixture, SETUPS, withoutLeak } from './fixtures.js';

describe.each(SETUPS)('on %s', (_, setup) => {
  beforeAll(async () => {
    await startBackend(setup);
  });

  test('rmsNorm and its gradients equal PyTorch', () => {
    const f = fixture('rmsnorm');
    withoutLeak(() => {
      const x = tf.tensor4d(f.x);
      const weight = tf.tensor1d(f.weight);
      expectClose(rmsNorm(x, weight, f.eps), f.y, 1e-5);
      const [dx, dWeight] = tf.grads((x, weight) => rmsNorm(x, weight as tf.Tensor1D, f.eps))([x, weight], tf.tensor(f.grad_y));
      expectClose(dx, f.grad_x, 1e-5, 'dx');
      expectClose(dWeight, f.grad_weight, 1e-5, 'dWeight');
    });
  });

  test('rotary equals Transformers, also at scattered positions up to 1000', () => {
    const f = fixture('rope');
    for (const c of f.cases) {
      const tolerance = Math.max(...c.position_ids.flat()) > 100 ? 1e-4 : 1e-5;
      withoutLeak(() => {
        const tables = rotaryTables(c.position_ids.flat(), f.head_dim, f.theta);
        expectClose(tables.cos, c.cos, tolerance, 'cos');
        expectClose(tables.sin, c.sin, tolerance, 'sin');
        for (const [given, expected] of [
          [c.q, c.q_out],
          [c.k, c.k_out],
        ]) {
          const byToken = tf.transpose(tf.tensor4d(given), [0, 2, 1, 3]); // the fixture is [B, H, T, hd]
          const turned = rotary(byToken, tables);
          expectClose(tf.transpose(turned, [0, 2, 1, 3]), expected, tolerance);
          // A rotation's gradient turns back: applied to the output it gives the input.
          const back = tf.grad((x) => rotary(x as tf.Tensor4D, tables))(byToken, turned);
          expectClose(back, byToken.arraySync(), tolerance, 'gradient');
        }
      });
    }
  });

  test('attention and its gradients equal PyTorch, unpadded and left-padded, with grouped keys', () => {
    const byToken = (x: number[][][][]) => tf.transpose(tf.tensor4d(x), [0, 2, 1, 3]); // the fixture is [B, H, T, hd]
    for (const c of fixture('attention').cases) {
      withoutLeak(() => {
        const [q, k, v] = [byToken(c.q), byToken(c.k), byToken(c.v)];
        const keyMask = tf.tensor2d([c.mask]);
        const real = tf.reshape(keyMask, [keyMask.shape[0], keyMask.shape[1], 1, 1]); // padded rows are not compared
        const out = attention(q, k, v, { keyMask });
        expectClose(tf.mul(out, real), tf.mul(byToken(c.out), real).arraySync(), 1e-5, 'out');
        const run = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) =>
          attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { keyMask });
        const gradients = tf.grads(run)([q, k, v], byToken(c.grad_out));
        gradients.forEach((gradient, i) => {
          expectClose(gradient, byToken([c.grad_q, c.grad_k, c.grad_v][i]).arraySync(), 1e-5, 'gradient');
        });
      });
    }
  });

  test('attention over segments equals attention over each with the keys before its own, values and gradients', () => {
    tf.tidy(() => {
      const [q, k, v] = [4, 2, 2].map((heads, i) => tf.randomNormal([1, 30, heads, 6], 0, 1, 'float32', 5 + i) as tf.Tensor4D);
      const segments: AttentionSegment[] = [
        { queries: 7, keys: 7, from: 0 },
        { queries: 3, keys: 5, from: 8 }, // its first two keys stand before the queries
        { queries: 12, keys: 12, from: 13, before: [{ from: 8, keys: 4 }] },
        { queries: 1, keys: 1, from: 25, before: [{ from: 8, keys: 4 }] },
        { queries: 4, keys: 4, from: 26 },
        {
          queries: 3,
          keys: 5,
          from: 2,
          before: [
            { from: 20, keys: 1 },
            { from: 0, keys: 2 },
          ],
        },
      ];
      const part = (x: tf.Tensor, from: number, length: number) => tf.slice(x as tf.Tensor4D, [0, from, 0, 0], [1, length, -1, -1]);
      const apart = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => {
        let first = 0;
        return tf.concat(
          segments.map(({ queries, before = [], ...own }) => {
            const [ks, vs] = [k, v].map((x) =>
              tf.concat(
                [...before, own].map(({ from, keys }) => part(x, from, keys)),
                1,
              ),
            );
            first += queries;
            return attention(part(q, first - queries, queries), ks, vs);
          }),
          1,
        );
      };
      const weights = tf.randomNormal(q.shape, 0, 1, 'float32', 9);
      const weighted = (of: (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => tf.Tensor) => (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) =>
        tf.sum(tf.mul(of(q, k, v), weights)) as tf.Scalar;
      const together = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) =>
        attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { segments });
      expectClose(together(q, k, v), apart(q, k, v).arraySync(), 1e-5);
      const gradients = tf.grads(weighted(together))([q, k, v]);
      const expected = tf.grads(weighted(apart))([q, k, v]);
      gradients.forEach((gradient, i) => {
        expectClose(gradient, expected[i].arraySync(), 1e-5, `gradient ${i}`);
      });
    });
  });

  test('attention of the last queries over a cached prefix equals the end of one full pass', () => {
    withoutLeak(() => {
      const draw = (shape: [number, number, number, number], seed: number) => tf.randomNormal(shape, 0, 1, 'float32', seed) as tf.Tensor4D;
      const [q, k, v] = [draw([2, 7, 4, 8], 1), draw([2, 7, 2, 8], 2), draw([2, 7, 2, 8], 3)];
      const full = attention(q, k, v);
      for (const queries of [1, 3]) {
        const last = attention(tf.slice(q, [0, 7 - queries, 0, 0]), k, v);
        expectClose(last, tf.slice(full, [0, 7 - queries, 0, 0]).arraySync(), 1e-6);
      }
    });
  });

  test('the MLP of linear and swiglu and all its gradients equal PyTorch', () => {
    const f = fixture('swiglu');
    const mlp = (x: tf.Tensor, gate: tf.Tensor, up: tf.Tensor, down: tf.Tensor) =>
      linear(swiglu(linear(x, gate as tf.Tensor2D), linear(x, up as tf.Tensor2D)), down as tf.Tensor2D);
    withoutLeak(() => {
      const inputs = [f.x, f.gate, f.up, f.down].map((values) => tf.tensor(values));
      expectClose(mlp(inputs[0], inputs[1], inputs[2], inputs[3]), f.y, 1e-5);
      tf.grads(mlp)(inputs, tf.tensor(f.grad_y)).forEach((gradient, i) => {
        expectClose(gradient, [f.grad_x, f.grad_gate, f.grad_up, f.grad_down][i], 1e-5, `gradient ${i}`);
      });
    });
  });

  test('the bias of linear is added to each row and its gradient sums over rows', () => {
    withoutLeak(() => {
      const [x, weight, bias] = [tf.ones([2, 3, 4]), tf.ones([5, 4]) as tf.Tensor2D, tf.tensor1d([0, 1, 2, 3, 4])];
      expectClose(linear(x, weight, bias), tf.broadcastTo(tf.tensor1d([4, 5, 6, 7, 8]), [2, 3, 5]).arraySync(), 0);
      const gradient = tf.grad((bias) => linear(x, weight, bias as tf.Tensor1D))(bias);
      expectClose(gradient, [6, 6, 6, 6, 6], 0);
    });
  });

  test('embedding looks rows up and adds the gradients of a repeated id', () => {
    withoutLeak(() => {
      const table = tf.tensor2d([[1, 2], [3, 4], [5, 6]]); // biome-ignore format: a table
      const ids = tf.tensor1d([2, 0, 2], 'int32');
      expectClose(embedding(table, ids), [5, 6, 1, 2, 5, 6], 0);
      const gradient = tf.grad((table) => embedding(table as tf.Tensor2D, ids))(table, tf.tensor2d([[1, 1], [2, 2], [10, 20]])); // biome-ignore format: a table
      expectClose(gradient, [2, 2, 0, 0, 11, 21], 0);
    });
    expect(() => tf.tidy(() => embedding(tf.ones([2, 2]), tf.tensor1d([0])))).toThrow(/int32/);
  });

  test('shapes and types that do not fit are refused', () => {
    tf.tidy(() => {
      const [x, weight] = [tf.ones([2, 3]), tf.ones([4, 5]) as tf.Tensor2D];
      expect(() => linear(x, weight)).toThrow(/should end in 5/);
      expect(() => linear(tf.ones([2, 5]), weight, tf.ones([3]))).toThrow(/bias \[3\] should have 4/);
      expect(() => rmsNorm(x, tf.ones([4]), 1e-6)).toThrow(/should have 3/);
      expect(() => swiglu(x, tf.ones([2, 1]))).toThrow(/one shape/);
      expect(() => selectedLogProbs(tf.ones([2, 5]), weight, tf.tensor1d([0, 1]))).toThrow(/int32/);
      const three = tf.ones([1, 3, 2, 4]) as tf.Tensor4D;
      expect(() => attention(three, three, three, { segments: [{ queries: 2, keys: 2, from: 0 }] })).toThrow(/2 queries in segments/);
      expect(() => attention(three, three, three, { segments: [{ queries: 3, keys: 3, from: 1 }] })).toThrow(
        /3 queries .* reads 1 to 4 of 3 keys/,
      );
      expect(() => attention(tf.ones([1, 3, 2, 4]), tf.ones([1, 2, 2, 4]), tf.ones([1, 2, 2, 4]))).toThrow(/do not fit/);
      expect(() => attention(tf.ones([1, 3, 2, 4]), tf.ones([1, 3, 2, 4]), tf.ones([1, 3, 2, 4]), { keyMask: tf.ones([1, 2]) })).toThrow(
        /keyMask/,
      );
      expect(() => forwardKl(tf.ones([1, 2]), tf.ones([1, 3]), { clamp: 1 })).toThrow(/one shape/);
      expect(() => forwardKl(tf.ones([1, 2]), tf.ones([1, 2]), { clamp: 0 })).toThrow(/positive/);
    });
  });

  test('selectedLogProbs equals log softmax at the targets; its gradients equal those of autodiff', () => {
    withoutLeak(() => {
      const hidden = tf.randomNormal([5, 6], 0, 1, 'float32', 1) as tf.Tensor2D;
      const head = tf.randomNormal([11, 6], 0, 1, 'float32', 2) as tf.Tensor2D;
      const targets = tf.tensor1d([3, 0, 10, 7, 3], 'int32');
      const dy = tf.tensor1d([1, -2, 0.5, 3, 0]);
      const plain = (hidden: tf.Tensor, head: tf.Tensor) =>
        tf.sum(tf.mul(tf.logSoftmax(tf.matMul(hidden, head, false, true)), tf.oneHot(targets, 11)), 1);
      const { logProbs, entropy } = selectedLogProbs(hidden, head, targets);
      expectClose(logProbs, plain(hidden, head).arraySync(), 1e-5);
      const all = tf.logSoftmax(tf.matMul(hidden, head, false, true));
      expectClose(entropy, tf.neg(tf.sum(tf.mul(tf.exp(all), all), 1)).arraySync(), 1e-5, 'entropy');
      const expected = tf.grads(plain)([hidden, head], dy);
      const run = (hidden: tf.Tensor, head: tf.Tensor) => selectedLogProbs(hidden as tf.Tensor2D, head as tf.Tensor2D, targets).logProbs;
      tf.grads(run)([hidden, head], dy).forEach((gradient, i) => {
        expectClose(gradient, expected[i].arraySync(), 1e-5, 'gradient');
      });
      const entropyGradient = tf.grad((hidden) => selectedLogProbs(hidden as tf.Tensor2D, head, targets).entropy)(hidden);
      expectClose(entropyGradient, tf.zerosLike(hidden).arraySync(), 0, 'gradient of the entropy');
    });
  });

  describe('forward KL equals PyTorch', () => {
    const f = fixture('distill');
    const [batch, length, vocabulary] = f.shape;
    const mask = f.mask.flat() as number[];
    const count = mask.reduce((sum, m) => sum + m, 0);
    const rows = (values: number[][][]) => tf.reshape(tf.tensor(values), [batch * length, -1]) as tf.Tensor2D;
    const teacherTopK = () => {
      const indices = tf.cast(rows(f.topk_indices), 'int32');
      const flat = tf.add(indices, tf.reshape(tf.range(0, batch * length * vocabulary, vocabulary, 'int32'), [batch * length, 1]));
      const all: tf.Tensor1D = tf.reshape(tf.logSoftmax(rows(f.teacher_logits)), [-1]);
      return { indices, logProbs: tf.gather(all, tf.cast(flat, 'int32')) as tf.Tensor as tf.Tensor2D };
    };
    const topK = (student: tf.Tensor2D, clamp: number, renormalise: boolean) => {
      const { indices, logProbs } = teacherTopK();
      return topKForwardKl(logProbs, indices, student, { clamp, renormalise });
    };
    const variants: Record<string, (student: tf.Tensor2D) => tf.Tensor1D> = {
      full: (student) => forwardKl(rows(f.teacher_logits), student, { clamp: Infinity }).perToken,
      full_clamped: (student) => forwardKl(rows(f.teacher_logits), student, { clamp: f.c }).perToken,
      topk8_renormalised: (student) => topK(student, Infinity, true),
      topk8_renormalised_clamped: (student) => topK(student, f.c, true),
      topk8_raw: (student) => topK(student, Infinity, false),
      topk8_raw_clamped: (student) => topK(student, f.c, false),
    };

    test.each(Object.keys(variants))('%s', (name) => {
      const expected = f.variants[name];
      withoutLeak(() => {
        const student = rows(f.student_logits);
        expectClose(variants[name](student), expected.per_token, 2e-6, 'per token');
        const loss = (student: tf.Tensor) => tf.div(tf.sum(tf.mul(variants[name](student as tf.Tensor2D), mask)), count);
        expectClose(loss(student), [expected.loss], 2e-6, 'loss');
        expectClose(tf.grad(loss)(student), expected.grad_student_logits, 2e-6, 'gradient');
      });
    });

    test('and the clipped version reports the unclipped value beside it', () => {
      withoutLeak(() => {
        const { unclamped } = forwardKl(rows(f.teacher_logits), rows(f.student_logits), { clamp: f.c });
        expectClose(unclamped, f.variants.full.per_token, 2e-6);
      });
    });
  });

  test('sampleTokens draws what inverse-CDF sampling in double precision draws', async () => {
    const f = fixture('sampling');
    const logits = tf.tensor2d(f.logits);
    for (let draw = 0; draw < f.inverse_cdf.uniforms[0].length; draw++) {
      const uniforms = Float32Array.from(f.inverse_cdf.uniforms, (row: number[]) => row[draw]);
      const { tokens, logProbs } = await sampleTokens(logits, 1, uniforms);
      expect([...tokens]).toEqual(f.inverse_cdf.tokens.map((row: number[]) => row[draw]));
      tokens.forEach((token, row) => {
        expect(logProbs[row]).toBeCloseTo(Math.log(f.cases[0].probs[row][token]), 5);
      });
    }
    const greedy = await sampleTokens(logits, 0, new Float32Array(0));
    expect([...greedy.tokens]).toEqual(f.logits.map((row: number[]) => row.indexOf(Math.max(...row))));
    logits.dispose();
  });

  test('sampleTokens divides by the temperature as Transformers does', async () => {
    const f = fixture('sampling');
    const logits = tf.tensor2d(f.logits);
    for (const c of f.cases.filter((c: object) => Object.keys(c).sort().join() === 'kept,probs,temperature')) {
      const uniforms = Float32Array.from([0.1, 0.5, 0.9, 0.99]);
      const { tokens, logProbs } = await sampleTokens(logits, c.temperature, uniforms);
      tokens.forEach((token, row) => {
        const before = c.probs[row].slice(0, token).reduce((sum: number, p: number) => sum + p, 0);
        expect(before).toBeLessThanOrEqual(uniforms[row] + 1e-6);
        expect(before + c.probs[row][token]).toBeGreaterThan(uniforms[row] - 1e-6);
        expect(logProbs[row]).toBeCloseTo(Math.log(c.probs[row][token]), 5);
      });
    }
    logits.dispose();
  });
});
