/**
 * Where a notebook's imports come from: first where Node and TypeScript look by themselves, from the notebook's folder upwards, then the clone's
 * `node_modules`. So a notebook in any folder imports `search-e1` and what the clone has installed, and its own files and packages go before.
 */
'use strict';
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');

/** "The inferred type of ... cannot be named without a reference": about declarations that are published, which a notebook's never are. */
const CANNOT_BE_NAMED = 2742;
/** A name for what lies above the notebook's folder. */
const ABOVE = '__above__';

/**
 * To be called before tslab is loaded. `dist` is tslab's folder of that name; `beforeEmit` gets TypeScript and a program that is about to emit, and
 * returns what transforms its files first.
 */
exports.fallBackTo = (root, dist, beforeEmit) => {
  const installed = path.join(root, 'node_modules');
  forNode(installed);
  forTypeScript(installed, dist, beforeEmit);
};

/** NODE_PATH is Node's own last resort, read once. */
function forNode(installed) {
  const given = process.env.NODE_PATH;
  process.env.NODE_PATH = given ? `${given}${path.delimiter}${installed}` : installed;
  Module._initPaths();
  // Programs that a notebook starts are no notebooks.
  if (given === undefined) delete process.env.NODE_PATH;
  else process.env.NODE_PATH = given;
}

function forTypeScript(installed, dist, beforeEmit) {
  const name = Module.createRequire(path.join(dist, 'main.js')).resolve('@tslab/typescript-for-tslab');
  const ts = require(name);
  const folder = slashes(process.cwd());
  const disk = slashes(path.parse(process.cwd()).root);
  if (path.relative(path.dirname(installed), process.cwd()).startsWith('..')) layBeneath(ts.sys, `${disk}node_modules`, installed);
  // ts gives its functions through getters that cannot be replaced: tslab is given an object that holds them.
  require.cache[name].exports = {
    ...ts,
    getPreEmitDiagnosticsOfFiles: (...given) => ts.getPreEmitDiagnosticsOfFiles(...given).filter(({ code }) => code !== CANNOT_BE_NAMED),
    createWatchCompilerHost: (files, options, ...rest) => {
      // Any file of the disk may be imported, `../helper` too: tslab's own choice allows only what lies below the notebook's folder.
      const host = ts.createWatchCompilerHost(files, { ...options, rootDir: disk }, ...rest);
      let afterProgramCreate;
      return Object.defineProperty(host, 'afterProgramCreate', {
        get: () => afterProgramCreate,
        set(listener) {
          afterProgramCreate = (builder) =>
            listener(
              namedFrom(
                folder,
                disk,
                options.outDir,
                transformed(builder, (program) => beforeEmit(ts, program)),
              ),
            );
        },
      });
    },
  };
  const converters = require(path.join(dist, 'converter.js'));
  const { createConverter } = converters;
  converters.createConverter = (options) => {
    const converter = createConverter(options);
    const above = `${folder.replace(/\/$/, '')}/${ABOVE}/`;
    const place = (output) => (output.path.startsWith(above) ? { ...output, path: disk + output.path.slice(above.length) } : output);
    return {
      ...converter,
      convert(before, source) {
        const converted = converter.convert(before, source);
        return { ...converted, sideOutputs: converted.sideOutputs?.map(place) };
      },
    };
  };
}

/** TypeScript looks for a package last in `node_modules` at the disk's top: there lies, for what is not on the disk, what is installed. */
function layBeneath(sys, top, installed) {
  const seen = (name) => {
    const given = slashes(name);
    return (given === top || given.startsWith(`${top}/`)) && !fs.existsSync(given) ? installed + given.slice(top.length) : name;
  };
  for (const method of [
    'fileExists',
    'readFile',
    'directoryExists',
    'getDirectories',
    'readDirectory',
    'realpath',
    'getModifiedTime',
    'watchFile',
  ]) {
    const original = sys[method];
    if (original) sys[method] = (name, ...rest) => original.call(sys, seen(name), ...rest);
  }
}

/** Emits as tslab expects it: by the path from the notebook's folder; what lies above that under a name that `createConverter` takes apart again. */
function namedFrom(folder, disk, out, builder) {
  const { emit } = builder;
  builder.emit = (file, write, ...rest) =>
    emit.call(
      builder,
      file,
      (name, ...data) => {
        const fromDisk = slashes(name).slice(`${out}/`.length);
        const fromFolder = path.posix.relative(folder, disk + fromDisk);
        write(`${out}/${fromFolder.startsWith('..') ? `${ABOVE}/${fromDisk}` : fromFolder}`, ...data);
      },
      ...rest,
    );
  return builder;
}

/** The builder, with one more transformation before the others. */
function transformed(builder, transformation) {
  const { emit } = builder;
  builder.emit = (file, write, cancel, declarationsOnly, transformers) =>
    emit.call(builder, file, write, cancel, declarationsOnly, { ...transformers, before: [transformation(builder.getProgram())] });
  return builder;
}

function slashes(name) {
  return name.replaceAll('\\', '/');
}
