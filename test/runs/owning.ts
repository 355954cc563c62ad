/** The process that run-owner.test.ts starts: node <this, bundled> <folder>. Says `owns` and stays, or why it does not own the folder. */
import { writeSync } from 'node:fs';
import { RunOwner } from '../../src/runs/run-owner.js';

RunOwner.take(process.argv[2]).then(
  () => {
    writeSync(1, 'owns\n');
    setInterval(() => undefined, 1_000);
  },
  (error: Error) => void writeSync(1, `${error.message}\n`),
);
