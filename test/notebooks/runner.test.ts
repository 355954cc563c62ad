import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { beforeAll, describe, expect, it } from 'vitest';
import { startKernel } from '../../src/notebooks/kernel.js';
import { type CodeCell, joinText, type Notebook, readNotebook } from '../../src/notebooks/notebook.js';
import { NotebookError, type RunOptions, runNotebook } from '../../src/notebooks/runner.js';
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

  it('gets its working directory and TypeScript root from the launcher, whatever folder it lies in', { timeout: TIMEOUT }, async () => {
    expect(stdout(await run(['process.cwd()']), 0).trim()).toBe(root);
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
  const readPid = (name: string) => Number(readFileSync(join(root, name), 'utf8'));

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

  it.skipIf(process.platform === 'win32').each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    'when %s ends the program that runs it',
    { timeout: TIMEOUT },
    async (signal) => {
      // A loop that lets timers run: the launcher's look after its parent, the last resort when the parent is killed, is one.
      const path = writeCells(root, signal, [`${writePid(`${signal}.pid`)} await new Promise(() => {});`]);
      const program = spawn(process.execPath, [compiledRunner(root), path, kernelSpec], {
        env: { ...process.env, SEARCH_E1_ROOT: root },
        stdio: 'ignore',
      });
      const exit = new Promise((resolve) => program.once('exit', (_, by) => resolve(by)));
      await expect.poll(() => existsSync(join(root, `${signal}.pid`)), { timeout: 60_000 }).toBe(true);
      program.kill(signal);
      expect(await exit).toBe(signal);
      await ended(readPid(`${signal}.pid`));
    },
  );
});

/** The runner as a program of its own: its modules without their types. */
function compiledRunner(folder: string): string {
  const out = join(folder, 'compiled');
  for (const source of [
    'notebooks/notebook',
    'notebooks/outputs',
    'notebooks/wire',
    'notebooks/kernel',
    'notebooks/runner',
    'display/optional-package',
  ]) {
    const { outputText } = ts.transpileModule(readFileSync(`src/${source}.ts`, 'utf8'), {
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
