/**
 * What a command talks to: results on stdout, everything else on stderr, a signal that Ctrl-C aborts. Tests bring their own.
 *
 * Three ends that are not failures of the program have their own error classes; `program.ts` turns them into exit codes.
 */
export interface Io {
  /** Results only, so that `--json` output can be piped. */
  readonly stdout: OutputStream;
  /** Progress, notes, warnings, errors. */
  readonly stderr: OutputStream;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

/** As much of a `NodeJS.WriteStream` as is needed. */
export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** The user asked for something that cannot be: a message, no stack trace, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The command ran and found that something it was given is broken, and has said so on stdout: exit code 1. */
export class Failed extends Error {
  override readonly name = 'Failed';
}

/** Ctrl-C: what was kept and how to go on; exit code 130. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** Runs `work` on what `option` gave; what it throws is the user's to mend (a path that is not there, a file that does not parse). */
export async function givenBy<T>(option: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new UsageError(`${option}: ${inWords(error as NodeJS.ErrnoException)}`, { cause: error });
  }
}

/** What the operating system says of a path that somebody gave, for people. */
const OF_PATHS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'is a file, or lies in one, where a folder was expected',
  EEXIST: 'is there already, and is no folder',
  EISDIR: 'is a folder, where a file was expected',
  EACCES: 'this user may not read or write it',
};

const inWords = ({ code = '', path, message }: NodeJS.ErrnoException) =>
  path !== undefined && code in OF_PATHS ? `${path}: ${OF_PATHS[code]}` : message;

/**
 * Runs `work`; if the signal ends it, says what `afterwards` says: what was kept, and how to go on. `afterFailure` is what there is to say of that where it
 * fails by itself, such as when the graphics card is lost.
 */
export async function interruptible<T>(
  signal: AbortSignal,
  work: () => Promise<T>,
  afterwards: () => string,
  afterFailure?: (error: Error) => string,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw new Interrupted(afterwards(), { cause: error });
    if (!afterFailure || !(error instanceof Error) || error instanceof UsageError || error instanceof Failed) throw error;
    throw new Error(`${error.message}\n${afterFailure(error)}`, { cause: error });
  }
}

/** Colours only on a terminal, and never against NO_COLOR. */
export const wantsColour = (stream: OutputStream): boolean => stream.isTTY === true && !process.env.NO_COLOR;
