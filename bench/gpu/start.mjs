/** `npm run bench:gpu`: installs and builds what is missing, compiles the harness with the sources it measures, runs it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { build } from 'tsdown';
import { ready, root } from '../../scripts/ready.mjs';

await ready();
await build({
  config: false,
  cwd: root,
  entry: { gpu: 'bench/gpu/main.ts' },
  outDir: 'bench/.build-gpu',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  fixedExtension: false,
  shims: true,
  external: ['@tensorflow/tfjs-node-gpu'], // there only where it was set up
  skipNodeModulesBundle: true,
  dts: false,
  report: false,
  logLevel: 'warn',
});
const child = spawn(process.execPath, [join(root, 'bench', '.build-gpu', 'gpu.js'), ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
});
child.on('exit', (code, signal) => {
  process.exitCode = signal ? 1 : (code ?? 1);
});
