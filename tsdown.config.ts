/**
 * The bundle: `search-e1` and `search-e1/display` as ESM and CommonJS with declarations for both, and the command as ESM.
 *
 * Called by scripts/prepare.mjs, which builds beside `dist` and swaps it in whole.
 */
import { defineConfig, type UserConfig } from 'tsdown';

const library = { index: 'src/index.ts', display: 'src/display/index.ts' };

const shared: UserConfig = {
  platform: 'node',
  target: 'node20.19',
  fixedExtension: false, // .js is ESM ("type": "module"), .cjs is CommonJS: the names package.json points at
  skipNodeModulesBundle: true, // an import() of an optional package must find the user's, not a copy of ours
  shims: true, // `__dirname` and `__filename` in the ESM output
  clean: false,
  report: false,
  logLevel: 'warn',
  plugins: [
    {
      // A module that is imported for its effect declares nothing: @tensorflow/tfjs would only bring declarations that do not type-check.
      name: 'declarations-import-what-they-name',
      renderChunk: (code, { fileName }) => (/\.d\.[cm]?ts$/.test(fileName) ? code.replace(/^import "[^"]*";\n/gm, '') : null),
    },
  ],
};

export default defineConfig([
  { ...shared, format: 'esm', entry: { ...library, cli: 'src/cli/main.ts' }, dts: true },
  { ...shared, format: 'cjs', entry: library, dts: true },
]);
