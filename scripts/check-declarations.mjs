/**
 * Holds the built declarations to what the notebooks' kernel can read: tslab's own TypeScript 5.0, resolving as Node10, without the DOM library;
 * and to what a page's project has, which is no Node.
 *
 * A newer compiler happily writes declarations an older one cannot read (such as `Float32Array<ArrayBuffer>`), and tslab, which skips library
 * checks, then silently gives `any`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const ts = require('@tslab/typescript-for-tslab');

const { exports } = require('../package.json');
const entries = Object.values(exports)
  .filter((target) => typeof target === 'object')
  .map((target) => join(root, target.require.types));
const options = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts'],
  module: ts.ModuleKind.CommonJS,
  moduleResolution: ts.ModuleResolutionKind.Node10 ?? ts.ModuleResolutionKind.NodeJs,
  types: ['node'],
  noEmit: true,
};
const program = ts.createProgram(entries, options);
const ours = program
  .getSourceFiles()
  .filter((file) => entries.includes(join(file.fileName)) || file.fileName.startsWith(join(root, 'dist')));
const diagnostics = ours.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]);
for (const missing of entries.filter((entry) => !program.getSourceFile(entry))) {
  console.error(`no such declaration file: ${missing}; run \`npm run build\``);
  process.exitCode = 1;
}
for (const { file, start, messageText } of diagnostics) {
  const { line } = file.getLineAndCharacterOfPosition(start);
  console.error(`${file.fileName}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
  process.exitCode = 1;
}
// Node's types are there above, and in a page's project they are not: no declaration may ask for them.
for (const name of readdirSync(join(root, 'dist')).filter((each) => /\.d\.[cm]?ts$/.test(each))) {
  const wanted = /^(?:import|export) .*["']node:.*$/m.exec(readFileSync(join(root, 'dist', name), 'utf8'));
  if (!wanted) continue;
  console.error(`dist/${name}: ${wanted[0]}: a project without @types/node cannot read this`);
  process.exitCode = 1;
}
if (!process.exitCode) console.log(`TypeScript ${ts.version} reads ${ours.length} declaration files`);
