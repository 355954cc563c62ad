/** `npm start`: installs and builds what is missing, then executes the notebooks and makes the book (`search-e1 notebooks`). Extra arguments go to that command. */
import { join } from 'node:path';
import process from 'node:process';
import { node, ready, root } from './ready.mjs';

await ready();
process.exitCode = node(join(root, 'dist', 'cli.js'), 'notebooks', ...process.argv.slice(2));
