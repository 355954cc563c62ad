/**
 * `npm start`: installs and builds what is missing, then executes the notebooks and makes the book (`search-e1 notebooks`), with the reference of the package's
 * modules below its chapters. Extra arguments go to that command.
 */
import { join } from 'node:path';
import process from 'node:process';
import { node, ready, root } from './ready.mjs';

await ready();
const { reference } = await import('./reference.mjs');
process.exitCode = node(join(root, 'dist', 'cli.js'), 'notebooks', '--appendix', await reference(), ...process.argv.slice(2));
