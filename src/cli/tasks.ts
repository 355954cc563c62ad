/** Progress on stderr: a list of tasks, one after the other, by listr2. On a terminal it is redrawn in place; elsewhere every change is a line. */
import { stripVTControlCharacters } from 'node:util';
import { DefaultRenderer, Listr, ListrLogger, ProcessOutput, SimpleRenderer } from 'listr2';
import { printable } from '../display/printable.js';
import type { Io, OutputStream } from './io.js';

export interface Task {
  readonly title: string;
  /** What it resolves to, if anything, stands behind the title at the end. */
  readonly run: (note: Note) => Promise<string | undefined>;
}

/** How the task stands. Where lines cannot be written over, at most one in 5 seconds is shown, unless it says something `new`. */
export type Note = (text: string, options?: { readonly isNew?: boolean }) => void;

const SECONDS_BETWEEN_LINES = 5;

/** listr2 asks whether stdout is a terminal; what counts here is stderr, where the tasks are drawn. */
class TerminalRenderer extends DefaultRenderer {
  static override nonTTY = true;
}

/** Runs the tasks in order; the first that fails ends the run, with its own error. */
export async function runTasks(io: Io, tasks: readonly Task[]): Promise<void> {
  const terminal = io.stderr.isTTY === true && io.stderr.columns !== 0 && io.stdout.columns !== 0; // 0: a terminal without a size, as in containers
  const stream = (terminal ? io.stderr : plainText(io.stderr)) as NodeJS.WriteStream;
  const logger = new ListrLogger({ processOutput: new ProcessOutput(stream, stream), useIcons: true, toStderr: [] });
  const definitions = tasks.map(({ title, run }) => ({
    title,
    task: async (_: unknown, task: { output: string; title: string }) => {
      let shownAt = performance.now();
      const note: Note = (text, { isNew = false } = {}) => {
        const now = performance.now();
        if (!isNew && now - shownAt < (terminal ? 50 : SECONDS_BETWEEN_LINES * 1000)) return;
        shownAt = now;
        task.output = printable(text);
      };
      const outcome = await run(note);
      if (outcome) task.title = printable(`${title}: ${outcome}`);
    },
  }));
  const options = { concurrent: false, exitOnError: true, registerSignalListeners: false } as const;
  const list = terminal
    ? new Listr(definitions, { ...options, renderer: TerminalRenderer, rendererOptions: { logger, showErrorMessage: false } })
    : new Listr(definitions, { ...options, renderer: SimpleRenderer, rendererOptions: { logger } });
  await list.run();
}

/** The stream without colours. */
function plainText(stream: OutputStream): OutputStream {
  return { write: (text: string) => stream.write(stripVTControlCharacters(text)) };
}
