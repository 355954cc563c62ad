/** `npm run bench`: installs and builds what is missing, compiles the bench against the built package, runs it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { build } from 'tsdown';
import { ready, root } from '../scripts/ready.mjs';

await ready();
await build({
  config: false,
  cwd: root,
  entry: { main: 'bench/main.ts', ours: 'bench/ours/serve.ts' },
  outDir: 'bench/.build',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  fixedExtension: false,
  external: ['search-e1'], // what is measured is the built package, as its users import it
  skipNodeModulesBundle: true,
  dts: false,
  report: false,
  logLevel: 'warn',
});
const child = spawn(process.execPath, [join(root, 'bench', '.build', 'main.js'), ...process.argv.slice(2)], { stdio: 'inherit' });
process.on('SIGINT', () => {}); // the bench itself answers Ctrl-C, with what it has
child.on('exit', (code, signal) => {
  process.exitCode = signal ? 1 : (code ?? 1);
});
