/** `npm test`: installs and builds what is missing, then runs all tests. Extra arguments go to vitest. */
import { join } from 'node:path';
import process from 'node:process';
import { node, ready, root } from './ready.mjs';

await ready();
process.exitCode = node(join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...process.argv.slice(2));
