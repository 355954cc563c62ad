/**
 * A run on disk: `config.json`, `metrics.jsonl`, `evaluations.jsonl`, `trajectories.jsonl.gz`, `pairs/`, `checkpoints/`, and `state.json`, which says how far
 * the run is.
 *
 * Lines are appended first and the state is replaced last, in one rename. After a kill at any moment `state.json` names the last whole step: what was
 * appended after it is cut off on resume, so that the resumed run ends with the same files as an uninterrupted one. The state holds the SHA-256 of every file
 * that is read again, and its own: what was damaged since is refused by its name. One process at a time writes to a run (`run-owner.ts`).
 */
import { createHash, type Hash } from 'node:crypto';
import { appendFile, open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, gzipSync } from 'node:zlib';
import type { Evaluation } from '../evolution/evaluation.js';
import type { MadePairs } from '../evolution/pairs.js';
import type { Run, RunProgress } from '../evolution/run.js';
import { isCheckpointName } from '../evolution/stages.js';
import { makeFolder } from '../platform/make-folder.js';
import { replaceFile } from '../platform/replace-file.js';
import type { Group } from '../rollout/trajectory.js';
import { fileSum, folderSums, hashOf } from './checksums.js';
import { RunOwner } from './run-owner.js';

/** How far a run is, and what its files hold. */
export interface RunState extends RunProgress {
  /** Lengths of the growing files, in bytes. */
  readonly bytes: Readonly<Record<string, number>>;
  /** SHA-256 of the growing files up to these lengths, and of every file of the pairs and checkpoints that are kept, by path below the run. */
  readonly sha256?: Readonly<Record<string, string>>;
}

/** Options of `RunFolder.open`. */
export interface OpenRunOptions {
  /** Go on with the run that is there, or begin one where there is none. Default false: a folder that holds a run is refused. */
  readonly resume?: boolean;
  /** Keys of the configuration, at any depth, that may say something else than when the run was begun: `['rounds']` lets it be extended. */
  readonly mayChange?: readonly string[];
}

const GROWING = ['metrics.jsonl', 'evaluations.jsonl', 'trajectories.jsonl.gz'] as const;
type Growing = (typeof GROWING)[number];
const START: RunState = { finished: [], step: 0, checkpoint: null, bytes: {} };

/** A growing file as it is now. */
interface Grown {
  readonly hash: Hash;
  readonly bytes: number;
}

/**
 * A run on a disk: `config.json`, `metrics.jsonl`, `evaluations.jsonl`, `trajectories.jsonl.gz`, `pairs/`, `checkpoints/`, and `state.json`, which says how
 * far it is.
 *
 * Lines are appended first and the state is replaced last, in one rename, so that after a kill at any moment the run goes on from the last `commit`. The
 * state holds the SHA-256 of every file that is read again: what was damaged since is refused by its name. One process at a time writes to a run. What is to
 * be written after the run was closed, or taken over by another process, is refused with an Error.
 *
 * @example
 * ```ts
 * import { mkdtempSync } from 'node:fs';
 * import { tmpdir } from 'node:os';
 * import { RunFolder } from 'search-e1/runs';
 *
 * const run = await RunFolder.open(`${mkdtempSync(`${tmpdir()}/runs-`)}/first`, { seed: 1 });
 * await run.addMetrics('1-grpo', { step: 1, 'reward/mean': 0.25 });
 * await run.commit({ finished: [], step: 1, checkpoint: null });
 * await run.metrics(); // [ { stage: '1-grpo', step: 1, 'reward/mean': 0.25 } ]
 * await run.close();
 * const again = await RunFolder.open(run.path, { seed: 1 }, { resume: true });
 * again.state.step; // 1
 * ```
 */
export class RunFolder implements Run {
  private constructor(
    /** Its folder. */
    readonly path: string,
    private current: RunState,
    private readonly owner: RunOwner,
    private readonly grown: Map<Growing, Grown>,
  ) {}

  /**
   * Opens a new run, or an earlier one with `resume`. It belongs to this process until `close` or the end of the process; opened again in this process, the
   * earlier opening can write no more. What was written after the last commit is cut off, and checkpoints that it does not name are removed.
   *
   * @param config what the run is told, in JSON: on `resume` it has to be the same, but for the keys of `mayChange`
   * @throws Error when the folder holds a run and `resume` is not set, was begun with another configuration, is worked on by another process, or was damaged
   */
  static async open(path: string, config: unknown, { resume = false, mayChange = [] }: OpenRunOptions = {}): Promise<RunFolder> {
    const configText = `${JSON.stringify(config, null, 2)}\n`;
    const check = async () => {
      const before = await readFile(join(path, 'config.json'), 'utf8').catch(() => null);
      if (before !== null && !resume) throw new Error(`${path} holds a run already: resume it with --resume, or choose another name`);
      if (before !== null && without(before, mayChange, path) !== without(configText, mayChange, path))
        throw new Error(`${path} was begun with other settings (see its config.json): resume with the same ones, or choose another name`);
      return before;
    };
    await check();
    await makeFolder(join(path, 'checkpoints'));
    const owner = await RunOwner.take(path);
    try {
      const before = await check(); // another process may have begun one meanwhile
      if (before !== configText) await replaceFile(join(path, 'config.json'), configText);
      const state = await readState(path);
      const grown = new Map<Growing, Grown>();
      for (const name of GROWING) grown.set(name, await cut(path, name, state));
      await verify(path, state);
      await removeUncommitted(join(path, 'checkpoints'), state);
      if (state === START) await writeState(path, START);
      return new RunFolder(path, state, owner, grown);
    } catch (error) {
      await owner.release();
      throw error;
    }
  }

