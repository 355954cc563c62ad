import { BackendUnavailable } from '../unavailable.js';

/** The command that sets TensorFlow up; there is none in a browser. */
export const setUpTensorFlow = (..._args: readonly string[]): string | undefined => undefined;

export const nvidiaDriver = (): boolean => false;

export async function startTensorFlow(): Promise<never> {
  throw new BackendUnavailable('TensorFlow is a native library: it runs in Node, not in a browser');
}
