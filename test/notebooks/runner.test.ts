import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import ts from 'typescript';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { startKernel } from '../../src/notebooks/kernel.js';
import { type CodeCell, joinText, type Notebook, readNotebook } from '../../src/notebooks/notebook.js';
import { findKernelSpec, NotebookError, type RunOptions, runNotebook } from '../../src/notebooks/runner.js';
import { checkout, kernelSpec, writeCells } from './checkout.js';

const TIMEOUT = 120_000;
let root: string;
let serial = 0;

beforeAll(() => {
  root = checkout();
});

const run = (cells: Parameters<typeof writeCells>[2], options: RunOptions = {}) =>
  runNotebook(writeCells(root, `case-${serial++}`, cells), { kernelSpec, env: { SEARCH_E1_ROOT: root }, ...options });

async function failure(work: Promise<unknown>): Promise<NotebookError> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(NotebookError);
  return error as NotebookError;
}

const outputs = (notebook: Notebook, cell: number) => (notebook.cells[cell] as CodeCell).outputs;
const stdout = (notebook: Notebook, cell: number) =>
  outputs(notebook, cell)
    .map((output) => (output.output_type === 'stream' && output.name === 'stdout' ? joinText(output.text) : ''))
    .join('');

describe('a good notebook', () => {
  it('comes back executed, in order, with merged streams, displays updated in place and counts', { timeout: TIMEOUT }, async () => {
    const seen: string[] = [];
    const notebook = await run(
      [
        "import { greeting } from 'search-e1';\nimport { newDisplay, display } from 'tslab';\nconst bar = newDisplay();\nconsole.log(greeting);\nconsole.log('again');",
        "bar.text('0 of 2');\ndisplay.html('<b>between</b>');\nbar.text('2 of 2');",
        { source: "throw new Error('never run');", tags: ['skip-execution'] },
        "bar.html('<i>done</i>');\nawait new Promise((r) => setTimeout(r, 20));\n6 * 7",
      ],
      { onCell: ({ cell, cells, state }) => state !== 'output' && seen.push(`${cell + 1}/${cells} ${state}`) },
    );
    expect(outputs(notebook, 0)).toEqual([{ output_type: 'stream', name: 'stdout', text: ['from the package\n', 'again\n'] }]);
    expect(outputs(notebook, 1)).toEqual([
      { output_type: 'display_data', data: { 'text/html': ['<i>done</i>'] }, metadata: {} },
      { output_type: 'display_data', data: { 'text/html': ['<b>between</b>'] }, metadata: {} },
    ]);
    expect(outputs(notebook, 2)).toEqual([]);
    expect(stdout(notebook, 3)).toBe('42\n');
    expect(notebook.cells.map((cell) => (cell as CodeCell).execution_count)).toEqual([1, 2, null, 3]);
    expect(seen).toEqual(['1/4 running', '1/4 done', '2/4 running', '2/4 done', '3/4 skipped', '4/4 running', '4/4 done']);
  });

  it('leaves its file alone', { timeout: TIMEOUT }, async () => {
    const path = writeCells(root, 'untouched', ["console.log('x')"]);
    const before = readFileSync(path, 'utf8');
    await runNotebook(path, { kernelSpec, env: { SEARCH_E1_ROOT: root } });
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  it('runs beside another one, each in its own kernel, over sockets and over TCP', { timeout: TIMEOUT }, async () => {
    const cells = (name: string) => [
      `let name = '${name}';`,
      'await new Promise((r) => setTimeout(r, 300));',
      'console.log(name, process.pid);',
    ];
    const [a, b] = await Promise.all([run(cells('a')), run(cells('b'), { transport: 'tcp' })]);
    const [[nameA, pidA], [nameB, pidB]] = [stdout(a, 2).trim().split(' '), stdout(b, 2).trim().split(' ')];
    expect([nameA, nameB]).toEqual(['a', 'b']);
    expect(pidA).not.toBe(pidB);
  });
});

describe('a notebook’s own folder comes first', () => {
  it('for files, modules beside and above it, and packages; then comes the clone', { timeout: TIMEOUT }, async () => {
    const place = realpathSync(mkdtempSync(join(tmpdir(), 'elsewhere-')));
    const write = (name: string, text: string) => {
      mkdirSync(dirname(join(place, name)), { recursive: true });
      writeFileSync(join(place, name), text);
    };
    write('lib/above.ts', "import { mark } from '../lesson/helper';\nexport const above = mark('above');");
    write('lesson/helper.ts', 'export interface Marked { text: string }\nexport const mark = (text: string): Marked => ({ text });');
    write('lesson/data.txt', 'the data');
    for (const name of ['own', 'simple-statistics']) {
      write(`lesson/node_modules/${name}/package.json`, JSON.stringify({ name, main: 'index.js', types: 'index.d.ts' }));
      write(`lesson/node_modules/${name}/index.js`, `exports.whose = 'the notebook';`);
      write(`lesson/node_modules/${name}/index.d.ts`, 'export declare const whose: string;');
    }
    const cells = [
      "import { mark } from './helper';\nimport { above } from '../lib/above';\nconst marked = mark('beside');\nconsole.log(marked.text, above.text);",
      "import { readFileSync } from 'node:fs';\nconsole.log(readFileSync('data.txt', 'utf8'), process.cwd() === process.env.NOTEBOOK_FOLDER);",
      "import { whose } from 'own';\nimport { whose as other } from 'simple-statistics';\nconsole.log(whose, other);",
      // The type of what is inferred here is named by a path into the clone.
      "import { greeting } from 'search-e1';\nimport MiniSearch from 'minisearch';\nconst index = new MiniSearch({ fields: ['a'] });\nconsole.log(greeting);",
      "const same = index;\nconst again = marked;\nconsole.log((await import('./helper')).mark('later').text, process.env.NODE_PATH ?? 'unset');",
      "/** @module virtual */\nimport { mark } from './helper';\nexport const inside = mark('a cell as a module').text;",
      "import { inside } from './virtual';\nconsole.log(inside);",
      { source: "import './nowhere';", tags: ['raises-exception'] },
    ];
    const path = writeCells(root, 'moved', cells);
    renameSync(path, join(place, 'lesson', 'moved.ipynb'));
    const env = { SEARCH_E1_ROOT: root, NOTEBOOK_FOLDER: join(place, 'lesson') };
    const notebook = await runNotebook(join(place, 'lesson', 'moved.ipynb'), { kernelSpec, env });
    expect([0, 1, 2, 3, 4, 6].map((cell) => stdout(notebook, cell).trim())).toEqual([
      'beside above',
      'the data true',
      'the notebook the notebook',
      'from the package',
      'later unset',
      'a cell as a module',
    ]);
    expect(JSON.stringify(outputs(notebook, 7))).toContain("Cannot find module './nowhere'");
  });

  it('in the clone too', { timeout: TIMEOUT }, async () => {
    expect(stdout(await run(["import { greeting } from 'search-e1';\nprocess.cwd()"]), 0).trim()).toBe(join(root, 'notebooks'));
  });
});

describe('all output arrives in order', () => {
  const lines = (text: string) => text.trimEnd().split('\n');
  const counted = (count: number) => Array.from({ length: count }, (_, index) => String(index));

  it('thousands of lines of one cell, in one turn of the event loop, in many, and beside displays', { timeout: TIMEOUT }, async () => {
    const count = 3000;
    const loop = (body: string) => `for (let i = 0; i < ${count}; i++) { ${body} }`;
    const notebook = await run(
      [
        loop('console.log(i)'),
        loop('console.log(i)'),
        loop('await null; console.log(i)'),
        loop('await new Promise(setImmediate); console.log(i)'),
        loop('console.log(i); if (i % 2) console.error(i)'),
        `import { display } from 'tslab';\n${loop('console.log(i); display.text("d" + i)')}`,
        `for (let i = 0; i < 500; i++) console.log('x'.repeat(3000))`,
      ],
      { timeoutPerCell: 30 },
    );
    for (const cell of [0, 1, 2, 3, 4, 5]) expect(lines(stdout(notebook, cell)), `cell ${cell + 1}`).toEqual(counted(count));
    expect(stdout(notebook, 6)).toHaveLength(500 * 3001);
    expect(outputs(notebook, 0)).toHaveLength(1);
    // One after the other: a line, its display, the next line.
    const order = outputs(notebook, 5).flatMap((output) =>
      'data' in output ? output.data['text/plain'] : 'text' in output ? output.text : '',
    );
    expect(order.slice(0, 6).map((text) => String(text).trim())).toEqual(['0', 'd0', '1', 'd1', '2', 'd2']);
  });

  it('travels together: no server of Jupyter’s takes more than 1,000 messages a second', { timeout: TIMEOUT }, async () => {
    const messages: string[] = [];
    const env = { SEARCH_E1_ROOT: root };
    const kernel = await startKernel(kernelSpec, { cwd: root, onMessage: ({ header }) => messages.push(header.msg_type), env });
    const started = performance.now();
    await kernel.execute('for (let i = 0; i < 5000; i++) { await new Promise(setImmediate); console.log(i) }', () => {});
    const seconds = (performance.now() - started) / 1000;
    await kernel.stop();
    const streams = messages.filter((type) => type === 'stream').length;
    expect(streams).toBeGreaterThan(0);
    expect(streams).toBeLessThanOrEqual(Math.ceil(seconds * 50) + 52); // Fifty at once, then one in 20 ms.
  });

  it('while a cell computes without a pause, and what was said before the kernel’s own end', { timeout: TIMEOUT }, async () => {
    const seen: string[] = [];
    const busy = "console.log('one'); console.log('two'); const until = Date.now() + 1000; while (Date.now() < until);";
    const error = await failure(
      run([busy, "console.log('last words'); process.exit(3)"], {
        onCell: ({ cell, state, seconds }) => cell === 0 && seen.push(`${state} ${seconds}`),
      }),
    );
    const at = (index: number) => Number(seen[index].split(' ')[1]);
    expect(seen.map((line) => line.split(' ')[0])).toEqual(['running', 'output', 'output', 'done']);
    expect(at(3) - at(2)).toBeGreaterThan(0.5);
    expect(stdout(error.notebook, 1)).toBe('last words\n');
  });
});

describe('cells share variables', () => {
  it('which are the ones that their functions see', { timeout: TIMEOUT }, async () => {
    const notebook = await run([
      'let x = 1; const f = () => x; let count = 0; const inc = () => { count++; return count; };\nlet { a, b: [c] } = { a: 1, b: [2] }; const g = () => a + c; var v = 3; class K { n = x } function twice() { return x * 2 }',
      'x = 5; count = 10; a = 10; c = 20; v = 30;\nconsole.log(f(), twice(), new K().n, inc(), count, g(), v);',
      // Another variable of the same name is another variable.
      'let count = 100; const k = 2;\nconsole.log(inc(), count);',
      { source: "let x = 7; throw new Error('what this cell declares does not come to be')", tags: ['raises-exception'] },
      'console.log(x, f()); x++; x += 1; [x, a] = [x * 2, 0]; console.log(x, f(), g());',
      'const both = { x, a }; ({ x, a = 3 } = { x: 77 } as any); const later = () => ({ x, f });\nconsole.log(both, x, a, f(), later().x);',
      'let value = 1; const read = () => value;',
      'value = 4; console.log(read());',
      'const text = () => x;',
      "let x = 'another';\nconsole.log(text(), f());",
      '// Only a comment',
      'const last = 1 // and a comment at the end',
      'console.log(last)',
    ]);
    const said = [1, 2, 4, 5, 7, 9, 12].flatMap((cell) => stdout(notebook, cell).trim().split('\n'));
    expect(said).toEqual(['5 10 5 11 11 30 30', '12 100', '5 5', '14 14 20', '{ x: 14, a: 0 } 77 3 77 77', '4', 'another 77', '1']);
  });

  it('and wait wherever `await` stands', { timeout: TIMEOUT }, async () => {
    const notebook = await run([
      'async function* numbers() { yield 1; yield 2; }\nfor await (const n of numbers()) console.log(n);',
      "if (true) { for await (const n of numbers()) console.log('in', n); }",
      "await (async () => { console.log('called') })()",
      'const inner = { run: async () => { for await (const n of numbers()) return n } }; await inner.run()',
      "const not = async () => { for await (const n of numbers()) console.log('never'); };",
    ]);
    expect([0, 1, 2, 3, 4].map((cell) => stdout(notebook, cell))).toEqual(['1\n2\n', 'in 1\nin 2\n', 'called\n', '1\n', '']);
  });

  it('and an error or an interrupt is told without the kernel’s machinery', { timeout: TIMEOUT }, async () => {
    const tags = ['raises-exception'];
    const notebook = await run([
      { source: "function inner() { throw new RangeError('too far') }\ninner()", tags },
      { source: "await (async () => { await null; throw new Error('outer', { cause: new Error('inner') }) })()", tags },
      { source: "setTimeout(() => process.kill(process.pid, 'SIGINT'), 100); await new Promise((r) => setTimeout(r, 60_000));", tags },
      {
        source: "import { spawn } from 'node:child_process';\nspawn('sh', ['-c', 'sleep 0.5; kill -INT ' + process.pid]); while (true) {}",
        tags,
      },
    ]);
    const stderr = (cell: number) =>
      outputs(notebook, cell)
        .map((output) => ('text' in output ? joinText(output.text) : ''))
        .join('');
    expect(stderr(0)).toMatch(/RangeError: too far\n {4}at inner \(evalmachine/);
    expect(stderr(1)).toMatch(/Error: outer[\s\S]*cause[\s\S]*Error: inner/);
    for (const cell of [0, 1, 2, 3]) expect(stderr(cell)).not.toMatch(/tslab|node:vm|node_modules/);
    expect(stderr(2)).toMatch(/^Interrupted\. [^\n]*interruptSignal\(\)\.\n$/);
    expect(stderr(3)).toBe('Interrupted.\n');
  });
});

it('a kernel answers whose publishing socket would be bound late', { timeout: TIMEOUT }, async () => {
  // As when the thread that binds it gets no processor, while the client already reaches the other sockets.
  const preload = join(root, 'late-bind.cjs');
  writeFileSync(
    preload,
    `const { Publisher, Socket } = require(${JSON.stringify(createRequire(import.meta.url).resolve('zeromq'))});
     const blocked = new WeakSet();
     Object.defineProperties(Publisher.prototype, {
       bind: { async value(address) {
         blocked.add(this);
         await new Promise((r) => setTimeout(r, 1000));
         blocked.delete(this);
         await Socket.prototype.bind.call(this, address);
       } },
       send: { value(message) {
         if (blocked.has(this)) throw Object.assign(new Error('Socket is blocked by a bind or unbind operation'), { code: 'EBUSY' });
         return Socket.prototype.send.call(this, message);
       } },
     });`,
  );
  const env = { SEARCH_E1_ROOT: root, NODE_OPTIONS: `--require ${JSON.stringify(preload)}` };
  const kernel = await startKernel(kernelSpec, { cwd: root, onMessage: () => {}, startTimeout: 30_000, env });
  expect(kernel.info).toMatchObject({ implementation: 'tslab' });
  await kernel.stop();
});

describe('a bad notebook fails with the real error text', () => {
  it('when a cell throws', { timeout: TIMEOUT }, async () => {
    const error = await failure(
      run(["console.log('before')", "function inner() { throw new RangeError('too far: 7'); }\ninner();", "console.log('never')"]),
    );
    expect(error).toMatchObject({ kind: 'error', cell: 1 });
    expect(error.message).toMatch(/cell 2 .*RangeError: too far: 7/s);
    expect(stdout(error.notebook, 0)).toBe('before\n');
    expect(outputs(error.notebook, 2)).toEqual([]);
  });

  it('when an awaited promise is rejected', { timeout: TIMEOUT }, async () => {
    const error = await failure(run(["await Promise.reject(new Error('awaited and lost'))"]));
    expect(error).toMatchObject({ kind: 'error', cell: 0 });
    expect(error.message).toContain('awaited and lost');
  });

  it('when a cell does not type-check', { timeout: TIMEOUT }, async () => {
    const error = await failure(run(["const n: number = 'seven';"]));
    expect(error).toMatchObject({ kind: 'error', cell: 0 });
    expect(error.message).toContain("Type 'string' is not assignable to type 'number'");
  });

  it('when the kernel exits', { timeout: TIMEOUT }, async () => {
    const error = await failure(run(["console.log('last words')", 'process.exit(3)']));
    expect(error).toMatchObject({ kind: 'dead', cell: 1 });
    expect(error.message).toContain('exit code 3');
  });

  it('when a timer throws after the cell was called good, and names that cell', { timeout: TIMEOUT }, async () => {
    const error = await failure(
      run([
        "setTimeout(() => { throw new Error('late timer'); }, 50);",
        "console.log('fine')",
        'await new Promise((r) => setTimeout(r, 100));',
      ]),
    );
    expect(error.kind).toBe('stderr');
    expect(error.message).toContain('late timer');
  });

  it('when a promise is rejected and nobody waits for it, even in the last cell', { timeout: TIMEOUT }, async () => {
    const error = await failure(run(["Promise.reject(new Error('nobody waits')); 1"]));
    expect(error).toMatchObject({ kind: 'stderr', cell: 0 });
    expect(error.message).toContain('nobody waits');
  });

  it('when it catches an error only to print it', { timeout: TIMEOUT }, async () => {
    const error = await failure(run(["try { (null as any).x } catch (e) { console.error('step failed:', e) }"]));
    expect(error).toMatchObject({ kind: 'stderr', cell: 0 });
    expect(error.message).toContain('Cannot read properties of null');
  });

  it('when a cell takes too long, busy or waiting, and says where it was', { timeout: TIMEOUT }, async () => {
    for (const source of [
      "console.log('turning'); while (true) {}",
      "console.log('turning'); await new Promise((r) => setTimeout(r, 60_000));",
    ]) {
      const error = await failure(run(['1', source], { timeoutPerCell: 1 }));
      expect(error).toMatchObject({ kind: 'timeout', cell: 1 });
      expect(stdout(error.notebook, 1)).toBe('turning\n');
    }
  });

  it('when a kind of output is gone that it had when committed, unless it may vary', { timeout: TIMEOUT }, async () => {
    for (const tags of [[], ['varying-output']]) {
      const path = writeCells(root, `case-${serial++}`, [{ source: "console.log('text')", tags }]);
      const notebook = (await readNotebook(path)) as unknown as { cells: { outputs: unknown[] }[] };
      notebook.cells[0].outputs = [
        { output_type: 'stream', name: 'stdout', text: ['other text\n'] },
        { output_type: 'display_data', data: { 'image/png': 'AAAA' }, metadata: {} },
      ];
      writeFileSync(path, JSON.stringify(notebook));
      const result = runNotebook(path, { kernelSpec, env: { SEARCH_E1_ROOT: root } });
      if (tags.length) await result;
      else {
        const error = await failure(result);
        expect(error.kind).toBe('missing output');
        expect(error.message).toContain('had image/png among its outputs');
      }
    }
  });

  it('when a cell tagged raises-exception raises none; and goes on when it does', { timeout: TIMEOUT }, async () => {
    const tags = ['raises-exception'];
    const purpose = { source: "throw new Error('on purpose')", tags };
    const notebook = await run([purpose, purpose, "console.log('goes on')"]);
    expect(stdout(notebook, 2)).toBe('goes on\n');
    expect(notebook.cells.map((cell) => (cell as CodeCell).execution_count)).toEqual([1, 2, 3]);
    expect(outputs(notebook, 1)).toHaveLength(1);
    expect(await failure(run([{ source: '1 + 1', tags }]))).toMatchObject({ kind: 'no exception', cell: 0 });
  });
});

it('a notebook outside of every clone, run from outside of every clone, gets the kernel of the clone whose code runs it', () => {
  const outside = mkdtempSync(join(tmpdir(), 'outside-'));
  const cwd = vi.spyOn(process, 'cwd').mockReturnValue(outside);
  try {
    expect(findKernelSpec(join(outside, 'mine.ipynb'))).toBe(kernelSpec);
  } finally {
    cwd.mockRestore();
  }
});

describe('a kernel that cannot start says why', () => {
  it.each([
    ['nothing is installed', { installed: false }, /tslab is not installed .*npm start/],
    ['the package is not built', { built: false }, /not built .*npm start/],
  ])('when %s', { timeout: TIMEOUT }, async (_, state, text) => {
    const bare = checkout(state);
    const error = await failure(runNotebook(writeCells(bare, 'bare', ['1']), { kernelSpec, env: { SEARCH_E1_ROOT: bare } }));
    expect(error).toMatchObject({ kind: 'start', cell: -1 });
    expect(error.message).toMatch(text);
  });
});

describe('an end leaves no kernel behind', () => {
  const ended = async (pid: number) => {
    expect(pid).toBeGreaterThan(1);
    await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false);
  };
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  const writePid = (name: string) => `require('fs').writeFileSync(${JSON.stringify(name)}, String(process.pid));`;
  const readPid = (name: string) => Number(readFileSync(join(root, 'notebooks', name), 'utf8'));

  it('when a signal aborts it', { timeout: TIMEOUT }, async () => {
    const abort = new AbortController();
    const reason = new Error('reader went away');
    const work = run([writePid('aborted.pid'), "console.log('waiting'); await new Promise(() => {})"], {
      signal: abort.signal,
      onCell: ({ cell, state }) => cell === 1 && state === 'output' && abort.abort(reason),
    });
    await expect(work).rejects.toBe(reason);
    await ended(readPid('aborted.pid'));
  });

  const ends = (signal: NodeJS.Signals, work: string) => async () => {
    const name = `case-${serial++}`;
    const path = writeCells(root, name, [`${writePid(`${name}.pid`)} ${work}`]);
    const program = spawn(process.execPath, [compiledRunner(root), path, kernelSpec], {
      env: { ...process.env, SEARCH_E1_ROOT: root },
      stdio: 'ignore',
    });
    const exit = new Promise((resolve) => program.once('exit', (_, by) => resolve(by)));
    const started = join(root, 'notebooks', `${name}.pid`);
    await expect.poll(() => existsSync(started), { timeout: 60_000 }).toBe(true);
    program.kill(signal);
    expect(await exit).toBe(signal);
    await ended(Number(readFileSync(started, 'utf8')));
  };
  it.skipIf(process.platform === 'win32').each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    'when %s ends the program that runs it',
    { timeout: TIMEOUT },
    (signal) => ends(signal, 'await new Promise(() => {});')(),
  );
  it.skipIf(process.platform === 'win32')(
    'when the program is killed while the kernel computes and looks at nothing',
    { timeout: TIMEOUT },
    ends('SIGKILL', 'while (true) {}'),
  );
});

/** The runner as a program of its own: its modules without their types. */
function compiledRunner(folder: string): string {
  const out = join(folder, 'compiled');
  const sources = new Set(['notebooks/runner']);
  for (const source of sources) {
    const text = readFileSync(`src/${source}.ts`, 'utf8');
    // What is added is visited too.
    for (const [, imported] of text.matchAll(/from '(\.{1,2}\/.*)\.js'/g)) sources.add(posix.join(dirname(source), imported));
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    mkdirSync(dirname(join(out, source)), { recursive: true });
    writeFileSync(join(out, `${source}.js`), outputText);
  }
  writeFileSync(join(out, 'package.json'), JSON.stringify({ type: 'module' }));
  const main = join(out, 'main.js');
  writeFileSync(
    main,
    "import { runNotebook } from './notebooks/runner.js';\nawait runNotebook(process.argv[2], { kernelSpec: process.argv[3] });\n",
  );
  return main;
}
