/** A command run in this process: its streams, kept, and its exit code. */
import type { Io } from '../../src/cli/io.js';
import { main } from '../../src/cli/program.js';

export interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `search-e1 ...args`. Once `interruptAt` is seen on stderr the signal is aborted, as by Ctrl-C. */
export async function searchE1(args: readonly (string | number)[], { interruptAt }: { readonly interruptAt?: RegExp } = {}): Promise<Run> {
  const kept = { stdout: '', stderr: '' };
  const interrupt = new AbortController();
  const io: Io = {
    stdout: { write: (text) => (kept.stdout += text) },
    stderr: {
      write(text) {
        kept.stderr += text;
        if (interruptAt?.test(kept.stderr)) interrupt.abort(new Error('stopped by the test'));
      },
    },
    signal: interrupt.signal,
  };
  const code = await main(args.map(String), io);
  return { code, ...kept };
}

/** The JSON on stdout of a run that must have gone well. */
export async function json<T = Record<string, unknown>>(args: readonly (string | number)[]): Promise<T> {
  const { code, stdout, stderr } = await searchE1([...args, '--json']);
  if (code !== 0) throw new Error(`search-e1 ${args.join(' ')} exited with ${code}:\n${stderr}`);
  return JSON.parse(stdout) as T;
}
