/**
 * AdamW's moments beside what they belong to, a checkpoint or an adapter: `optimizer.safetensors` holds `<variable>.first` and `<variable>.second`, and
 * the number of steps taken in its metadata. No other program reads it. There is none before the first step, where all moments are 0.
 */

import { assertFinite } from '../non-finite.js';
import { isThere, join } from '../platform/files.js';
import type { AdamWState } from '../tensors/adamW.js';
import { listed, NOT_SAVED, openSafetensors, type StoredTensor, writeSafetensors } from './safetensors.js';

export const OPTIMIZER_FILE = 'optimizer.safetensors';

/** What is trained: variables by name, as `Policy.trainable` has them. */
type Trained = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** Writes the moments of `trained` into a folder; nothing where no step was taken. */
export async function writeOptimizer(folder: string, state: AdamWState | null, trained: Trained): Promise<void> {
  if (!state || state.steps === 0) return;
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { shape }] of trained) {
    for (const part of ['first', 'second'] as const) {
      const values = state[part][name];
      assertFinite(`the ${part} moment of ${name}`, values, NOT_SAVED);
      tensors.set(`${name}.${part}`, { values, shape });
    }
  }
  await writeSafetensors(join(folder, OPTIMIZER_FILE), tensors, { steps: String(state.steps) });
}

/**
 * The moments in a folder; null where there are none (a base model, a merged policy, no step taken).
 *
 * @param trained what they are to belong to
 * @throws Error listing what is missing, unknown or of another shape; NonFiniteError
 */
export async function loadOptimizer(folder: string, trained: Trained): Promise<AdamWState | null> {
  const path = join(folder, OPTIMIZER_FILE);
  if (!(await isThere(path))) return null;
  const file = await openSafetensors(path);
  try {
    const steps = Number(file.metadata.steps);
    if (!Number.isSafeInteger(steps) || steps < 1)
      throw new Error(`${path}: metadata "steps" is ${file.metadata.steps}, expected the number of steps taken`);
    const first: Record<string, Float32Array> = {};
    const second: Record<string, Float32Array> = {};
    const unknown = new Set(file.records.keys());
    const problems: string[] = [];
    for (const [name, { shape }] of trained) {
      for (const part of ['first', 'second']) {
        const moment = `${name}.${part}`;
        const found = file.records.get(moment);
        unknown.delete(moment);
        if (!found) problems.push(`${moment} is missing (shape [${shape}])`);
        else if (`${found.shape}` !== `${shape}`) problems.unshift(`${moment} has shape [${found.shape}], what is trained has [${shape}]`);
      }
    }
    for (const name of unknown) problems.unshift(`${name} is no moment of what is trained`);
    if (problems.length) throw new Error(`${path} does not fit:\n${listed(problems)}`);
    for (const name of trained.keys()) {
      first[name] = await file.read(`${name}.first`);
      second[name] = await file.read(`${name}.second`);
      assertFinite(`${path}: ${name}.first`, first[name]);
      assertFinite(`${path}: ${name}.second`, second[name]);
      const negative = second[name].findIndex((value) => value < 0);
      if (negative >= 0)
        throw new Error(`${path}: ${name}.second: element ${negative} is ${second[name][negative]}, a mean of squares is at least 0`);
    }
    return { steps, first, second };
  } finally {
    await file.close();
  }
}
