/**
 * What a hover shows: every public name has a docstring, every function and class an example, and the examples are compiled and run against the built package.
 *
 * An `@example` is a whole module in a ts fence. Where a statement is an expression and a comment follows it on its line, the comment is its value, as `inspect`
 * or JSON prints it, `…` for what is left out: `exactMatch('the Eiffel Tower', ['Eiffel Tower']); // 1`.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { doors, publicExports, root } from './public-surface.js';

const surface = publicExports();
const examples = surface.flatMap(({ door, name, examples }) =>
  examples.map((code, i) => ({ door, name: examples.length > 1 ? `${name} (${i + 1})` : name, file: `${door}-${name}-${i + 1}`, code })),
);

const project = mkdtempSync(join(tmpdir(), 'search-e1-examples-'));
const sources = join(project, 'examples');
const workplace = join(project, 'workplace'); // the working directory of the examples, which they leave as it is
const typeErrors = new Map<string, string[]>();
const runs = new Map<string, { readonly failures: readonly string[]; readonly seconds: number }>();

beforeAll(async () => {
  execFileSync(process.execPath, [join(root, 'scripts', 'prepare.mjs')], { stdio: 'inherit' });
  for (const folder of [sources, workplace, join(project, 'node_modules')]) mkdirSync(folder, { recursive: true });
  symlinkSync(root, join(project, 'node_modules', 'search-e1'), 'junction');
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  for (const { file, code } of examples) {
    writeFileSync(join(sources, `${file}.ts`), `${code}\nexport {};\n`);
    writeFileSync(join(sources, `${file}.mjs`), runnable(code));
  }
  await Promise.all([compile(), runAll()]);
});

afterAll(() => rmSync(project, { recursive: true, force: true }));

describe.each([...doors().keys()])('search-e1/%s', (door) => {
  const exported = surface.filter((each) => each.door === door);

  it('has a docstring on every export and on every member of its interfaces and classes', () => {
    const bare = exported.flatMap(({ name, text, members }) => [{ name, text }, ...members].filter((each) => each.text === ''));
    expect(bare.map(({ name }) => name)).toEqual([]);
  });

  it('has an example on every function and class', () => {
    const shown = exported.filter(({ kind }) => kind === 'function' || kind === 'class');
    expect(shown.filter((each) => each.examples.length === 0).map(({ name }) => name)).toEqual([]);
  });
});

describe('the example', () => {
  it.each(examples)('of $door: $name is typed as the package says and gives what it says', ({ file }) => {
    expect(typeErrors.get(file) ?? []).toEqual([]);
    expect(runs.get(file)?.failures ?? ['it did not run: the process of the examples ended before']).toEqual([]);
  });
});

describe('an example that says what is not so', () => {
  const outcome = (code: string) => {
    const [module, results] = [join(project, 'wrong.mjs'), join(project, 'wrong.json')];
    writeFileSync(module, runnable(code));
    execFileSync(process.execPath, [join(__dirname, 'run-examples.mjs'), results, module], { cwd: workplace });
    return (JSON.parse(readFileSync(results, 'utf8')) as { failures: string[] }[])[0].failures.map((failure) => failure.split('\n')[0]);
  };

  it.each([
    ['const a = 1;\n[a, 2]; // [ 1, 3 ]', ['line 2 gives [ 1, 2 ], and its comment says [ 1, 3 ]']],
    ["console.log('ab'); // 'a'", ["line 1 gives 'ab', and its comment says 'a'"]],
    ['2 / 3; // 0.67…', ['line 1 gives 0.6666666666666666, and its comment says 0.67…']],
    ['await Promise.resolve({ a: null }); // { a: 0 }', ['line 1 gives { a: null }, and its comment says { a: 0 }']],
    ["throw new RangeError('no');", ['RangeError: no']],
  ])('fails: %s', (code, failures) => {
    expect(outcome(code)).toEqual(failures);
  });

  it.each(["[1, 'a']; // [ 1, 'a' ]", '[1, \'a\']; // [1,"a"]', '2 / 3; // 0.66…', "'a b'; // 'a b'", "'(x)'; // '(…'"])(
    'passes: %s',
    (code) => {
      expect(outcome(code)).toEqual([]);
    },
  );
});

it('leaves nothing in the working directory', () => {
  expect(readdirSync(workplace)).toEqual([]);
});

/** All examples in one program, against the declarations that the package ships. */
async function compile(): Promise<void> {
  const program = ts.createProgram(
    examples.map(({ file }) => join(sources, `${file}.ts`)),
    {
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2022.d.ts'],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      types: ['node'],
      typeRoots: [join(root, 'node_modules', '@types')],
      strict: true,
      noUnusedLocals: true,
      skipLibCheck: true,
      noEmit: true,
    },
  );
  for (const { file } of examples) {
    const source = program.getSourceFile(join(sources, `${file}.ts`));
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    const described = found.map(({ start = 0, messageText }) => {
      const line = source ? source.getLineAndCharacterOfPosition(start).line + 1 : 0;
      return `line ${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
    if (described.length) typeErrors.set(file, described);
  }
}

/** The example's JavaScript, with its checked lines put to the test. */
function runnable(code: string): string {
  const source = ts.createSourceFile('example.ts', code, ts.ScriptTarget.ES2022, true);
  let text = code;
  for (const statement of [...source.statements].reverse()) {
    const comment = ts.getTrailingCommentRanges(code, statement.end)?.[0];
    if (!ts.isExpressionStatement(statement) || !comment) continue;
    const line = source.getLineAndCharacterOfPosition(statement.getStart()).line + 1;
    const expected = code
      .slice(comment.pos, comment.end)
      .replace(/^\/[/*]|\*\/$/g, '')
      .trim();
    const checked = `checked(${line}, ${printed(statement.expression).getText()}, ${JSON.stringify(expected)});`;
    text = text.slice(0, statement.getStart()) + checked + text.slice(statement.end);
  }
  return ts.transpileModule(text, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } }).outputText;
}

/** `console.log(value)` shows its value. */
function printed(expression: ts.Expression): ts.Expression {
  if (ts.isCallExpression(expression) && expression.expression.getText() === 'console.log' && expression.arguments.length === 1)
    return expression.arguments[0];
  return expression;
}

/** One process a door, two at a time. */
async function runAll(): Promise<void> {
  const waiting = [...new Set(examples.map(({ door }) => door))];
  const work = async () => {
    for (let door = waiting.shift(); door; door = waiting.shift()) await runDoor(door);
  };
  await Promise.all([work(), work()]);
}

async function runDoor(door: string): Promise<void> {
  const results = join(project, `${door}.json`);
  const files = examples.flatMap((example) => (example.door === door ? example.file : []));
  const modules = files.map((file) => join(sources, `${file}.mjs`));
  const args = [join(__dirname, 'run-examples.mjs'), results, ...modules];
  const ended = await promisify(execFile)(process.execPath, args, { cwd: workplace, timeout: 120_000, maxBuffer: 2 ** 26 }).catch(
    (error: Error & { stderr?: string }) => error,
  );
  let said: { readonly failures: string[]; readonly seconds: number }[] = [];
  try {
    said = JSON.parse(readFileSync(results, 'utf8')) as typeof said;
  } catch {
    // It ended before the first example did.
  }
  for (const [i, result] of said.entries()) runs.set(files[i], result);
  const missed = files[said.length];
  if (missed) runs.set(missed, { failures: [`the process ended in this example: ${ended.stderr ?? ''}`], seconds: Number.NaN });
  const slow = said.flatMap(({ seconds }, i) => (seconds > 3 ? `${files[i]} ${seconds.toFixed(1)} s` : []));
  if (slow.length) console.warn(`slow examples: ${slow.join(', ')}`);
}
