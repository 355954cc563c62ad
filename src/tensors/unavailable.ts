import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../platform/datasets.js';

/** Why a backend does not start here, and what the user can do about it. */
export class BackendUnavailable extends Error {
  override readonly name = 'BackendUnavailable';

  /** @param remedy the one command that would make it start; undefined where none would on this machine */
  constructor(
    reason: string,
    readonly remedy?: string,
  ) {
    super(reason);
  }
}

/** The script that sets TensorFlow up is for one platform, and in a clone of the project alone: the installed package does not bring it. */
export const setUpTensorFlow = (...args: readonly string[]): string | undefined =>
  process.platform === 'linux' && process.arch === 'x64' && existsSync(join(packageRoot(), 'scripts', 'setup-tensorflow.mjs'))
    ? ['npm run setup:tensorflow', ...args].join(' ')
    : undefined;