  /** How far the run is, as of the last commit. */
  get state(): RunState {
    return this.current;
  }

  /** Folder of the checkpoint of this name, such as `1-grpo`: for `Engine.save` and `load`. */
  checkpoint(name: string): string {
    return join(this.path, 'checkpoints', name);
  }

  /** Appends a line of numbers of a stage. */
  async addMetrics(stage: string, metrics: object): Promise<void> {
    await this.#append('metrics.jsonl', `${JSON.stringify({ stage, ...metrics })}\n`);
  }

  /** Appends what an evaluation after a stage found: a line a question and way of decoding. */
  async addEvaluation(stage: string, evaluation: Evaluation): Promise<void> {
    const lines = (['greedy', 'sampled'] as const).flatMap((decoding) =>
      evaluation[decoding].map((record) => `${JSON.stringify({ stage, decoding, ...record })}\n`),
    );
    await this.#append('evaluations.jsonl', lines.join(''));
  }

  /** Appends the episodes of a step, a line each, compressed. A call appends a gzip member: concatenated members are one valid gzip file. */
  async addTrajectories(stage: string, step: number, groups: readonly Group[]): Promise<void> {
    const lines = groups.flatMap(({ trajectories }) =>
      trajectories.map(({ question, own, logProbs, ...rest }) => {
        const { id, dataset, question: text, goldenAnswers } = question;
        const compact = {
          stage,
          step,
          question: { id, dataset, question: text, golden_answers: goldenAnswers },
          ...rest,
          own: own.map(Number).join(''),
          logProbs: logProbs.map((p) => Number(p.toPrecision(6))),
        };
        return `${JSON.stringify(compact)}\n`;
      }),
    );
    await this.#append('trajectories.jsonl.gz', gzipSync(lines.join('')));
  }

  /** Keeps a stage's pairs, with the attempts that they are made of, and their teacher check; they count once they are committed. */
  async keepPairs(stage: string, made: MadePairs): Promise<void> {
    await this.owner.assertHeld();
    await makeFolder(join(this.path, 'pairs'));
    await replaceFile(join(this.path, pairsFile(stage)), gzipSync(JSON.stringify(made)));
  }

  /** A stage's pairs as they were kept; null where they were not committed. */
  async pairs(stage: string): Promise<MadePairs | null> {
    if (this.current.pairs !== stage) return null;
    const packed = await readFile(join(this.path, pairsFile(stage)));
    return JSON.parse((await promisify(gunzip)(packed)).toString()) as MadePairs;
  }

  /** Says that everything written so far belongs together. The checkpoint that is no longer needed is removed, once the new one is on the disk. */
  async commit(progress: RunProgress): Promise<void> {
    await this.owner.assertHeld();
    const bytes: Record<string, number> = {};
    const sha256: Record<string, string> = {};
    for (const [name, grown] of this.grown) {
      const path = join(this.path, name);
      const file = await open(path, 'r+').catch(() => null);
      if (!file) continue;
      try {
        await file.sync();
        const { size } = await file.stat();
        if (size !== grown.bytes) throw new Error(`${path} has ${size} bytes, ${grown.bytes} were written: another program writes to it`);
      } finally {
        await file.close();
      }
      bytes[name] = grown.bytes;
      sha256[name] = grown.hash.copy().digest('hex');
    }
    const before = this.current;
    const kept = new Set([...progress.finished, ...(progress.checkpoint ? [progress.checkpoint] : [])]);
    for (const name of kept) {
      const below = `checkpoints/${name}/`;
      const known = Object.entries(before.sha256 ?? {}).filter(([path]) => path.startsWith(below));
      const sums = known.length ? known : Object.entries(await folderSums(this.checkpoint(name))).map(([file, sum]) => [below + file, sum]);
      Object.assign(sha256, Object.fromEntries(sums));
    }
    if (progress.pairs) {
      const path = pairsFile(progress.pairs);
      sha256[path] = before.sha256?.[path] ?? (await fileSum(join(this.path, path)));
    }
    const { finished, step, checkpoint, pairs } = progress;
    this.current = { finished, step, checkpoint, ...(pairs && { pairs }), bytes, sha256 };
    await writeState(this.path, this.current);
    const stale = before.checkpoint;
    if (stale && stale !== progress.checkpoint && !progress.finished.includes(stale))
      await rm(this.checkpoint(stale), { recursive: true, force: true });
  }

  /** The recorded metrics, oldest first. */
  async metrics(): Promise<Record<string, unknown>[]> {
    return readLines(join(this.path, 'metrics.jsonl'));
  }

