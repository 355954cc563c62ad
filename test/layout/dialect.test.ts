/** `src` keeps to what the notebooks' kernel can run: tslab compiles to CommonJS with TypeScript 5.0 and knows the ES2022 library only (tsc holds the last). */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { descendants, parse, root, type Source, sources } from './sources.js';

const kernelCompiler = createRequire(__filename)('@tslab/typescript-for-tslab') as typeof ts;

const place = (source: Source, node: ts.Node): string =>
  `${source.path}:${source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree)).line + 1}`;

function importMeta(source: Source): string[] {
  return [...descendants(source.tree)]
    .filter((node) => ts.isMetaProperty(node) && node.keywordToken === ts.SyntaxKind.ImportKeyword)
    .map((node) => place(source, node));
}

function topLevelAwait(source: Source): string[] {
  const awaits = (node: ts.Node): ts.Node[] => {
    if (ts.isFunctionLike(node) || ts.isClassStaticBlockDeclaration(node)) return [];
    const own = ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined) ? [node] : [];
    const below: ts.Node[] = [];
    ts.forEachChild(node, (child) => {
      below.push(...awaits(child));
    });
    return [...own, ...below];
  };
  return awaits(source.tree).map((node) => place(source, node));
}

function newSyntax(path: string, text: string): string[] {
  const tree = kernelCompiler.createSourceFile(path, text, kernelCompiler.ScriptTarget.ES2022, true) as unknown as {
    parseDiagnostics: readonly ts.Diagnostic[];
  };
  return tree.parseDiagnostics.map(({ messageText }) => `${path}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`);
}

describe('the sources', () => {
  const all = sources();

  it('are found', () => {
    expect(all.length).toBeGreaterThan(20);
  });

  it('never say import.meta', () => {
    expect(all.flatMap(importMeta)).toEqual([]);
  });

  it('never await at the top level', () => {
    expect(all.flatMap(topLevelAwait)).toEqual([]);
  });

  it('parse in the kernel’s TypeScript 5.0', () => {
    expect(all.flatMap(({ path }) => newSyntax(path, readFileSync(join(root, path), 'utf8')))).toEqual([]);
  });
});

describe('the check itself', () => {
  it('sees import.meta, but not in a string', () => {
    expect(importMeta(parse('a.ts', "const a = 'import.meta';\nconst b = import.meta.url;"))).toEqual(['a.ts:2']);
  });

  it('sees an await at the top level, but not in a function', () => {
    expect(
      topLevelAwait(parse('a.ts', 'const f = async () => await 1;\nif (f) {\n  await f();\n}\nfor await (const x of []) f();')),
    ).toEqual(['a.ts:3', 'a.ts:5']);
  });

  it('sees syntax newer than TypeScript 5.0', () => {
    expect(newSyntax('a.ts', "import data from './a.json' with { type: 'json' };")).not.toEqual([]);
  });
});
