/**
 * The break between two pieces of work, in which progress, searches, displays and interrupts come through.
 *
 * It is also where an interrupt does no harm. What a notebook's cell does before its first `await` runs under a watchdog (vm's breakOnSigint), which at SIGINT
 * ends it wherever it is: no `finally` runs, so TensorFlow.js stays inside an operation and on a gradient's tape for good. After a turn of the
 * event loop there is no watchdog, and SIGINT is an event like others: work begins with a turn, and so is never cut.
 */
import * as tf from '@tensorflow/tfjs-core';
import { laterTurn } from '../platform/later-turn.js';

/** Resolves in a later turn of the event loop. */
export async function nextTurn(): Promise<void> {
  await laterTurn();
  // Operations and gradients end in the turn they begin in: one that is still open now was cut in a cell that called TensorFlow.js by itself.
  Object.assign(tf.engine().state, { kernelDepth: 0, gradientDepth: 0, activeTape: null });
}
