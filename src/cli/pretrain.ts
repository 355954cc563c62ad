/** `search-e1 pretrain`: a base policy, as the committed one was made. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { duration } from '../display/progress.js';
import { trainBasePolicy } from '../tinypedia/base-policy.js';
import { type PretrainMetrics, pretrainSettings } from '../tinypedia/pretrain.js';
import { type Io, interruptible, UsageError } from './io.js';
import { openBackend } from './open-policy.js';
import { addCommonOptions, type CommonFlags, examples, integer, positive } from './options.js';
import { printableJson } from './printable.js';
import { runTasks } from './tasks.js';

interface Flags extends CommonFlags {
  readonly out: string;
  readonly seed: number;
  readonly steps?: number;
  readonly learningRate: number;
  readonly from?: string;
  readonly force?: boolean;
}

export function definePretrain(command: Command, io: Io): void {
  command
    .description(
      'Trains a base policy for Tinypedia, from random weights or on from a checkpoint, on supervised episodes in other worlds than the classroom’s. The full course takes one to two hours, depending on the machine; time left is shown after the first steps. It is one run: stopped early, it leaves nothing.',
    )
    .requiredOption('--out <folder>', 'where the checkpoint goes, with its training record')
    .option('--seed <n>', 'weights and episodes are drawn from it', integer(0), pretrainSettings.seed)
    .option('--steps <n>', 'one phase of this many optimiser steps, like the committed policy’s last, instead of its three', integer(1))
    .option('--learning-rate <rate>', 'its peak, with --steps', positive(), pretrainSettings.phases[0].learningRate)
    .option('--from <folder>', 'a checkpoint to train on from, with a fresh optimiser')
    .option('--force', 'write over a checkpoint that is there');
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'pretrain --out runs/base',
        'pretrain --out runs/base-7 --seed 7',
        'pretrain --out runs/longer --from runs/base --steps 3000 --learning-rate 0.002 --seed 2',
        'pretrain --out runs/sketch --steps 300    quick and poor',
      ]),
    )
    .action((flags: Flags) => runPretrain(flags, io));
}

async function runPretrain({ out, seed, steps, learningRate, from, force, json, backend }: Flags, io: Io): Promise<void> {
  if (!force && existsSync(join(out, 'config.json')))
    throw new UsageError(`--out ${out} holds a checkpoint already: choose another folder, or --force`);
  if (from !== undefined && !existsSync(join(from, 'config.json'))) throw new UsageError(`--from ${from}: there is no checkpoint`);
  const report = await openBackend(io, { backend });
  const { worlds } = pretrainSettings.phases[pretrainSettings.phases.length - 1];
  const phases = steps === undefined ? pretrainSettings.phases : [{ steps, learningRate, worlds, draw: 0 }];
  const started = performance.now();
  let done = 0;
  let last: PretrainMetrics | undefined;
  const train = {
    title: `pretraining, ${phases.length === 1 ? `${phases[0].steps} steps` : `${phases.length} phases`}`,
    run: async (note: (text: string) => void) => {
      await trainBasePolicy({
        out,
        from,
        backend: report,
        settings: { seed, phases },
        signal: io.signal,
        onStep(metrics, finished, total) {
          last = metrics;
          done = finished;
          const left = ((performance.now() - started) / 1000 / done) * (total - done);
          note(`step ${done} of ${total}: loss ${metrics.loss.toFixed(3)} · about ${duration(left)} left`);
        },
      });
      return `loss ${last?.loss.toFixed(3)} in ${duration((performance.now() - started) / 1000)}`;
    },
  };
  await interruptible(
    io.signal,
    () => runTasks(io, [train]),
    () => `after ${done} steps; nothing was written to ${out}: pretraining cannot be resumed, begin again`,
  );
  const result = { policy: out, seed, phases, final: last, backend: report, seconds: Math.round((performance.now() - started) / 1000) };
  io.stdout.write(
    json
      ? `${printableJson(result)}\n`
      : `The policy is in ${out}, its training record in ${join(out, 'training.json')}\nEvaluate it: search-e1 evaluate --policy ${out}\n`,
  );
}
