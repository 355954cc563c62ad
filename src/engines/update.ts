/**
 * One change of a policy's weights after the other.
 *
 * A loop that is interrupted finishes what cannot be left half done, after a notebook has ended its cell: whatever the next cell starts waits until the weights
 * are settled. Otherwise two loops would add up their gradients, and episodes would begin under one policy and end under another.
 */
import { nextTurn } from '../tensors/next-turn.js';
import type { Engine } from './engine.js';

const latest = new WeakMap<Engine, Promise<unknown>>();

/** Waits until nobody changes the engine's weights any more. Not to be awaited within an update: that would wait for itself. */
export async function settled(engine: Engine): Promise<void> {
  let done: Promise<unknown> | undefined;
  do {
    done = latest.get(engine);
    await done?.catch(() => {}); // whoever began it hears of it
    await nextTurn(); // and acts on it: an adapter may have to come off
  } while (latest.get(engine) !== done);
}

/** Runs what changes the engine's weights, once those before it are done. */
export async function update<T>(engine: Engine, change: () => Promise<T>): Promise<T> {
  const before = latest.get(engine);
  const done = (async () => {
    await before?.catch(() => {});
    return change();
  })();
  latest.set(engine, done);
  return done;
}
