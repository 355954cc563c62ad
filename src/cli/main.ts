#!/usr/bin/env node
/** `search-e1` as a program: streams, signals and the exit code around `program.ts`. */
import type { Io } from './io.js';
import { main } from './program.js';

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // The listener stays: signal-exit (below listr2's renderer) kills the process where it finds itself alone with a signal.
  process.on(signal, () => {
    if (interrupt.signal.aborted) process.exit(130); // a second Ctrl-C ends the program at once
    interrupt.abort(new Error(`stopped by ${signal}`));
  });
}

/** Nothing but `main` decides how an error looks: emscripten's own listeners would print its whole source on stderr. */
function fatal(error: unknown): never {
  process.stderr.write(`search-e1: ${error instanceof Error ? (process.env.DEBUG ? error.stack : error.message) : String(error)}\n`);
  process.exit(1);
}
process.on('uncaughtException', fatal);
process.on('unhandledRejection', fatal);

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EPIPE' ? process.exit(0) : fatal(error)));

const io: Io = { stdout: process.stdout, stderr: process.stderr, signal: interrupt.signal };
main(process.argv.slice(2), io).then((code) => {
  process.exitCode = code;
}, fatal);
