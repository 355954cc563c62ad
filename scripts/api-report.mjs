/**
 * `npm run api`: the package's public surface as text, one file a subpath in `api/`, so that a review sees what a change does to it. `-- --check` compares.
 *
 * Read from the sources: declarations as the compiler emits them, without comments and private members, by name. Each stands once, in the report of the folder
 * it lives in; another subpath that exports it too names it. What a signature names and no subpath exports is part of the surface all the same, and stands
 * below. (API Extractor was tried: it marks what has no docstring, so that writing one changes the report, and repeats shared types in every subpath's.)
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = process.env.SEARCH_E1_API_ROOT ?? join(dirname(fileURLToPath(import.meta.url)), '..');
const source = join(root, 'src');
const folder = join(root, 'api');
const { name: packageName, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** `./reward` of `exports` is src/reward/index.ts, and `.` is src/index.ts. */
const doors = Object.keys(exports)
  .filter((path) => !path.endsWith('.json'))
  .map((path) => ({
    name: path === '.' ? 'index' : path.slice(2),
    specifier: join(packageName, path).split(sep).join('/'),
    file: join(source, path, 'index.ts'),
  }));

/** File name to text. */
function reports() {
  const { config, error } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  if (error) throw new Error(ts.flattenDiagnosticMessageText(error.messageText, '\n'));
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const program = ts.createProgram(
    doors.map(({ file }) => file),
    {
      ...options,
      noEmit: false,
      declaration: true,
      emitDeclarationOnly: true,
      removeComments: true,
      skipLibCheck: true,
      outDir: join(root, 'dist'),
    },
  );
  const checker = program.getTypeChecker();
  const modules = emittedModules(program);

  /** Every export: where it is declared, and the doors that have it. */
  const surface = new Map();
  const foreign = new Map(doors.map((door) => [door, []])); // of other packages, such as a namespace handed on
  for (const door of doors) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(door.file) ?? fail(`${door.file}: there is no such file`));
    for (const exported of module ? checker.getExportsOfModule(module) : []) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const file = symbol.declarations?.[0]?.getSourceFile().fileName;
      const own = file && modules.get(resolve(file));
      if (!own?.has(symbol.name)) {
        foreign.get(door).push(exported.declarations[0].parent.parent.getText().replace(/\s+/g, ' '));
        continue;
      }
      const key = `${resolve(file)}#${symbol.name}`;
      const entry = surface.get(key) ?? { file: resolve(file), symbol: symbol.name, name: exported.name, doors: [] };
      entry.doors.push(door);
      surface.set(key, entry);
    }
  }
  const homeOf = ({ file, doors: having }) =>
    having.find((door) => door.name !== 'index' && inFolder(file, dirname(door.file))) ??
    having.find((door) => door.name !== 'index') ??
    having[0];
  const folderOf = (file) =>
    doors.find((door) => door.name !== 'index' && inFolder(file, dirname(door.file))) ?? doors.find(({ name }) => name === 'index');

  const hidden = new Map();
  const follow = (file, symbol) => {
    for (const named of namedIn(modules.get(file), symbol)) {
      const target = locate(modules, file, named);
      const key = target && `${target.file}#${target.symbol}`;
      if (!key || surface.has(key) || hidden.has(key)) continue;
      hidden.set(key, target);
      follow(target.file, target.symbol);
    }
  };
  for (const { file, symbol } of surface.values()) follow(file, symbol);

  return new Map(
    doors.map((door) => {
      const entries = [...surface.values()].filter((entry) => entry.doors.includes(door)).sort(byName);
      const own = entries.filter((entry) => homeOf(entry) === door);
      const others = entries.filter((entry) => homeOf(entry) !== door);
      const below = [...hidden.values()].filter(({ file }) => folderOf(file) === door).sort(byName);
      const text = ({ file, symbol, name = symbol }) =>
        modules
          .get(file)
          .get(symbol)
          .map((statement) => declaration(statement, symbol, name))
          .join('\n');
      const parts = [
        `# ${door.specifier}`,
        'Made by `npm run api` from the sources. What changes here changes the package for those who import it: see "Versions" in CONTRIBUTING.md.',
        ...(own.length ? [fenced(own.map((entry) => `export ${text(entry)}`))] : []),
        ...(foreign.get(door).length ? ['From other packages:', fenced([...new Set(foreign.get(door))].sort())] : []),
        ...(others.length ? ['Exported here too:', fenced(grouped(others, homeOf))] : []),
        ...(below.length ? ['Named in the types of the package, exported nowhere:', fenced(below.map(text))] : []),
      ];
      return [`${door.name}.md`, `${parts.join('\n\n')}\n`];
    }),
  );
}

/** Path of a source to its emitted statements by the names that they declare; its imports beside, as `imports`. */
function emittedModules(program) {
  const modules = new Map();
  const emit = (fileName, text, _mark, _onError, [from] = []) => {
    if (!from || !/\.d\.ts$/.test(fileName)) return;
    const parsed = ts.createSourceFile(fileName, text, ts.ScriptTarget.ES2022, true);
    const statements = new Map();
    statements.imports = new Map();
    for (const statement of parsed.statements) {
      for (const name of declaredNames(statement)) statements.set(name, [...(statements.get(name) ?? []), statement]);
      const named = ts.isImportDeclaration(statement) ? statement.importClause?.namedBindings : undefined;
      if (!named || !ts.isNamedImports(named)) continue;
      for (const { name, propertyName } of named.elements)
        statements.imports.set(name.text, { symbol: (propertyName ?? name).text, specifier: statement.moduleSpecifier.text });
    }
    modules.set(resolve(from.fileName), statements);
  };
  program.emit(undefined, emit, undefined, true);
  return modules;
}

