/** What the package's doors export, as a hover shows it: every name with its docstring, those of its members, and its examples. */
import { existsSync, readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';

export const root = resolve(__dirname, '..', '..');

export interface Documented {
  /** `exactMatch`, or `Engine.sample` for a member. */
  readonly name: string;
  readonly text: string;
}

export interface PublicExport extends Documented {
  /** The folder whose door exports it; `main` where only the main entry does. */
  readonly door: string;
  readonly kind: 'function' | 'class' | 'interface' | 'type' | 'constant';
  /** Properties and methods of an interface, public ones of a class. */
  readonly members: readonly Documented[];
  /** The ts fences of its `@example` tags, and of its members'. */
  readonly examples: readonly string[];
}

/** `reward` to `src/reward/index.ts`, for every subpath that package.json exports, the main entry last: what has a folder is listed under it. */
export function doors(): Map<string, string> {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: Record<string, unknown> };
  const paths = Object.keys(exports).filter((path) => existsSync(join(root, 'src', path, 'index.ts')));
  const [main, folders] = [paths.filter((path) => path === '.'), paths.filter((path) => path !== '.')];
  return new Map([...folders, ...main].map((path) => [path === '.' ? 'main' : path.slice(2), join(root, 'src', path, 'index.ts')]));
}

/** Every export of the doors once, those of other packages left out. */
export function publicExports(): PublicExport[] {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile) as { config: { compilerOptions: object } };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const program = ts.createProgram([...doors().values()], options);
  const checker = program.getTypeChecker();
  const seen = new Set<ts.Symbol>();
  return [...doors()].flatMap(([door, file]) => {
    const source = program.getSourceFile(file);
    const module = source && checker.getSymbolAtLocation(source);
    if (!module) throw new Error(`${relative(root, file)} exports nothing`);
    return checker.getExportsOfModule(module).flatMap((exported): PublicExport[] => {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const declaration = symbol.declarations?.[0];
      if (!declaration?.getSourceFile().fileName.startsWith(join(root, 'src') + sep) || seen.has(symbol)) return [];
      seen.add(symbol);
      const members = publicMembers(symbol);
      const described = [symbol, ...members];
      return [
        {
          door,
          name: exported.name,
          kind: kindOf(checker, symbol, declaration),
          text: textOf(checker, symbol),
          members: members.map((member) => ({ name: `${exported.name}.${member.name}`, text: textOf(checker, member) })),
          examples: described.flatMap((each) => examplesOf(checker, each)),
        },
      ];
    });
  });
}

const textOf = (checker: ts.TypeChecker, symbol: ts.Symbol): string =>
  ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();

function kindOf(checker: ts.TypeChecker, symbol: ts.Symbol, declaration: ts.Declaration): PublicExport['kind'] {
  if (symbol.flags & ts.SymbolFlags.Class) return 'class';
  if (symbol.flags & ts.SymbolFlags.Interface) return 'interface';
  if (symbol.flags & ts.SymbolFlags.TypeAlias) return 'type';
  return checker.getTypeOfSymbolAtLocation(symbol, declaration).getCallSignatures().length ? 'function' : 'constant';
}

function publicMembers(symbol: ts.Symbol): ts.Symbol[] {
  if (!(symbol.flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Interface))) return [];
  const own = [...(symbol.members?.values() ?? []), ...(symbol.flags & ts.SymbolFlags.Class ? (symbol.exports?.values() ?? []) : [])];
  return own.filter(
    ({ flags, declarations = [] }) =>
      !(flags & ts.SymbolFlags.Prototype) &&
      flags & (ts.SymbolFlags.Property | ts.SymbolFlags.Method | ts.SymbolFlags.Accessor) &&
      declarations.every((declaration) => {
        const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
        const name = ts.getNameOfDeclaration(declaration);
        return !(ts.getCombinedModifierFlags(declaration) & hidden) && !(name && ts.isPrivateIdentifier(name));
      }),
  );
}

function examplesOf(checker: ts.TypeChecker, symbol: ts.Symbol): string[] {
  const texts = symbol.getJsDocTags(checker).flatMap(({ name, text }) => (name === 'example' ? ts.displayPartsToString(text) : []));
  return texts.flatMap((text) => [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code));
}
