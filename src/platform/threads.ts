/** Starting threads: in Node `worker_threads`. In a browser `threads.browser.ts` takes this file's place. */
import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';

/** A thread that runs until it is ended. */
export interface Thread {
  end(): void;
}

/** Threads that can run at once. */
export const processors = (): number => availableParallelism();

/** Why there are no threads beside this one; undefined where there are. */
export const noThreads = (): string | undefined => undefined;

/**
 * Starts a thread that keeps no process alive.
 *
 * @param program the text of a function of `data` that refers to nothing outside itself: so it needs no file, and bundlers, CommonJS and notebooks all find it
 * @param onError where the thread ends by an error
 */
export function startThread(program: string, data: unknown, onError: (error: Error) => void): Thread {
  const worker = new Worker(`(${program})(require('node:worker_threads').workerData)`, { eval: true, execArgv: [], workerData: data });
  worker.on('error', onError);
  worker.unref();
  return { end: () => void worker.terminate() };
}

/** Says what a user should know and that stops nothing. */
export const warn = (text: string): void => process.emitWarning(text);

/** Node 20 has relaxed SIMD behind a flag; later ones have it on and do not know the flag. */
export const allowRelaxedSimd = (): void => setFlagsFromString('--experimental-wasm-relaxed-simd');
