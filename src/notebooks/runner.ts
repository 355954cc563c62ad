/**
 * Runs a notebook from top to bottom in a kernel of its own, without Python, and is hard to please.
 *
 * tslab never publishes an `error` message and calls a cell good whose timer threw or whose promise was rejected unseen, so a cell also fails
 * on a stack trace in stderr and when a kind of output is missing that it had when it was committed.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../platform/datasets.js';
import { type Kernel, KernelDied, type KernelOptions, startKernel } from './kernel.js';
import { type Cell, type CodeCell, joinText, type Notebook, type Output, readNotebook } from './notebook.js';
import { outputCollector } from './outputs.js';

export interface RunOptions {
  /** Seconds a cell may take before it is interrupted and the run fails. */
  readonly timeoutPerCell?: number;
  /** Aborting interrupts the cell, ends the kernel and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called before and after each code cell, and whenever its outputs change. */
  readonly onCell?: (progress: CellProgress) => void;
  /** Folder of the kernelspec; default see `findKernelSpec`. */
  readonly kernelSpec?: string;
  /** Gets what the kernel writes outside of cells; silent by default. */
  readonly onLog?: (text: string) => void;
  /** Environment variables for the kernel, beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** See `KernelOptions.transport`. */
  readonly transport?: KernelOptions['transport'];
}

export interface CellProgress {
  /** Which code cell, from 0, of how many. */
  readonly cell: number;
  readonly cells: number;
  readonly state: 'running' | 'output' | 'done' | 'skipped';
  /** First line of its source that is not an import or a comment. */
  readonly label: string;
  /** Since the cell started. */
  readonly seconds: number;
}

/** Why a run failed. `dead`: the kernel ended; `start`: it never answered; `stderr`: an error that tslab did not count as one. */
export type FailureKind = 'start' | 'error' | 'stderr' | 'missing output' | 'no exception' | 'dead' | 'timeout';

export class NotebookError extends Error {
  override readonly name = 'NotebookError';
  constructor(
    message: string,
    readonly path: string,
    readonly kind: FailureKind,
    /** Index in `notebook.cells`; -1 before the first cell. */
    readonly cell: number,
    /** With the outputs up to the failure. */
    readonly notebook: Notebook,
  ) {
    super(message);
  }
}

/**
 * Executes the code cells of the notebook at `path` in order and returns it executed; the file is left alone.
 *
 * Cell tags: `skip-execution` keeps a cell as it is, `raises-exception` demands an error and goes on, `varying-output` allows kinds of output to
 * be missing.
 *
 * @throws NotebookError with the real error text, the cell and the notebook so far.
 */
export async function runNotebook(path: string, options: RunOptions = {}): Promise<Notebook> {
  const { timeoutPerCell = 600, signal, onCell, kernelSpec = findKernelSpec(path), onLog, env, transport } = options;
  signal?.throwIfAborted();
  const committed = await readNotebook(path);
  const cells: Cell[] = committed.cells.map((cell) =>
    cell.cell_type === 'code' && !tagged(cell, 'skip-execution') ? { ...cell, outputs: [], execution_count: null } : cell,
  );
  const executed = (): Notebook => ({ ...committed, cells: [...cells] });
  const collector = outputCollector();
  let notify = (_cell: number) => {};
  const fail = (kind: FailureKind, cell: number, text: string): never => {
    const where = cell < 0 ? path : `${path}, cell ${codeIndex(cells, cell) + 1} ("${label(cells[cell])}")`;
    throw new NotebookError(`${where}: ${text}`, path, kind, cell, executed());
  };

  let kernel: Kernel;
  try {
    kernel = await startKernel(kernelSpec, {
      cwd: dirname(resolve(path)),
      onLog,
      env,
      transport,
      onMessage: (message) => {
        const cell = collector.receive(message);
        if (cell !== undefined) notify(cell);
      },
    });
  } catch (error) {
    return fail('start', -1, (error as Error).message);
  }

  const take = (index: number) => {
    cells[index] = { ...(cells[index] as CodeCell), outputs: collector.outputs(index) };
  };
  const aborted = abortion(signal);
  try {
    const total = cells.filter((cell) => cell.cell_type === 'code').length;
    let count = 0;
    for (const [index, cell] of cells.entries()) {
      if (cell.cell_type !== 'code') continue;
      const started = performance.now();
      const progress = (state: CellProgress['state']) =>
        onCell?.({ cell: codeIndex(cells, index), cells: total, state, label: label(cell), seconds: (performance.now() - started) / 1000 });
      if (tagged(cell, 'skip-execution') || joinText(cell.source).trim() === '') {
        progress('skipped');
        continue;
      }
      progress('running');
      notify = (changed) => changed === index && progress('output');
      const status = await executeCell(kernel, joinText(cell.source), {
        timeoutPerCell,
        aborted: aborted.promise,
        onSent: (id) => collector.expect(id, index),
      }).catch((error) => {
        take(index);
        if (error instanceof KernelDied) return fail('dead', index, `${error.message}${stderrOf(cells[index])}`);
        if (error instanceof CellTimeout)
          return fail('timeout', index, `ran longer than ${timeoutPerCell} s and was interrupted.${stderrOf(cells[index])}`);
        throw error;
      });
      cells[index] = { ...cell, outputs: collector.outputs(index), execution_count: ++count };
      const raised = status !== 'ok' || stderrError(cells[index]) !== undefined;
      if (tagged(cell, 'raises-exception')) {
        if (!raised) fail('no exception', index, 'is tagged raises-exception, but raised none.');
      } else if (status !== 'ok') fail('error', index, `failed.${stderrOf(cells[index])}`);
      progress('done');
    }
    // What timers and un-awaited promises still have to say.
    await Promise.race([sleep(250), kernel.died, aborted.promise]);
    for (const [index, cell] of cells.entries()) {
      if (cell.cell_type !== 'code' || tagged(cell, 'skip-execution')) continue;
      take(index);
      const error = stderrError(cells[index]);
      if (error && !tagged(cell, 'raises-exception')) fail('stderr', index, `counts as executed, but an error came to light:\n${error}`);
      const missing = missingKinds(committed.cells[index] as CodeCell, cells[index] as CodeCell);
      if (missing.length && !tagged(cell, 'varying-output')) {
        fail(
          'missing output',
          index,
          `had ${missing.join(', ')} among its outputs when it was committed, and now has none. If that is right, clear its outputs and commit it so.`,
        );
      }
    }
    return {
      ...executed(),
      metadata: { ...committed.metadata, language_info: (kernel.info as { language_info?: unknown }).language_info },
    };
  } finally {
    aborted.stop();
    await kernel.stop();
  }
}

