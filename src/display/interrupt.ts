/**
 * Stopping a loop when the reader interrupts the kernel (or presses Ctrl-C).
 *
 * tslab ends an interrupted cell at once, but what the cell awaits goes on: a training loop would keep running, and printing, under later cells.
 */
import { inNotebook } from './bundle.js';

let current: AbortController | undefined;

/**
 * A signal that aborts at the next SIGINT; to be given to loops, `await grpo({ ..., signal: interruptSignal() })`.
 *
 * All calls before an interrupt share one signal; the next call after it gets a fresh one. In a terminal a second Ctrl-C ends the program.
 *
 * @example
 * ```ts
 * import { interruptSignal } from 'search-e1/display';
 *
 * const signal = interruptSignal(); // aborted when the notebook's cell is interrupted
 * signal.aborted; // false
 * ```
 */
export function interruptSignal(): AbortSignal {
  if (!current) {
    const controller = new AbortController();
    current = controller;
    const onInterrupt = () => {
      current = undefined;
      process.off('SIGINT', onInterrupt);
      controller.abort(new Interrupted(inNotebook() ? 'The reader interrupted the cell.' : 'Interrupted.'));
    };
    // Not at once: Node runs a cell's synchronous part under a watchdog of its own (vm's breakOnSigint), which, when it ends, undoes a
    // listener added meanwhile, so that the next SIGINT would kill the kernel.
    setImmediate(() => process.on('SIGINT', onInterrupt));
  }
  return current.signal;
}

/** What an aborted signal throws: named as the platform names it, so that callers can tell it from a failure. */
class Interrupted extends Error {
  override readonly name = 'AbortError';
}
