/** TensorFlow.js's own operations where training and sampling spend time in them; what a kernel does not cover goes to the stock one. */
import * as tf from '@tensorflow/tfjs-core';
import type { SimdBackend } from './backend.js';
import { batchMatMul } from './mat-mul.js';

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
// biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, declared by TensorFlow.js
type Attributes = any;
/** Undefined where the kernel does not cover the case. */
type Run = (inputs: Inputs, attributes: Attributes, backend: SimdBackend) => tf.TensorInfo | undefined;

const KERNELS: Readonly<Record<string, Run>> = {
  BatchMatMul: ({ a, b }, { transposeA, transposeB }, backend) => batchMatMul(backend, a, b, transposeA, transposeB),
};

/** Puts the kernels before those copied from the cpu backend. */
export function registerStandardKernels(): void {
  for (const [kernelName, run] of Object.entries(KERNELS)) {
    const stock = tf.getKernel(kernelName, 'simd').kernelFunc;
    const kernelFunc: tf.KernelFunc = (call) => {
      const { inputs, attrs, backend } = call as unknown as { inputs: Inputs; attrs: Attributes; backend: SimdBackend };
      return run(inputs, attrs, backend) ?? stock(call);
    };
    tf.unregisterKernel(kernelName, 'simd');
    tf.registerKernel({ kernelName, backendName: 'simd', kernelFunc });
  }
}
