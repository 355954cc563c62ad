/**
 * The bundle: every folder of the method as a subpath, as ESM and CommonJS with declarations for both and as ESM for a browser, and the command as ESM.
 *
 * Called by scripts/prepare.mjs, which builds beside `dist` and swaps it in whole.
 */
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { defineConfig, type UserConfig } from 'tsdown';

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

/**
 * TensorFlow.js registers the gradients of its operations in a file that Node cannot import by itself (ECMAScript without endings). It is taken into the bundle;
 * whatever of what it stands on is public stays the package's, so that there is one of it.
 */
const gradients: Plugins[number] = {
  name: 'gradients-of-tensorflow-js',
  transform(code, id) {
    if (!id.includes('tfjs-core/dist/')) return null;
    return code
      .replace(/^import \{ ENGINE \} from '[^']*';$/m, "import { engine } from '@tensorflow/tfjs-core';\nconst ENGINE = engine();")
      .replace(/^import \* as util from '[^']*\/util';$/m, "import { util } from '@tensorflow/tfjs-core';")
      .replace(/^import \{([^}]*)\} from '(\.[^']*)';$/gm, (_, list: string, from: string) => {
        const isPublic = (name: string) => name.trim().split(' as ')[0] in tf;
        const [known, inner] = [true, false].map((wanted) => list.split(',').filter((name) => isPublic(name) === wanted));
        const lines = [
          known.length && `import {${known}} from '@tensorflow/tfjs-core';`,
          inner.length && `import {${inner}} from '${from}';`,
        ];
        return lines.filter(Boolean).join(' ');
      });
  },
};

const shared: UserConfig = {
  target: 'node20.19',
  fixedExtension: false, // .js is ESM ("type": "module"), .cjs is CommonJS: the names package.json points at
  // An import() of an optional package must find the user's, not a copy of ours.
  external: (id) => /^[@a-z]/.test(id) && !/^(src\/|@tensorflow\/tfjs-core\/dist\/)/.test(id),
  noExternal: [/^@tensorflow\/tfjs-core\/dist\//],
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
