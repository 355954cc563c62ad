/**
 * What cells share, and how their errors read.
 *
 * tslab copies a cell's variables to an object that later cells use, so that `x = 5` in a later cell does not reach a function that was written beside
 * `let x`. Here the object holds not the value of such a variable but the variable: read and written by later cells, it is the one that the
 * function sees. A later `let x` is another variable, and what a failed or interrupted cell declares does not come to be.
 */
'use strict';
const path = require('node:path');

/** Pictures that are still being drawn: see src/display/bundle.ts. */
const PENDING = Symbol.for('search-e1.pending-displays');

/** To be called after `fallBackTo`, before the kernel starts. `dist` is tslab's folder of that name. */
exports.mendCells = (dist) => {
  const converters = require(path.join(dist, 'converter.js'));
  const executors = require(path.join(dist, 'executor.js'));
  const ts = require(require.resolve('@tslab/typescript-for-tslab', { paths: [dist] }));

  const { createConverter } = converters;
  converters.createConverter = (options) => {
    const converter = createConverter(options);
    return {
      ...converter,
      convert(before, source) {
        const converted = converter.convert(before, source);
        return converted.output ? mended(ts, source, converted) : converted;
      },
    };
  };

  const { createExecutor } = executors;
  executors.createExecutor = (folder, convs, output) => {
    const executor = createExecutor(folder, convs, { ...output, error: (...what) => output.error(...what.map(readable)) });
    const shared = sharedVariables(globalThis.__tslab__);
    return {
      ...executor,
      async execute(source) {
        const cell = shared.begin();
        const good = await executor.execute(source);
        if (!good) cell.abandon();
        await Promise.allSettled(globalThis[PENDING] ?? []);
        return good;
      },
    };
  };
};

/**
 * `{ x }` as `{ x: exports.x }` where x is an earlier cell's: tslab writes `exports.x` for every such name but this one, and the cell would not find it.
 * A transformation, to be run before TypeScript's own.
 */
exports.writtenOut = (ts, program) => {
  const checker = program.getTypeChecker();
  const isEarlier = (node) =>
    checker
      .getShorthandAssignmentValueSymbol(node)
      ?.declarations?.some((declaration) => declaration.getSourceFile().fileName.endsWith('/__prev__.d.ts')) ?? false;
  return (context) => {
    const { factory } = context;
    const visit = (node) => {
      if (!ts.isShorthandPropertyAssignment(node) || !isEarlier(node)) return ts.visitEachChild(node, visit, context);
      const value = factory.createPropertyAccessExpression(factory.createIdentifier('exports'), node.name.text);
      const fallback = node.objectAssignmentInitializer && ts.visitNode(node.objectAssignmentInitializer, visit);
      return factory.createPropertyAssignment(node.name.text, fallback ? factory.createAssignment(value, fallback) : value);
    };
    return (file) => ts.visitNode(file, visit);
  };
};

/** A cell's JavaScript that tells first which names it declares, with the variables among them to be read and written, and last that it has ended. */
function mended(ts, source, converted) {
  // As tslab reads it: `export` makes it a module, whose names are its own.
  const file = ts.createSourceFile('cell.ts', `export {};\n${source}`, ts.ScriptTarget.ES2022, true);
  ts.bindSourceFile(file, {});
  const symbols = [...(file.locals ?? [])].map(([, symbol]) => symbol);
  const names = symbols.map(({ name }) => name);
  const variables = symbols.filter((symbol) => isVariable(ts, symbol)).map(({ name }) => name);
  // No name of the cell's own.
  const value = fresh('value', names);
  const accessors = variables.map((name) => `get ${name}() { return ${name}; }, set ${name}(${value}) { ${name} = ${value}; }`);
  return {
    ...converted,
    output: `exports.__cell__.declares(${JSON.stringify(names)}, { ${accessors.join(', ')} }); ${converted.output}\n;exports.__cell__.ends();`,
    hasToplevelAwait: converted.hasToplevelAwait || waits(ts, file),
  };
}

/** `let` and `var`, also as part of a pattern: what can be given another value. */
function isVariable(ts, { flags, valueDeclaration }) {
  if (flags & ts.SymbolFlags.FunctionScopedVariable) return true;
  return Boolean(flags & ts.SymbolFlags.BlockScopedVariable) && !(ts.getCombinedNodeFlags(valueDeclaration) & ts.NodeFlags.Const);
}

