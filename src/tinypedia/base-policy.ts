/** The committed base policy: how it is opened, and how it was made. */

import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkObject, checkPath } from '../arguments.js';
import { inProcessEngine } from '../engines/in-process.js';
import { datasetPath } from '../platform/datasets.js';
import { loadPolicy, savePolicy } from '../policy/checkpoint.js';
import { Policy } from '../policy/policy.js';
import { loadTokenizer } from '../policy/tokenizer.js';
import { random } from '../random.js';
import { type BackendReport, computedOn } from '../tensors/backend.js';
import {
  basePolicyConfig,
  type PretrainMetrics,
  type PretrainSettings,
  pretrain,
  pretrainSettings,
  stepsDone,
  stepsOf,
} from './pretrain.js';
import { discardUnfinished, finishUnfinished, keepUnfinished, openUnfinished, unfinishedCheckpoint } from './unfinished.js';

/**
 * Folder of the committed base policy, a Hugging Face checkpoint with its tokenizer.
 *
 * @example
 * ```ts
 * import { basename } from 'node:path';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * basename(basePolicyFolder()); // 'base-policy'
 * ```
 */
export const basePolicyFolder = (): string => datasetPath('tinypedia', 'base-policy');

/** Optimiser steps between two states that are kept on disk: well under a minute of work that a kill may cost, for 5 MB written. */
const STEPS_BETWEEN_SAVES = 100;

/** Where a pretraining run is, and who hears of it. */
export interface ResumeBasePolicyOptions {
  /** Where the checkpoint goes; while the run is under way, where it is kept (`unfinished.ts`). */
  readonly out: string;
  /** The active backend, for the record. */
  readonly backend: BackendReport;
  /** Optimiser steps between two states that are kept on disk, besides the one at an abort; default 100. */
  readonly stepsBetweenSaves?: number;
  /** `done` of `total` optimiser steps of all phases. */
  readonly onStep?: (metrics: PretrainMetrics, done: number, total: number) => void;
  /** Ends the run after the step under way, which is kept. */
  readonly signal?: AbortSignal;
}

/** A pretraining run from its start. */
export interface TrainBasePolicyOptions extends ResumeBasePolicyOptions {
  /** A checkpoint to train on from, with a fresh optimiser; default random weights. */
  readonly from?: string;
  /** What differs from `pretrainSettings`. */
  readonly settings?: Partial<PretrainSettings>;
}

/** What `training.json` says of a run. */
export interface TrainingRecord {
  /** Name of the checkpoint's folder that it was begun from; none: random weights. */
  readonly from?: string;
  /** All of them. */
  readonly settings: PretrainSettings;
  /** Numbers in all weights. */
  readonly parameters: number;
  /** The last step. */
  readonly final: PretrainMetrics | null;
  /** Of all sessions together. */
  readonly seconds: number;
  /** What computed. */
  readonly backend: string;
  /** Version of Node. */
  readonly node: string;
}

/**
 * Trains a base policy, from nothing or from a checkpoint, and writes it with `training.jsonl` (a line every 50 steps) and `training.json` (settings, backend,
 * time).
 * A run that `out` holds unfinished is given up.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { startBackend } from 'search-e1/tensors';
 * import { trainBasePolicy } from 'search-e1/tinypedia';
 *
 * const settings = { phases: [{ steps: 2, learningRate: 0.003, worlds: 1, draw: 1 }], batchSize: 2 }; // the shipped one: pretrainSettings, ten minutes
 * const out = await mkdtemp(join(tmpdir(), 'base-'));
 * const { parameters, final } = await trainBasePolicy({ out, backend: await startBackend(), settings });
 * [parameters, final?.step]; // [ 432288, 2 ]
 * ```
 */
