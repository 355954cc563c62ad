/** Back-propagation against TensorFlow.js' own, bit for bit, and what it holds meanwhile. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { valueAndGradients } from '../../src/tensors/gradients.js';
import { linear } from '../../src/tensors/linear.js';
import { rmsNorm } from '../../src/tensors/rms-norm.js';
import { selectedLogProbs } from '../../src/tensors/selected-log-probs.js';
import { swiglu } from '../../src/tensors/swiglu.js';
import { peakBytes } from './peak-bytes.js';

const drawn = (seed: number, ...shape: number[]): tf.Tensor => {
  const stream = random(seed, 'gradients', shape.length);
  return tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => stream.normal()),
    shape,
  );
};

/** Width of everything, so that operations follow one another in any order. */
const D = 6;
type Step = (x: tf.Tensor2D, weight: tf.Tensor2D, row: tf.Tensor1D) => tf.Tensor;
const STEPS: readonly Step[] = [
  (x, weight) => linear(x, weight),
  (x, weight, row) => linear(x, weight, row, { plus: x }),
  (x, weight) => linear(x, weight, undefined, { adapter: { a: weight, b: tf.transpose(weight), scale: 0.5 } }),
  (x, _, row) => rmsNorm(x, row, 1e-6),
  (x) => swiglu(x, x),
  (x, weight) => swiglu(tf.matMul(x, weight), x),
  (x, weight) => tf.addN([x, x, tf.matMul(x, weight)]),
  (x) => tf.concat([tf.slice(x, [0, 3], [-1, 3]), tf.neg(tf.slice(x, [0, 0], [-1, 3]))], 1),
  (x, _, row) => tf.add(tf.mul(x, row), row),
  (x) => tf.reshape(tf.transpose(tf.reshape(x, [-1, 2, 3]), [0, 2, 1]), [-1, D]),
  (x) => tf.cast(tf.minimum(x, tf.tanh(x)), 'float32'),
];

describe.each(['simd', 'cpu'] as const)('on %s', (backend) => {
  beforeAll(async () => {
    await startBackend({ backend });
  });

  test('value and gradients are those of TensorFlow.js, to the last bit, and nothing is left over', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(STEPS.length - 1), { minLength: 1, maxLength: 8 }), fc.nat(99), fc.boolean(), (steps, seed, weighed) => {
        const before = tf.memory().numTensors;
        tf.tidy(() => {
          const inputs = [drawn(seed, 5, D), drawn(seed, D, D), drawn(seed, D)];
          const f = (x: tf.Tensor, weight: tf.Tensor, row: tf.Tensor) =>
            steps.reduce((y, i) => STEPS[i](y as tf.Tensor2D, weight as tf.Tensor2D, row as tf.Tensor1D), tf.mul(x, tf.sum(row)));
          const dy = weighed ? drawn(seed + 1, 5, D) : undefined;
          // Where f does not read a weight, tf.grads would throw.
          const all = (x: tf.Tensor, weight: tf.Tensor, row: tf.Tensor) => tf.add(f(x, weight, row), tf.mul(tf.sum(weight), 1e-3));
          const expected = tf.valueAndGrads(all)(inputs, dy);
          const found = valueAndGradients(() => all(inputs[0], inputs[1], inputs[2]), inputs, dy);
          expect(found.value.dataSync()).toEqual(expected.value.dataSync());
          found.gradients.forEach((gradient, i) => {
            expect(gradient?.dataSync(), `input ${i}`).toEqual(expected.grads[i].dataSync());
          });
        });
        expect(tf.memory().numTensors).toBe(before);
      }),
      { numRuns: 60, seed: 1 },
    );
  });

  test('a gradient may be taken within a gradient function', () => {
    tf.tidy(() => {
      const [x, weight] = [drawn(1, 4, D), drawn(2, D, D)];
      const f = (x: tf.Tensor) => tf.tanh(tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D));
      const again = tf.customGrad((...args) => {
        const [x, save] = args as [tf.Tensor, tf.GradSaveFunc];
        save([x]);
        return {
          value: f(x),
          gradFunc: (dy: tf.Tensor, [x]: tf.Tensor[]) => valueAndGradients(() => f(x), [x], dy).gradients as tf.Tensor[],
        };
      });
      const once = (f: (x: tf.Tensor) => tf.Tensor) => valueAndGradients(() => tf.square(f(tf.sin(x))), [x]).gradients[0]?.dataSync();
      expect(once(again)).toEqual(once(f));
    });
  });

  test('an input that is not read has no gradient, one that is the value has ones, and neither is disposed', () => {
    tf.tidy(() => {
      const [x, other] = [drawn(1, 3), drawn(2, 3)];
      const { value, gradients } = valueAndGradients(() => x, [x, other]);
      expect(value).toBe(x);
      expect([...(gradients[0]?.dataSync() ?? [])]).toEqual([1, 1, 1]);
      expect(gradients[1]).toBeUndefined();
      expect(other.isDisposed).toBe(false);
    });
  });

  test('what the forward or the backward pass had made is given back when it throws', () => {
    const [x, weight] = [drawn(1, 4, D), drawn(2, D, D)];
    const before = tf.memory().numTensors;
    const broken = tf.customGrad((x) => ({
      value: tf.clone(x as tf.Tensor),
      gradFunc: () => {
        throw new Error('broken backwards');
      },
    }));
    const f = (then: (y: tf.Tensor) => tf.Tensor) => () => then(tf.tanh(linear(tf.sigmoid(x), weight as tf.Tensor2D)));
    expect(() =>
      valueAndGradients(
        f(() => {
          throw new Error('broken forwards');
        }),
        [x],
      ),
    ).toThrow('broken forwards');
    expect(() => valueAndGradients(f(broken), [x])).toThrow('broken backwards');
    expect(() => valueAndGradients(() => valueAndGradients(f(tf.neg), [x]).value, [x])).toThrow('recorded already');
    expect(tf.memory().numTensors).toBe(before);
    const [dx] = valueAndGradients(f(tf.neg), [x]).gradients;
    expect(dx?.shape).toEqual(x.shape);
    tf.dispose([x, weight]);
  });
});