/** tslab goes by what TypeScript says of `await` expressions: nothing of `for await`, nor of `await (async () => { ... })()`. */
function waits(ts, node) {
  if (ts.isFunctionLike(node) || ts.isClassStaticBlockDeclaration(node)) return false;
  if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined)) return true;
  return ts.forEachChild(node, (child) => waits(ts, child) || undefined) ?? false;
}

function fresh(wanted, taken) {
  let name = wanted;
  while (taken.includes(name)) name += '_';
  return name;
}

/** Stands in for tslab's `exports` in all cells, each of which gets its own view of them. */
function sharedVariables(tslab) {
  const results = tslab.exports; // where tslab looks for the value of a cell's last expression
  const variables = Object.create(null);
  let current;
  globalThis.__tslab__ = {
    require: tslab.require,
    get exports() {
      return current.view;
    },
  };
  return {
    begin() {
      current = cellOf(variables, results);
      return current;
    },
  };
}

/** One run of a cell: each name it declares is the notebook's from its first value on, and what it was before if the cell fails. */
function cellOf(variables, results) {
  let names = new Set();
  let accessors = {};
  let abandoned = false;
  const empty = new Set(); // declared, and so far given no value
  const before = new Map(); // what the names meant that have been published

  const publish = (name, value) => {
    if (abandoned) return;
    if (!before.has(name)) before.set(name, Object.getOwnPropertyDescriptor(variables, name));
    define(variables, name, Object.getOwnPropertyDescriptor(accessors, name) ?? { value, writable: true });
  };
  const set = (name, value) => {
    if (!names.has(name)) (name in variables ? variables : results)[name] = value;
    // TypeScript begins with `exports.x = void 0` for all.
    else if (value === undefined && !before.has(name)) empty.add(name);
    // A variable that is published is itself what others see, as long as they mean this one.
    else if (!(before.has(name) && name in accessors)) publish(name, value);
    return true;
  };
  const control = {
    declares(all, live) {
      names = new Set(all);
      accessors = live;
    },
    ends() {
      for (const name of [...empty, ...Object.keys(accessors)]) if (!before.has(name)) publish(name, undefined);
    },
  };
  const homeOf = (name) => (name in variables ? variables : results);
  const view = new Proxy(Object.create(null), {
    get: (_, name) => (name === '__cell__' ? control : homeOf(name)[name]),
    has: (_, name) => name in homeOf(name),
    set: (_, name, value) => set(name, value),
    // How TypeScript hands on what is imported. As tslab does, the value is taken once, so that later cells may give the name another.
    defineProperty: (_, name, { get, value }) => name === '__esModule' || set(name, get ? get() : value),
    deleteProperty: (_, name) => delete homeOf(name)[name],
  });
  return {
    view,
    abandon() {
      abandoned = true;
      for (const [name, descriptor] of before) {
        if (descriptor) Object.defineProperty(variables, name, descriptor);
        else delete variables[name];
      }
    },
  };
}

function define(variables, name, descriptor) {
  Object.defineProperty(variables, name, { ...descriptor, configurable: true, enumerable: true });
}

/** An error as its cell made it, without the frames of the kernel's machinery; an interrupt as a plain word. */
function readable(thrown) {
  if (!(thrown instanceof Error)) return thrown;
  if (thrown.message === 'Interrupted asynchronously')
    return 'Interrupted. What the cell has started and not stopped may go on: loops stop that are given interruptSignal().';
  if (thrown.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED') return 'Interrupted.';
  trim(thrown, new Set());
  return thrown;
}

/** The frames from the first of the machinery's on belong to it. */
const MACHINERY =
  /\n\s+at (?:async )?(?:sigintHandlersWrap \(node:vm|Script\.runInThisContext \(node:vm|[^\n]*[\\/]tslab[\\/]dist[\\/])[\s\S]*$/;

function trim(error, seen) {
  if (!(error instanceof Error) || seen.has(error)) return;
  seen.add(error);
  try {
    if (typeof error.stack === 'string') error.stack = error.stack.replace(MACHINERY, '');
  } catch {
    // A frozen error is shown as it is.
  }
  trim(error.cause, seen);
  if (error instanceof AggregateError) for (const part of error.errors) trim(part, seen);
}
