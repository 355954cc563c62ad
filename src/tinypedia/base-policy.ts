/** The committed base policy: how it is opened, and how it was made. */
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { datasetPath } from '../datasets.js';
import { type InProcessEngine, inProcessEngine } from '../engines/in-process.js';
import { loadPolicy, savePolicy } from '../policy/checkpoint.js';
import { Policy } from '../policy/policy.js';
import { loadTokenizer } from '../policy/tokenizer.js';
import { random } from '../random.js';
import type { BackendReport } from '../tensors/backend.js';
import { basePolicyConfig, type PretrainMetrics, type PretrainSettings, pretrain, pretrainSettings } from './pretrain.js';

/** Folder of the committed base policy, a Hugging Face checkpoint with its tokenizer. */
export const basePolicyFolder = (): string => datasetPath('tinypedia', 'base-policy');

/** An engine over a checkpoint folder that holds its tokenizer; default the base policy. A backend must be active (`startBackend`). */
export async function openPolicy(folder: string = basePolicyFolder()): Promise<InProcessEngine> {
  return inProcessEngine(await loadPolicy(folder), loadTokenizer(folder), { tokenizerFolder: folder });
}

export interface TrainBasePolicyOptions {
  /** Where the checkpoint goes. */
  readonly out: string;
  /** A checkpoint to train on from, with a fresh optimiser; default random weights. */
  readonly from?: string;
  /** The active backend, for the record. */
  readonly backend: BackendReport;
  readonly settings?: Partial<PretrainSettings>;
  /** `done` of `total` optimiser steps of all phases. */
  readonly onStep?: (metrics: PretrainMetrics, done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Trains a base policy, from nothing or from a checkpoint, and writes it with `training.jsonl` (a line every 50 steps) and `training.json` (settings, backend, time). */
export async function trainBasePolicy({ out, from, backend, onStep, signal, ...options }: TrainBasePolicyOptions): Promise<void> {
  const settings = { ...pretrainSettings, ...options.settings };
  const tokenizerFolder = datasetPath('tinypedia', 'tokenizer');
  const tokenizer = loadTokenizer(tokenizerFolder);
  const policy = from
    ? await loadPolicy(from)
    : Policy.initialize(basePolicyConfig(tokenizer), random(settings.seed, 'initialize'), { scale: settings.initialScale });
  const engine = inProcessEngine(policy, tokenizer);
  const lines: string[] = [];
  const started = performance.now();
  try {
    let last: PretrainMetrics | undefined;
    let done = 0;
    const total = settings.phases.reduce((sum, { steps }) => sum + steps, 0);
    await pretrain(engine, settings, {
      signal,
      onStep(metrics) {
        last = metrics;
        if (metrics.step % 50 === 0 || metrics.step === settings.phases[metrics.phase - 1].steps) lines.push(JSON.stringify(metrics));
        done++;
        onStep?.(metrics, done, total);
      },
    });
    await mkdir(out, { recursive: true });
    await savePolicy(policy, out, { tokenizerFolder });
    await writeFile(join(out, 'training.jsonl'), `${lines.join('\n')}\n`);
    const record = {
      ...(from && { from: basename(from) }),
      settings,
      parameters: policy.parameters,
      final: last,
      seconds: Math.round((performance.now() - started) / 1000),
      backend: `${backend.description}, kernels: ${backend.kernels}`,
      node: process.version,
    };
    await writeFile(join(out, 'training.json'), `${JSON.stringify(record, null, 2)}\n`);
  } finally {
    engine.dispose();
  }
}
