/** The files the layout tests read: what git tracks or would track, and the parsed sources with their imports. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import ts from 'typescript';

export const root = join(__dirname, '..', '..');

/** Tracked files and new ones that git does not ignore, relative to the root, with forward slashes. */
export function trackedFiles(): string[] {
  if (!existsSync(join(root, '.git'))) return []; // an exported archive
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  return [...new Set(list.split('\0'))].filter((path) => path !== '' && existsSync(join(root, path))).sort();
}

export interface Import {
  readonly specifier: string;
  /** Nothing of it is left after compilation. */
  readonly typeOnly: boolean;
}

export interface Source {
  /** Relative to the root, such as `src/grpo/loss.ts`. */
  readonly path: string;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

/** The TypeScript files under `src` that are written by hand; AssemblyScript is another language with the same file ending. */
export function sources(): Source[] {
  return ts.sys
    .readDirectory(join(root, 'src'), ['.ts'])
    .filter((path) => !path.endsWith('.generated.ts') && !path.includes('/simd/assembly/'))
    .map((path) => parse(relative(root, path).split(sep).join('/'), readFileSync(path, 'utf8')))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Parses one file. */
export function parse(path: string, text: string): Source {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  return { path, tree, imports: importsOf(tree) };
}

/** The file a relative specifier names in NodeNext style: `./x.js` beside `a/b.ts` is `a/x.ts`. */
export function target(source: Source, specifier: string): string {
  return posix.join(posix.dirname(source.path), specifier).replace(/\.js$/, '.ts');
}

/** Every node below `node`, depth first. */
export function* descendants(node: ts.Node): Generator<ts.Node> {
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => {
    children.push(child);
  });
  for (const child of children) {
    yield child;
    yield* descendants(child);
  }
}

/** Static, dynamic and type imports, and re-exports. */
function importsOf(tree: ts.SourceFile): Import[] {
  const found: Import[] = [];
  for (const node of descendants(tree)) {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const clause = node.importClause;
      const named = clause?.namedBindings && ts.isNamedImports(clause.namedBindings) ? clause.namedBindings.elements : undefined;
      const typeOnly =
        clause?.isTypeOnly || (clause !== undefined && !clause.name && named?.length !== 0 && named?.every((e) => e.isTypeOnly)) || false;
      found.push({ specifier: node.moduleSpecifier.text, typeOnly });
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
      found.push({ specifier: node.moduleSpecifier.text, typeOnly: node.isTypeOnly });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
      found.push({ specifier: node.argument.literal.text, typeOnly: true });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      if (argument && ts.isStringLiteral(argument)) found.push({ specifier: argument.text, typeOnly: false });
    }
  }
  return found;
}