  /** What every evaluation found, question by question, by stage. */
  async evaluations(): Promise<Map<string, Evaluation>> {
    type Line = Evaluation['greedy'][number] & { readonly stage: string; readonly decoding: keyof Evaluation };
    const byStage = new Map<string, { greedy: Line[]; sampled: Line[] }>();
    for (const line of (await readLines(join(this.path, 'evaluations.jsonl'))) as unknown as Line[]) {
      const found = byStage.get(line.stage) ?? { greedy: [], sampled: [] };
      byStage.set(line.stage, found);
      found[line.decoding].push(line);
    }
    return byStage;
  }

  /** Gives the run back, for another process to go on with. Nothing can be written afterwards. */
  async close(): Promise<void> {
    await this.owner.release();
    this.grown.clear();
  }

  async #append(name: Growing, data: string | Uint8Array): Promise<void> {
    await this.owner.assertHeld();
    const grown = this.grown.get(name);
    if (!grown) throw new Error(`${this.path} was closed: open it again to go on`);
    const chunk = Buffer.from(data as Uint8Array);
    await appendFile(join(this.path, name), chunk);
    this.grown.set(name, { hash: grown.hash.update(chunk), bytes: grown.bytes + chunk.length });
  }
}

const pairsFile = (stage: string): string => `pairs/${stage}.json.gz`;

async function readLines(path: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line, i) => {
    if (!line) return [];
    try {
      return [JSON.parse(line) as Record<string, unknown>];
    } catch (error) {
      throw new Error(`${path}, line ${i + 1} is not JSON (${(error as Error).message})`);
    }
  });
}

/** The configuration's text but for what may change. */
function without(text: string, keys: readonly string[], path: string): string {
  try {
    return JSON.stringify(JSON.parse(text), (key, value: unknown) => (keys.includes(key) ? undefined : value));
  } catch (error) {
    throw new Error(`${join(path, 'config.json')} is not JSON (${(error as Error).message}): it was damaged after the run was begun`);
  }
}

const REMEDY = 'it was changed or damaged after it was written; restore it from a copy, or begin anew under another name';

async function readState(path: string): Promise<RunState> {
  const file = join(path, 'state.json');
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) {
    for (const name of GROWING)
      if (await stat(join(path, name)).catch(() => null))
        throw new Error(`${file} is missing, though ${name} is there: restore it from a copy, or begin anew under another name`);
    return START;
  }
  let parsed: RunState & { readonly sum?: string };
  try {
    parsed = JSON.parse(text) as typeof parsed;
  } catch (error) {
    throw new Error(`${file} is not JSON (${(error as Error).message}): ${REMEDY}`);
  }
  const { sum, ...state } = parsed ?? {};
  if (sum !== sumOf(state)) throw new Error(`${file} does not bear its own checksum: ${REMEDY}`);
  return state;
}

const sumOf = (state: object): string => createHash('sha256').update(JSON.stringify(state)).digest('hex');

const writeState = (path: string, state: RunState): Promise<void> =>
  replaceFile(join(path, 'state.json'), `${JSON.stringify({ ...state, sum: sumOf(state) }, null, 2)}\n`);

/** Cuts a growing file to what was committed. */
async function cut(path: string, name: Growing, { bytes, sha256 }: RunState): Promise<Grown> {
  const file = join(path, name);
  const length = bytes[name] ?? 0;
  const found = await stat(file).catch(() => null);
  if (found ? found.size < length : length > 0)
    throw new Error(`${file} is shorter than state.json says (${found?.size ?? 0} bytes of ${length}): ${REMEDY}`);
  const hash = found ? await hashOf(file, length) : createHash('sha256');
  const expected = sha256?.[name];
  if (expected && hash.copy().digest('hex') !== expected) throw new Error(`${file} is not what was written to it: ${REMEDY}`);
  if (found && found.size > length) await truncate(file, length);
  return { hash, bytes: length };
}

/** Whether pairs and checkpoints are what was written. */
async function verify(path: string, { sha256 = {} }: RunState): Promise<void> {
  for (const [name, expected] of Object.entries(sha256)) {
    if ((GROWING as readonly string[]).includes(name)) continue;
    const file = join(path, ...name.split('/'));
    const sum = await fileSum(file).catch((error: NodeJS.ErrnoException) => {
      throw new Error(error.code === 'ENOENT' ? `${file} is missing: ${REMEDY}` : `${file} cannot be read (${error.message}): ${REMEDY}`);
    });
    if (sum !== expected) throw new Error(`${file} is not what was written to it: ${REMEDY}`);
  }
}

/** Removes checkpoints of stages and steps that a kill left behind, half-written or no longer needed. Folders of other names are not ours. */
async function removeUncommitted(checkpoints: string, { finished, checkpoint }: RunState): Promise<void> {
  for (const name of await readdir(checkpoints)) {
    if (!isCheckpointName(name) || name === checkpoint || finished.includes(name)) continue;
    await rm(join(checkpoints, name), { recursive: true, force: true });
  }
}
