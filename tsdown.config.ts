/**
 * The bundle: every folder of the method as a subpath, as ESM and CommonJS with declarations for both and as ESM for a browser, and the command as ESM.
 *
 * Called by scripts/prepare.mjs, which builds beside `dist` and swaps it in whole.
 */
import { existsSync, readFileSync } from 'node:fs';
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

/** The bundler lists in every entry all chunks beneath it, as imports for their effects. They have none, and other bundlers warn of that. */
const namedImports: Plugins[number] = {
  name: 'imports-of-what-is-used',
  renderChunk: (code, { fileName }) => (/\.js$/.test(fileName) ? code.replace(/^import "\.[^"]*";\n/gm, '') : null),
};

/** `files.browser.ts` beside `files.ts` takes its place where there is no disk. */
const browserSide: Plugins[number] = {
  name: 'browser-side',
  resolveId: {
    order: 'pre',
    async handler(specifier, importer, options) {
      if (!specifier.startsWith('.') && !specifier.startsWith('src/')) return null;
      const resolved = await this.resolve(specifier, importer, { ...options, skipSelf: true });
      const twin = resolved?.id.replace(/\.ts$/, '.browser.ts');
      return twin && twin !== resolved?.id && existsSync(twin) ? { id: twin } : null;
    },
  },
};

const shared: UserConfig = {
  fixedExtension: false, // .js is ESM ("type": "module"), .cjs is CommonJS: the names package.json points at
  clean: false,
  report: false,
  logLevel: 'warn',
};
/** Small packages of which little is used: they are taken in, so that nobody installs them, nor waits for their files to be opened. Their licences: NOTICES.txt. */
const taken = /^(pure-rand|simple-statistics|stemmer)(\/|$)/;
/** Small files that belong together: Node takes longer to open one than to read it. */
const chunks = {
  advancedChunks: {
    includeDependenciesRecursively: false,
    groups: [
      {
        name: 'questions',
        test: (id: string) =>
          !id.endsWith('.d.ts') &&
          /\/src\/(platform\/(files|datasets)|search\/(analyze|corpus|lines|stop-words)|benchmarks\/(?!index))/.test(id),
      },
    ],
  },
};

const isPackage = (id: string): boolean => /^[@a-z]/.test(id) && !id.startsWith('src/') && !isInternal.test(id) && !taken.test(id);

const node: UserConfig = {
  ...shared,
  platform: 'node',
  target: 'node20.19',
  shims: true, // `__dirname` and `__filename` in the ESM output
  plugins: [gradients, namedImports],
  external: isPackage, // an import() of an optional package must find the user's, not a copy of ours
  noExternal: [isInternal, taken],
  outputOptions: { plugins: [declarations], ...chunks }, // of the output, as tsdown makes the declarations for CommonJS without our other plugins
};

/** An optional package in Node, where it needs Dawn besides; a browser needs nothing else, and a bundler would stop where it is not installed. */
const WEBGPU = /^@tensorflow\/tfjs-backend-(webgpu$|cpu\/dist\/)/; // and what it takes from another's files, without an ending, as no ECMAScript module may

const browser: UserConfig = {
  ...shared,
  platform: 'browser',
  target: 'es2022',
  plugins: [browserSide, gradients, namedImports],
  external: (id) => isPackage(id) && !WEBGPU.test(id),
  noExternal: [isInternal, taken, WEBGPU],
  outputOptions: { entryFileNames: 'browser/[name].js', chunkFileNames: 'browser/[name]-[hash].js' },
};

/** Subpaths that package.json offers to browsers; a door may have a twin too. */
const inBrowsers = Object.fromEntries(
  Object.entries(library)
    .filter(([name]) => JSON.stringify(manifest.exports[name === 'index' ? '.' : `./${name}`]).includes('"browser":'))
    .map(([name, door]) => [name, [door.replace(/\.ts$/, '.browser.ts'), door].find((path) => existsSync(path)) as string]),
);

export default defineConfig([
  { ...node, format: 'esm', entry: { ...library, cli: 'src/cli/main.ts' }, dts: true },
  { ...node, format: 'cjs', entry: library, dts: true },
  { ...browser, format: 'esm', entry: inBrowsers, dts: false },
]);
