/** Whether this machine has TensorFlow set up, for tests that are skipped where it is not. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const binding = join(__dirname, '../../../node_modules/@tensorflow/tfjs-node-gpu/lib/napi-v8/tfjs_binding.node');

export const tensorFlow = {
  /** Whether its binding was compiled here, with this project's kernels; the package's own download has none. */
  kernels: existsSync(`${binding}.built-from`),
  /** Said behind the name of what is skipped. */
  missing: existsSync(`${binding}.built-from`) ? '' : ' (skipped: not set up; npm run setup:tensorflow)',
};
