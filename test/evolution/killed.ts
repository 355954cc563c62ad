/** The process that resume.test.ts kills: node <this, bundled> <base policy> <run>. Says every event on a line of its own. */
import { writeSync } from 'node:fs';
import { startBackend } from '../../src/tensors/backend.js';
import { tinyRun } from './tiny-run.js';

const [base, path] = process.argv.slice(2);
startBackend({ backend: 'simd' })
  .then(() => tinyRun(base, path, { onEvent: ({ kind }) => void writeSync(1, `${kind}\n`) }))
  .catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  });
