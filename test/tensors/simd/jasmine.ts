/** What TensorFlow.js's own tests import as `jasmine_util` and expect as globals, in terms of vitest. */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startBackend } from '../../../src/tensors/backend.js';

/** Restrictions of a group of tests to environments; there is one here. */
export const ALL_ENVS = {};
export const SYNC_BACKEND_ENVS = {};
export const BROWSER_ENVS = { skip: true };
export const CHROME_ENVS = { skip: true };
export const NODE_ENVS = {};

export function describeWithFlags(name: string, { skip }: { readonly skip?: boolean }, tests: (environment: object) => void): void {
  (skip ? describe.skip : describe)(name, () => {
    beforeAll(async () => {
      await startBackend({ backend: 'simd', threads: 2, kernels: false });
    });
    beforeEach(() => tf.engine().startScope());
    afterEach(() => {
      tf.engine().endScope();
      tf.disposeVariables();
    });
    tests({ name: 'simd', backendName: 'simd', isDataSync: true });
  });
}

/** Jasmine counts `expect().nothing()` as an expectation. */
const expectation = (...values: [] | [unknown]) => (values.length === 0 ? { nothing: () => undefined } : expect(values[0]));

/** These count the tensors of the whole process, also those that other files make as they are read. */
const COUNTS_ALL = /delayed a?sync read of sliced tensor has no mem leak/;

Object.assign(globalThis, {
  ...{ afterAll, afterEach, beforeAll, beforeEach, describe, xit: it.skip, expect: expectation, jasmine: {} },
  it: (name: string, body: () => unknown) => (COUNTS_ALL.test(name) ? it.skip : it)(name, body as () => void),
  expectAsync: (promise: Promise<unknown>) => ({
    toBeRejectedWithError: (message: RegExp) => expect(promise).rejects.toThrow(message),
    toBeRejected: () => expect(promise).rejects.toThrow(),
  }),
  spyOn: (object: Record<string, () => unknown>, method: string) => {
    const spy = vi.spyOn(object, method);
    return Object.assign(spy, { and: { returnValue: (value: unknown) => spy.mockReturnValue(value), callThrough: () => spy } });
  },
});
