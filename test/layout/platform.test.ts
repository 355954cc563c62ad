/** The method's modules run where there is no Node: what is Node's is behind a file that has a twin for a browser. */
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { parse, type Source, sources } from './sources.js';

/** What is for Node alone: writing runs and base policies, drawing for notebooks, and the command. */
const NODE_ALONE = /^src\/((runs|display|notebooks|cli)\/|tinypedia\/unfinished\.ts$)/;

const twinOf = (path: string): string => path.replace(/\.ts$/, '.browser.ts');
const isTwin = ({ path }: Source): boolean => path.endsWith('.browser.ts');

/** Files that a browser's bundle may hold. */
function inBrowsers(all: readonly Source[]): Source[] {
  const paths = new Set(all.map(({ path }) => path));
  return all.filter((source) => isTwin(source) || !(NODE_ALONE.test(source.path) || paths.has(twinOf(source.path))));
}

/** Node's modules and globals that a file names; `globalThis.process?.env` asks first. */
function ofNode({ path, tree, imports }: Source): string[] {
  const found = imports.filter(({ specifier }) => specifier.startsWith('node:')).map(({ specifier }) => `${path} imports ${specifier}`);
  const visit = (node: ts.Node): void => {
    const isGlobal =
      ts.isIdentifier(node) && ['process', 'Buffer', '__dirname', '__filename', 'require', 'setImmediate'].includes(node.text);
    const isMember = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;
    if (isGlobal && !isMember && !ts.isPropertyAssignment(node.parent)) found.push(`${path} names ${node.text}`);
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(tree, visit);
  return found;
}

/** Names of the values that a file exports. */
function exportedValues({ tree }: Source): string[] {
  return tree.statements
    .flatMap((statement): (string | undefined)[] => {
      if (ts.isExportDeclaration(statement)) {
        const clause = statement.exportClause;
        if (statement.isTypeOnly || !clause || !ts.isNamedExports(clause)) return [];
        return clause.elements.filter(({ isTypeOnly }) => !isTypeOnly).map(({ name }) => name.text);
      }
      if (!ts.canHaveModifiers(statement) || !ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword))
        return [];
      if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.map(({ name }) => name.getText(tree));
      return ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement) ? [statement.name?.text] : [];
    })
    .filter((name): name is string => name !== undefined)
    .sort();
}

describe('what a browser runs', () => {
  const all = sources();

  it('imports no module of Node and names none of its globals', () => {
    expect(inBrowsers(all).flatMap(ofNode)).toEqual([]);
  });

  it('would be found out if it did', () => {
    const source = parse('src/grpo/x.ts', "import { join } from 'node:path';\nconst a = process.pid;\nconst b = globalThis.process?.env;");
    expect(ofNode(source)).toEqual(['src/grpo/x.ts imports node:path', 'src/grpo/x.ts names process']);
    expect(inBrowsers([source, parse('src/grpo/x.browser.ts', '')]).map(({ path }) => path)).toEqual(['src/grpo/x.browser.ts']);
  });

  const byPath = new Map(all.map((source) => [source.path, source]));
  it.each(all.filter(isTwin).map(({ path }) => path))('has in %s what its twin for Node exports', (path) => {
    const node = byPath.get(path.replace('.browser.ts', '.ts'));
    expect(node, 'the twin for Node').toBeDefined();
    const offered = exportedValues(byPath.get(path) as Source);
    const forNodeAlone = ['packageRoot', 'canLoad', 'vulkanDrivers'];
    expect(offered).toEqual(exportedValues(node as Source).filter((name) => !forNodeAlone.includes(name)));
  });
});
