/**
 * A run on disk: `config.json`, `metrics.jsonl`, `trajectories.jsonl.gz`, `checkpoints/`, and `state.json`, which says how far the run is.
 *
 * Lines are appended first and the state is replaced last, in one rename. After a kill at any moment `state.json` names the last whole step: what was
 * appended after it is cut off on resume, so that the resumed run ends with the same files as an uninterrupted one.
 */
import { appendFile, mkdir, open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { replaceFile } from '../replace-file.js';
import type { Group } from '../rollout/trajectory.js';
import { isCheckpointName } from './stages.js';

/** How far a run is. */
export interface RunState {
  /** Stages that are finished, in order, such as `1-grpo`. */
  readonly finished: readonly string[];
  /** Steps done in the stage under way. */
  readonly step: number;
  /** Folder below `checkpoints/` with the weights as they are now; null at the very start. */
  readonly checkpoint: string | null;
  /** Lengths of the growing files, in bytes. */
  readonly bytes: Readonly<Record<string, number>>;
}

const GROWING = ['metrics.jsonl', 'trajectories.jsonl.gz'] as const;
const START: RunState = { finished: [], step: 0, checkpoint: null, bytes: {} };

export class RunFolder {
  private constructor(
    readonly path: string,
    private current: RunState,
  ) {}

  /**
   * Opens a new run, or an earlier one with `resume`.
   *
   * @throws Error when the folder holds a run and `resume` is not set, or was begun with another configuration.
   */
  static async open(path: string, config: unknown, { resume = false }: { readonly resume?: boolean } = {}): Promise<RunFolder> {
    await mkdir(join(path, 'checkpoints'), { recursive: true });
    const configText = `${JSON.stringify(config, null, 2)}\n`;
    const before = await readFile(join(path, 'config.json'), 'utf8').catch(() => null);
    if (before !== null && !resume) throw new Error(`${path} holds a run already: resume it with --resume, or choose another name`);
    if (before !== null && before !== configText)
      throw new Error(`${path} was begun with other settings (see its config.json): resume with the same ones, or choose another name`);
    if (before === null) await replaceFile(join(path, 'config.json'), configText);
    const state = await readState(join(path, 'state.json'));
    for (const name of GROWING) {
      const length = state.bytes[name] ?? 0;
      const found = await stat(join(path, name)).catch(() => null);
      if (found && found.size > length) await truncate(join(path, name), length);
      if (found ? found.size < length : length > 0)
        throw new Error(`${join(path, name)} is shorter than state.json says: it was changed after the run`);
    }
    await removeUncommitted(join(path, 'checkpoints'), state);
    return new RunFolder(path, state);
  }

  get state(): RunState {
    return this.current;
  }

  checkpoint(name: string): string {
    return join(this.path, 'checkpoints', name);
  }

  async addMetrics(stage: string, metrics: object): Promise<void> {
    await appendFile(join(this.path, 'metrics.jsonl'), `${JSON.stringify({ stage, ...metrics })}\n`);
  }

  /** Appends a gzip member a call: concatenated members are one valid gzip file. */
  async addTrajectories(stage: string, step: number, groups: readonly Group[]): Promise<void> {
    const lines = groups.flatMap(({ trajectories }) =>
      trajectories.map(({ question, own, logProbs, ...rest }) => {
        const compact = {
          stage,
          step,
          question: question.id,
          ...rest,
          own: own.map(Number).join(''),
          logProbs: logProbs.map((p) => Number(p.toPrecision(6))),
        };
        return `${JSON.stringify(compact)}\n`;
      }),
    );
    await appendFile(join(this.path, 'trajectories.jsonl.gz'), gzipSync(lines.join('')));
  }

  /** Says that everything written so far belongs together. The checkpoint that is no longer needed is removed. */
  async commit(progress: Pick<RunState, 'finished' | 'step' | 'checkpoint'>): Promise<void> {
    const bytes: Record<string, number> = {};
    for (const name of GROWING) {
      const path = join(this.path, name);
      const file = await open(path, 'r+').catch(() => null);
      if (!file) continue;
      await file.sync();
      bytes[name] = (await file.stat()).size;
      await file.close();
    }
    const before = this.current;
    this.current = { ...progress, bytes };
    await replaceFile(join(this.path, 'state.json'), `${JSON.stringify(this.current, null, 2)}\n`);
    const stale = before.checkpoint;
    if (stale && stale !== progress.checkpoint && !progress.finished.includes(stale))
      await rm(this.checkpoint(stale), { recursive: true, force: true });
  }

  /** The recorded metrics, oldest first. */
  async metrics(): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(this.path, 'metrics.jsonl'), 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }
}

async function readState(path: string): Promise<RunState> {
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return START;
  try {
    return JSON.parse(text) as RunState;
  } catch (error) {
    throw new Error(`${path} is not JSON (${(error as Error).message}): it was changed after the run; begin anew under another name`);
  }
}

/** Removes checkpoints of stages and steps that a kill left behind, half-written or no longer needed. Folders of other names are not ours. */
async function removeUncommitted(checkpoints: string, { finished, checkpoint }: RunState): Promise<void> {
  for (const name of await readdir(checkpoints)) {
    if (!isCheckpointName(name) || name === checkpoint || finished.includes(name)) continue;
    await rm(join(checkpoints, name), { recursive: true, force: true });
  }
}
