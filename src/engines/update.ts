/**
 * One change of a policy's weights after the other.
 *
 * A loop that is interrupted finishes what cannot be left half done, after a notebook has ended its cell: whatever the next cell starts waits until the weights
 * are settled. Otherwise two loops would add up their gradients, and episodes would begin under one policy and end under another.
 */
import { laterTurn } from '../platform/later-turn.js';

/**
 * The changes of one engine's weights, in a row. The engine carries it, so that whoever wraps the engine stands in the same row.
 *
 * @example
 * ```ts
 * import { Updates } from 'search-e1/engines';
 *
 * const updates = new Updates(); // for an engine of your own; a wrapper passes on those of the engine in it
 * const order: number[] = [];
 * void updates.run(async () => order.push(1));
 * await updates.run(async () => order.push(2));
 * order; // [ 1, 2 ]
 * ```
 */
export class Updates {
  #latest?: Promise<unknown>;

  /** Runs a change, once those before it are done. */
  run<T>(change: () => Promise<T>): Promise<T> {
    const before = this.#latest;
    const done = (async () => {
      await before?.catch(() => {}); // whoever began it hears of it
      return change();
    })();
    this.#latest = done;
    return done;
  }

  /** Waits until nobody changes the weights any more. */
  async settled(): Promise<void> {
    let done: Promise<unknown> | undefined;
    do {
      done = this.#latest;
      await done?.catch(() => {}); // whoever began it hears of it
      await laterTurn(); // and acts on it: an adapter may have to come off
    } while (this.#latest !== done);
  }
}

/** As much of an engine as is needed to stand in its row. */
interface InRow {
  readonly updates: Updates;
}

/** Waits until nobody changes the engine's weights any more. Not to be awaited within an update: that would wait for itself. */
export const settled = (engine: InRow): Promise<void> => updatesOf(engine).settled();

/** Runs what changes the engine's weights, once those before it are done. */
export const update = <T>(engine: InRow, change: () => Promise<T>): Promise<T> => updatesOf(engine).run(change);

function updatesOf({ updates }: InRow): Updates {
  if (!updates)
    throw new TypeError('the engine has no `updates`: a wrapper passes on those of the engine in it, another engine has `new Updates()`');
  return updates;
}
