/**
 * A pretraining run that is under way, on disk: `<out>/unfinished-pretraining/` with `state.json` and the checkpoint of the step that it speaks of.
 *
 * A checkpoint is written whole, into a folder of its own; then the state is replaced, in one rename; then the checkpoint before it goes. A kill at any
 * moment leaves the earlier state with its checkpoint or the later one with its own, and besides them only what the next save clears away.
 */
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../platform/make-folder.js';
import { replaceFile } from '../platform/replace-file.js';
import type { ComputedOn } from '../tensors/backend.js';
import type { PretrainMetrics, PretrainSettings } from './pretrain.js';

/** All that a run needs to go on, beside its checkpoint. */
export interface UnfinishedRun {
  readonly settings: PretrainSettings;
  /** The checkpoint that it was begun from; none: random weights. */
  readonly from?: string;
  /** What it was begun on. On another the numbers are others. */
  readonly backend: ComputedOn;
  /** The last step that was done; null before the first. */
  readonly last: PretrainMetrics | null;
  /** Lines of `training.jsonl` so far. */
  readonly recorded: readonly PretrainMetrics[];
  /** Spent on training so far. */
  readonly seconds: number;
}

/** The folder in `out` where a run is while it is under way. */
export const UNFINISHED = 'unfinished-pretraining';

const folderOf = (out: string): string => join(out, UNFINISHED);

/** Where the weights and the optimiser of a run's last step are. */
export const unfinishedCheckpoint = (out: string, { last }: Pick<UnfinishedRun, 'last'>): string =>
  join(folderOf(out), last ? `phase-${last.phase}-step-${last.step}` : 'start');

/**
 * The run that `out` holds unfinished; null where there is none. What a kill left of a run that had ended or was given up is cleared away.
 *
 * @throws Error when its state is not JSON
 */
export async function openUnfinished(out: string): Promise<UnfinishedRun | null> {
  const path = join(folderOf(out), 'state.json');
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) {
    await discardUnfinished(out);
    return null;
  }
  try {
    return JSON.parse(text) as UnfinishedRun;
  } catch (error) {
    throw new Error(`${path} is not JSON (${(error as Error).message}): it was changed after the run; begin anew in another folder`);
  }
}

/**
 * Replaces what is kept of a run by where it is now, which must be further than what is kept; `save` writes weights and optimiser into the folder it is given.
 */
export async function keepUnfinished(out: string, run: UnfinishedRun, save: (folder: string) => Promise<void>): Promise<void> {
  const checkpoint = unfinishedCheckpoint(out, run);
  await rm(checkpoint, { recursive: true, force: true }); // half of it may be there, from a process that was killed
  await makeFolder(folderOf(out));
  await save(checkpoint);
  await replaceFile(join(folderOf(out), 'state.json'), `${JSON.stringify(run)}\n`);
  for (const name of await readdir(folderOf(out))) {
    const path = join(folderOf(out), name);
    if (path !== checkpoint && name !== 'state.json') await rm(path, { recursive: true, force: true });
  }
}

/** Ends a run: what `write` leaves in the folder it is given moves to `out`, file by file, and the rest goes. After a kill in the middle the run is still there, to be ended again. */
export async function finishUnfinished(out: string, write: (folder: string) => Promise<void>): Promise<void> {
  const finished = join(folderOf(out), 'finished');
  await rm(finished, { recursive: true, force: true });
  await makeFolder(finished);
  await write(finished);
  for (const name of await readdir(finished)) await rename(join(finished, name), join(out, name));
  await discardUnfinished(out);
}

/** Gives a run up. The state goes first: without it the rest is nothing that could be resumed. */
export async function discardUnfinished(out: string): Promise<void> {
  await rm(join(folderOf(out), 'state.json'), { force: true });
  await rm(folderOf(out), { recursive: true, force: true });
}
