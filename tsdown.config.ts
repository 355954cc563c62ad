/**
 * The bundle: every folder of the method as a subpath, as ESM and CommonJS with declarations for both and as ESM for a browser, and the command as ESM.
 *
 * Called by scripts/prepare.mjs, which builds beside `dist` and swaps it in whole.
 */
import { readFileSync } from 'node:fs';
import { defineConfig, type UserConfig } from 'tsdown';
import { gradients, isInternal } from './scripts/tfjs-gradients.js';

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly exports: Readonly<Record<string, unknown>> };

/** `./reward` of package.json's `exports` is src/reward/index.ts, and `.` is src/index.ts. */
const library = Object.fromEntries(
  Object.keys(manifest.exports)
    .filter((path) => !path.endsWith('.json'))
    .map((path) => (path === '.' ? ['index', 'src/index.ts'] : [path.slice(2), `src/${path.slice(2)}/index.ts`])),
);

type Plugins = Extract<UserConfig['plugins'], readonly unknown[]>;

/** A module that is imported for its effect declares nothing: TensorFlow.js would only bring declarations that do not type-check. */
const declarations: Plugins[number] = {
  name: 'declarations-import-what-they-name',
  renderChunk: (code, { fileName }) => (/\.d\.[cm]?ts$/.test(fileName) ? code.replace(/^import "[^"]*";\n/gm, '') : null),
};

const shared: UserConfig = {
  target: 'node20.19',
  fixedExtension: false, // .js is ESM ("type": "module"), .cjs is CommonJS: the names package.json points at
  // An import() of an optional package must find the user's, not a copy of ours.
  external: (id) => /^[@a-z]/.test(id) && !id.startsWith('src/') && !isInternal.test(id),
  noExternal: [isInternal],
  clean: false,
  report: false,
  logLevel: 'warn',
  outputOptions: { advancedChunks: { groups: [{ name: 'tfjs-gradients', test: /tfjs-core\/dist\// }] } },
};
const node: UserConfig = { ...shared, platform: 'node', shims: true, plugins: [declarations, gradients] }; // `__dirname` and `__filename` in the ESM output

export default defineConfig([
  { ...node, format: 'esm', entry: { ...library, cli: 'src/cli/main.ts' }, dts: true },
  { ...node, format: 'cjs', entry: library, dts: true },
]);
