/** How README's example is taken to other runtimes, and what is made of what comes back; the runs themselves are `npm run check:runtimes`. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(__dirname, '../..');

/** The script's own functions: JavaScript, which has no types. */
const { asCommonJs, chosen, difference, everyName, readmeExample, resultOf, sorted } = await import(
  join(root, 'scripts', 'check-runtimes.mjs') as string
);

const example = readmeExample(readFileSync(join(root, 'README.md'), 'utf8')) as string;

describe('the example', () => {
  it('is the block of README that trains for five steps', () => {
    expect(example).toMatch(/^import \{ grpo, .*\} from 'search-e1';\n/);
    expect(example).toContain('steps: 5');
    expect(() => readmeExample('# nothing\n\n```ts\nlet a = 1;\n```\n')).toThrow(/no ```ts block with `steps: 5`/);
  });

  it('is the same program with require, its awaits in a function', () => {
    const program = "import { a, b as c } from 'one';\nimport { d } from 'two';\nawait a(c, d);\n";
    expect(asCommonJs(program)).toBe(
      "const { a, b: c } = require('one');\nconst { d } = require('two');\n(async () => {\nawait a(c, d);\n})();\n",
    );
    execFileSync(process.execPath, ['--check', '--input-type=commonjs', '-'], { input: asCommonJs(example) });
  });
});

describe('what comes back', () => {
  const output = 'a warning\n1 0.325\n2 0.37499999999999967\ntook {"description":"SIMD kernels, 2 threads","file":"/p/dist/index.js"}\n';
  const expected = resultOf(output);

  it('is read as the rewards by step, in the digits that were printed, the backend and the file', () => {
    expect(expected).toEqual({
      rewards: ['1: 0.325', '2: 0.37499999999999967'],
      description: 'SIMD kernels, 2 threads',
      file: '/p/dist/index.js',
    });
    expect(difference(resultOf(output), expected)).toBeUndefined();
  });

  it.each([
    ['another digit', output.replace('67', '68'), 'reward of step 2: 0.37499999999999968, with this Node 2: 0.37499999999999967'],
    ['a step less', output.replace(/^2 .*\n/m, ''), 'reward of step (none), with this Node 2: 0.37499999999999967'],
    ['a step more', output.replace('took', '3 1\ntook'), '3 steps, not 2'],
    ['one thread', output.replace('2 threads', 'one thread'), 'not on two threads of simd: SIMD kernels, one thread'],
    ['the build for browsers', output.replace('dist/', 'dist/browser/'), 'took the build for browsers, /p/dist/browser/index.js'],
  ])('is told apart by %s', (_, other, difference_) => expect(difference(resultOf(other), expected)).toBe(difference_));
});

describe('the compilers', () => {
  it('are given every name of every subpath, as a value or as a type', () => {
    const names = everyName(root) as string;
    expect(names).toContain("import * as door0 from 'search-e1';");
    expect(names).toMatch(/: IsAny<typeof door0\.grpo> = false;/);
    expect(names).toMatch(/: IsAny<door\d+\.Trajectory> = false;/);
    expect(names.match(/^import /gm)).toHaveLength(
      Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).exports).length - 1,
    );
  });

  it('complain about a user’s file or about ours, which counts, or about another package, which is counted', () => {
    const { ours, others } = sorted(
      [
        'names.mts(3,14): error TS2305: no export',
        'node_modules/search-e1/dist/runs.d.ts(3,8): error TS2307: no module',
        'node_modules/@tensorflow/tfjs-core/dist/hash_util.d.ts(1,2): error TS2304: Long',
        '../typescript/node_modules/@typescript/linux/lib/lib.dom.d.ts(1,2): error TS2300: duplicate',
        'Found 4 errors.',
      ].join('\n'),
    );
    expect(ours.map((line: string) => line.split('(')[0])).toEqual(['names.mts', 'node_modules/search-e1/dist/runs.d.ts']);
    expect(Object.fromEntries(others)).toEqual({ '@tensorflow/tfjs-core': 1, '@typescript/linux': 1 });
  });
});

it('takes the names that are asked for: all of the list, one kind of it, or another version', () => {
  expect(chosen([])).toContain('deno');
  expect(chosen(['typescript', 'node@26'])).toEqual(['typescript@5.0', 'typescript@5.9', 'typescript@latest', 'node@26']);
  expect(() => chosen(['ruby'])).toThrow('ruby: expected node, bun, deno, typescript, with or without @version');
});