/** `kernels/search-e1` in the nearest folder above `path`, above the working directory, or in the clone that this code is of. */
export function findKernelSpec(path: string): string {
  for (const start of [dirname(resolve(path)), process.cwd(), packageRoot()]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const spec = join(folder, 'kernels', 'search-e1');
      if (existsSync(join(spec, 'kernel.json'))) return spec;
      if (folder === dirname(folder)) break;
    }
  }
  throw new Error(
    `Found no kernels/search-e1 above ${path} or ${process.cwd()}: the installed package brings none; run inside a search-e1 checkout.`,
  );
}

class CellTimeout extends Error {}

interface ExecuteOptions {
  readonly timeoutPerCell: number;
  readonly aborted: Promise<never>;
  readonly onSent: (id: string) => void;
}

/** The reply's status, `ok` or `error`; rejects when the kernel dies, the time is over or the run is aborted, the cell being interrupted first. */
async function executeCell(kernel: Kernel, code: string, { timeoutPerCell, aborted, onSent }: ExecuteOptions): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new CellTimeout()), timeoutPerCell * 1000);
  });
  let over = false;
  const execute = async () => {
    let reply = await kernel.execute(code, onSent);
    // tslab runs nothing that arrives within some 200 ms of an error: send the cell again until it does.
    while (reply.content.status === 'abort') {
      await sleep(50);
      if (over) break;
      reply = await kernel.execute(code, onSent);
    }
    return reply;
  };
  const request = execute();
  try {
    const reply = await Promise.race([request, late, aborted]);
    return String(reply.content.status);
  } catch (error) {
    over = true;
    if (!(error instanceof KernelDied)) {
      // Its stack trace says where the time went; and what it holds it can still let go.
      kernel.interrupt();
      await Promise.race([request, sleep(2000)]).catch(() => {});
    }
    throw error;
  } finally {
    clearTimeout(timer);
    request.catch(() => {});
  }
}

function abortion(signal: AbortSignal | undefined): { promise: Promise<never>; stop: () => void } {
  let stop = () => {};
  const promise = new Promise<never>((_, reject) => {
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    stop = () => signal?.removeEventListener('abort', onAbort);
    if (signal?.aborted) onAbort();
  });
  promise.catch(() => {});
  return { promise, stop };
}

const tagged = (cell: Cell, tag: string) => cell.metadata?.tags?.includes(tag) ?? false;

const codeIndex = (cells: readonly Cell[], index: number) => cells.slice(0, index).filter((cell) => cell.cell_type === 'code').length;

function label(cell: Cell): string {
  const lines = joinText(cell.source)
    .split('\n')
    .map((line) => line.trim());
  const line = lines.find((text) => text !== '' && !/^(import\b|\/\/|\/\*|\*)/.test(text)) ?? lines.find((text) => text !== '') ?? '';
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

const textOf = (cell: Cell, name: 'stdout' | 'stderr') =>
  cell.cell_type === 'code'
    ? cell.outputs.map((output) => (output.output_type === 'stream' && output.name === name ? joinText(output.text) : '')).join('')
    : '';

function stderrOf(cell: Cell): string {
  const text = textOf(cell, 'stderr').trim();
  return text === '' ? '' : `\n${text}`;
}

/** What tslab prints for errors outside of a cell's own course, or an error with its stack, from there on. */
function stderrError(cell: Cell): string | undefined {
  const text = textOf(cell, 'stderr');
  const start = text.search(/^(UncaughtException|UnhandledPromiseRejection)\b|^.*\b\w*(Error|Exception)\b.*(\n.*){0,5}?\n\s+at .+:\d+/m);
  return start < 0 ? undefined : text.slice(start).trim();
}

/** Kinds of output (streams but stderr, mime types) that `before` has and `after` has not. */
function missingKinds(before: CodeCell, after: CodeCell): string[] {
  const kinds = (outputs: readonly Output[]) =>
    new Set(
      outputs.flatMap((output) =>
        output.output_type === 'stream' ? (output.name === 'stdout' ? ['stdout'] : []) : 'data' in output ? Object.keys(output.data) : [],
      ),
    );
  const now = kinds(after.outputs);
  return [...kinds(before.outputs)].filter((kind) => !now.has(kind));
}