export async function trainBasePolicy({ from, settings: chosen, ...options }: TrainBasePolicyOptions): Promise<TrainingRecord> {
  checkRun('trainBasePolicy', options);
  const { out } = options;
  const settings = { ...pretrainSettings, ...chosen };
  const policy = from
    ? await loadPolicy(from)
    : Policy.initialize(basePolicyConfig(await loadTokenizer(tokenizerFolder())), random(settings.seed, 'initialize'), {
        scale: settings.initialScale,
      });
  try {
    await discardUnfinished(out);
    const run = { settings, from, backend: computedOn(options.backend), last: null, recorded: [], seconds: 0 };
    await keepUnfinished(out, run, (folder) => savePolicy(policy, folder, { tokenizerFolder: tokenizerFolder() }));
  } finally {
    policy.dispose();
  }
  return resumeBasePolicy(options);
}

/**
 * Goes on with the run that `out` holds unfinished, with the settings it was begun with. On the same backend it ends with the same files as one that was never
 * stopped, but for the seconds: both train from a state on disk, the latter from that of no step.
 *
 * @throws Error where there is no such run
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { startBackend } from 'search-e1/tensors';
 * import { resumeBasePolicy } from 'search-e1/tinypedia';
 *
 * const out = await mkdtemp(join(tmpdir(), 'base-'));
 * const backend = await startBackend();
 * const refused = await resumeBasePolicy({ out, backend }).catch((error: Error) => error.message); // goes on where `trainBasePolicy` was stopped
 * refused?.toString().includes('holds no unfinished run'); // true
 * ```
 */
export async function resumeBasePolicy({
  out,
  backend,
  onStep,
  signal,
  stepsBetweenSaves = STEPS_BETWEEN_SAVES,
}: ResumeBasePolicyOptions): Promise<TrainingRecord> {
  checkRun('resumeBasePolicy', { out, backend });
  const begun = await openUnfinished(out);
  if (!begun) throw new Error(`${out} holds no unfinished run to go on with: begin one with trainBasePolicy`);
  const { settings, from } = begun;
  const checkpoint = unfinishedCheckpoint(out, begun);
  const policy = await loadPolicy(checkpoint);
  const engine = inProcessEngine(policy, await loadTokenizer(tokenizerFolder()), { tokenizerFolder: tokenizerFolder() });
  const started = performance.now();
  const seconds = () => begun.seconds + (performance.now() - started) / 1000;
  const total = stepsOf(settings.phases);
  const recorded = [...begun.recorded];
  let { last } = begun;
  try {
    await engine.load(checkpoint); // the optimiser besides the weights
    await pretrain(engine, settings, {
      after: last ?? undefined,
      signal,
      async onStep(metrics) {
        last = metrics;
        const { phase, step } = metrics;
        if (step % 50 === 0 || step === settings.phases[phase - 1].steps) recorded.push(metrics);
        const done = stepsDone(settings.phases, metrics);
        onStep?.(metrics, done, total);
        // Nothing else runs between this look at the signal and the one in `pretrain`: an abort loses no step.
        if (signal?.aborted || done % stepsBetweenSaves === 0 || done === total)
          await keepUnfinished(out, { ...begun, last, recorded, seconds: seconds() }, (folder) => engine.save(folder));
      },
    });
    const record: TrainingRecord = {
      ...(from && { from: basename(from) }),
      settings,
      parameters: policy.parameters,
      final: last,
      seconds: Math.round(seconds()),
      backend: `${backend.description}, kernels: ${backend.kernels}`,
      node: process.version,
    };
    await finishUnfinished(out, async (folder) => {
      await savePolicy(policy, folder, { tokenizerFolder: tokenizerFolder() });
      await writeFile(join(folder, 'training.jsonl'), recorded.map((metrics) => `${JSON.stringify(metrics)}\n`).join(''));
      await writeFile(join(folder, 'training.json'), `${JSON.stringify(record, null, 2)}\n`);
    });
    return record;
  } finally {
    engine.dispose();
  }
}

function checkRun(where: string, { out, backend }: Pick<ResumeBasePolicyOptions, 'out' | 'backend'>): void {
  checkPath(`${where}: out`, out);
  checkObject(where, 'backend', backend, ['name', 'description']);
}

const tokenizerFolder = (): string => datasetPath('tinypedia', 'tokenizer');