function declaredNames(statement) {
  if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.map(({ name }) => name.getText());
  const declares = [
    ts.isFunctionDeclaration,
    ts.isClassDeclaration,
    ts.isInterfaceDeclaration,
    ts.isTypeAliasDeclaration,
    ts.isEnumDeclaration,
  ];
  return declares.some((is) => is(statement)) && statement.name ? [statement.name.text] : [];
}

/** The types that a declaration names: `T`, `typeof value`, `extends T`, `import('./file.js').T`. */
function namedIn(statements, symbol) {
  const names = [];
  const visit = (node) => {
    if (isPrivate(node)) return;
    if (ts.isImportTypeNode(node) && node.qualifier)
      names.push({ symbol: leftmost(node.qualifier), specifier: node.argument.literal.text });
    else if (ts.isTypeReferenceNode(node)) names.push({ symbol: leftmost(node.typeName) });
    else if (ts.isTypeQueryNode(node)) names.push({ symbol: leftmost(node.exprName) });
    else if (ts.isExpressionWithTypeArguments(node) && ts.isIdentifier(node.expression)) names.push({ symbol: node.expression.text });
    ts.forEachChild(node, visit);
  };
  for (const statement of statements.get(symbol)) visit(statement);
  return names;
}

const leftmost = (name) => (ts.isIdentifier(name) ? name.text : ts.isQualifiedName(name) ? leftmost(name.left) : name.getText());

/** Where a name that is used in a file is declared; undefined for what the language, another package or a type parameter brings. */
function locate(modules, file, { symbol, specifier }) {
  if (!specifier && modules.get(file).has(symbol)) return { file, symbol };
  const from = specifier ? { symbol, specifier } : modules.get(file).imports.get(symbol);
  if (!from?.specifier.startsWith('.')) return undefined;
  const target = resolve(dirname(file), from.specifier.replace(/\.js$/, '.ts'));
  return modules.get(target)?.has(from.symbol) ? { file: target, symbol: from.symbol } : undefined;
}

const isPrivate = (node) =>
  (node.name && ts.isPrivateIdentifier(node.name)) ||
  (ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword));

/** A statement without `export declare`, without private members, under the name that it is exported by. */
function declaration(statement, symbol, name) {
  let text = statement.getText();
  const start = statement.getStart();
  const members = ts.isClassDeclaration(statement) ? statement.members.filter(isPrivate) : [];
  for (const member of members.reverse()) text = text.slice(0, member.getFullStart() - start) + text.slice(member.end - start);
  const bare = text.replace(/^(export )?(default )?(declare )?/, '').replaceAll('    ', '  ');
  return name === symbol ? bare : `${bare}\nexport { ${symbol} as ${name} };`;
}

/** `export { a, b } from 'search-e1/policy';`, a line a subpath. */
function grouped(entries, homeOf) {
  const homes = [...new Set(entries.map(homeOf))].sort((a, b) => (a.specifier < b.specifier ? -1 : 1));
  return homes.map((home) => {
    const names = entries.filter((entry) => homeOf(entry) === home).map(({ name }) => name);
    return `export { ${names.join(', ')} } from '${home.specifier}';`;
  });
}

const fenced = (blocks) => `\`\`\`ts\n${blocks.join('\n\n')}\n\`\`\``;
const byName = (a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : a.file < b.file ? -1 : 1);
const inFolder = (file, parent) => file.startsWith(resolve(parent) + sep);

function fail(message) {
  throw new Error(message);
}

function write(texts) {
  mkdirSync(folder, { recursive: true });
  for (const stale of readdirSync(folder).filter((name) => !texts.has(name))) rmSync(join(folder, stale));
  for (const [name, text] of texts) writeFileSync(join(folder, name), text);
  console.log(`search-e1: the public surface is written down in ${relative(process.cwd(), folder) || '.'}, ${texts.size} files`);
}

function check(texts) {
  const found = (name) => {
    try {
      return readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n');
    } catch {
      return '';
    }
  };
  const stale = [...texts].filter(([name, text]) => found(name) !== text);
  for (const [name, text] of stale) {
    const [before, after] = [found(name).split('\n'), text.split('\n')];
    console.error(`api/${name}:`);
    for (const line of before.filter((line) => !after.includes(line)).slice(0, 10)) console.error(`  - ${line}`);
    for (const line of after.filter((line) => !before.includes(line)).slice(0, 10)) console.error(`  + ${line}`);
  }
  if (stale.length === 0) return console.log(`the ${texts.size} reports in ${basename(folder)}/ are of these sources`);
  console.error('The public surface is not the one that api/ records. If the change is meant: npm run api, and commit api/ with it.');
  process.exitCode = 1;
}

const wanted = reports();
if (process.argv.includes('--check')) check(wanted);
else write(wanted);