test('no zeros are made for what a kernel returns for its gradient alone', async () => {
  await startBackend({ backend: 'simd' });
  const make = vi.spyOn(tf.engine(), 'makeTensor');
  tf.tidy(() => {
    const [x, weight, a, b] = [drawn(1, 50, D), drawn(2, 4, D), drawn(3, 2, D), drawn(4, 4, 2)] as tf.Tensor2D[];
    make.mockClear();
    const { gradients } = valueAndGradients(() => linear(x, weight, undefined, { adapter: { a, b, scale: 1 } }), [x, a, b]);
    expect(gradients.map((gradient) => gradient?.shape)).toEqual([x.shape, a.shape, b.shape]);
  });
  expect(make.mock.calls.map(([, shape]) => shape)).not.toContainEqual([50, 2]); // x A^T
  make.mockRestore();
});

test('at its peak it holds what the forward pass saved and little more; TensorFlow.js holds twice as much', async () => {
  await startBackend({ backend: 'simd' });
  const [rows, depth] = [4096, 12];
  const inputs = [drawn(1, rows, 32), drawn(2, 32, 32)] as tf.Tensor2D[];
  const targets = tf.zeros([rows], 'int32') as tf.Tensor1D;
  const f = () => {
    let x: tf.Tensor = inputs[0];
    for (let i = 0; i < depth; i++) {
      const before = x;
      x = tf.tidy(() => linear(tf.sin(before), inputs[1]));
    }
    return tf.sum(selectedLogProbs(x as tf.Tensor2D, inputs[1], targets).logProbs);
  };
  const one = 4 * rows * 32;
  const ours = await peakBytes(() => tf.dispose(valueAndGradients(f, inputs).gradients as tf.Tensor[]));
  const theirs = await peakBytes(() => tf.dispose(tf.valueAndGrads(f)(inputs).grads));
  const saved = 2 * depth * one; // what the sine reads, and what the product reads
  expect(ours).toBeLessThan(saved + 5 * one);
  expect(theirs).toBeGreaterThan(2 * saved);
  tf.dispose([...inputs, targets]);
});
