/** `search-e1 pretrain`: a base policy, as the committed one was made. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { printableJson } from '../display/printable.js';
import { duration } from '../display/progress.js';
import { resumeBasePolicy, type TrainingRecord, trainBasePolicy } from '../tinypedia/base-policy.js';
import { type PretrainMetrics, type PretrainPhase, pretrainSettings, stepsDone, stepsOf } from '../tinypedia/pretrain.js';
import { openUnfinished, UNFINISHED, type UnfinishedRun } from '../tinypedia/unfinished.js';
import { givenBy, type Io, interruptible, UsageError } from './io.js';
import { openBackend, warnOfOtherBackend } from './open-policy.js';
import { addCommonOptions, type CommonFlags, checkSameOptions, examples, integer, positive, refuseWithoutEffect } from './options.js';
import { shellCommand } from './shell.js';
import { runTasks } from './tasks.js';

/** What a run is begun with, and resumed with. */
interface RunFlags {
  readonly seed: number;
  readonly steps?: number;
  readonly learningRate: number;
  readonly from?: string;
}

interface Flags extends RunFlags, CommonFlags {
  readonly out: string;
  readonly resume?: boolean;
  readonly force?: boolean;
}

export function definePretrain(command: Command, io: Io): void {
  command
    .description(
      'Trains a base policy for Tinypedia, from random weights or on from a checkpoint, on supervised episodes in other worlds than the classroom’s. The full course takes about ten minutes on two cores; time left is shown after the first steps. How far it is, is kept every 100 steps and at Ctrl-C: a run that was stopped goes on with --resume and ends with the same policy.',
    )
    .requiredOption('--out <folder>', 'where the checkpoint goes, with its training record')
    .option('--resume', 'go on with the run that was stopped in --out; its settings are remembered')
    .option('--seed <n>', 'weights and episodes are drawn from it', integer(0), pretrainSettings.seed)
    .option('--steps <n>', 'one phase of this many optimiser steps, like the committed policy’s last, instead of its three', integer(1))
    .option('--learning-rate <rate>', 'its peak, with --steps', positive(), pretrainSettings.phases[0].learningRate)
    .option('--from <folder>', 'a checkpoint to train on from, with a fresh optimiser')
    .option('--force', 'begin anew where a run was stopped, and write over a checkpoint that is there');
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'pretrain --out runs/base',
        'pretrain --out runs/base --resume         after Ctrl-C',
        'pretrain --out runs/base-7 --seed 7',
        'pretrain --out runs/longer --from runs/base --steps 3000 --learning-rate 0.002 --seed 2',
        'pretrain --out runs/sketch --steps 300    quick and poor',
      ]),
    )
    .action((flags: Flags) => runPretrain(flags, command, io));
}

async function runPretrain(flags: Flags, command: Command, io: Io): Promise<void> {
  const { out, seed, from, resume, json } = flags;
  const unfinished = await unfinishedRun(flags, command);
  const phases = unfinished?.settings.phases ?? phasesOf(flags);
  const backend = await openBackend(io, flags);
  if (unfinished) warnOfOtherBackend(io, unfinished.backend, backend);
  const before = unfinished ? stepsDone(phases, unfinished.last) : 0;
  const total = stepsOf(phases);
  const started = performance.now();
  let done = before;
  let record!: TrainingRecord;
  const course = phases.length === 1 ? `${total} steps` : `${phases.length} phases`;
  const train = {
    title: `pretraining, ${course}${before ? `, ${before} of ${total} steps done before` : ''}`,
    run: async (note: (text: string) => void) => {
      const options = {
        out,
        backend,
        signal: io.signal,
        onStep(metrics: PretrainMetrics, finished: number) {
          done = finished;
          const left = ((performance.now() - started) / 1000 / (done - before)) * (total - done);
          note(`step ${done} of ${total}: loss ${metrics.loss.toFixed(3)} · about ${duration(left)} left`);
        },
      };
      record = await (resume ? resumeBasePolicy(options) : trainBasePolicy({ ...options, from, settings: { seed, phases } }));
      return `loss ${record.final?.loss.toFixed(3)} in ${duration(record.seconds)}`;
    },
  };
  const how = shellCommand('pretrain', '--out', out, '--resume');
  await interruptible(
    io.signal,
    () => runTasks(io, [train]),
    () => `${out} holds everything up to the last whole step (${done} of ${total} steps). Go on with: ${how}`,
    () => `${out} holds the run as it was last saved, which it is every 100 steps. Go on with: ${how}`,
  );
  const { settings, final, seconds } = record;
  const result = { policy: out, seed: settings.seed, phases, final, backend, seconds };
  io.stdout.write(
    json
      ? `${printableJson(result)}\n`
      : `The policy is in ${out}, its training record in ${join(out, 'training.json')}\nEvaluate it: ${shellCommand('evaluate', '--policy', out)}\n`,
  );
}

/** The run to go on with; null where one is to be begun. */
async function unfinishedRun(flags: Flags, command: Command): Promise<UnfinishedRun | null> {
  const { out, from, resume, force } = flags;
  if (resume && force) throw new UsageError('--resume goes on with a run, --force begins it anew: give one of them');
  if (from !== undefined && !resume && !existsSync(join(from, 'config.json')))
    throw new UsageError(`--from ${from}: there is no checkpoint`);
  if (!resume && flags.steps === undefined)
    refuseWithoutEffect(
      command,
      ['learningRate'],
      'the phases of the full course have their own; with --steps it is the peak of the one phase',
    );
  await checkFolder(out);
  if (force) return null;
  const unfinished = await givenBy('--out', () => openUnfinished(out));
  const finished = existsSync(join(out, 'config.json'));
  if (resume) {
    if (!unfinished) throw new UsageError(`--resume: ${finished ? `the policy in ${out} is finished` : `there is no run in ${out}`}`);
    checkSameOptions(command, flags, flagsOf(unfinished), ['seed', 'steps', 'learningRate', 'from'], out);
    return unfinished;
  }
  if (unfinished)
    throw new UsageError(`--out ${out} holds a run that was stopped: go on with --resume, choose another folder, or --force to begin anew`);
  if (finished) throw new UsageError(`--out ${out} holds a checkpoint already: choose another folder, or --force`);
  return null;
}

/** Seven files go into `out`, over those of the same names: it must be new, empty, or this command's own. */
async function checkFolder(out: string): Promise<void> {
  const names = await readdir(out).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return [];
    throw new UsageError(`--out ${out}: ${error.code === 'ENOTDIR' ? 'is a file; a folder was expected' : error.message}`);
  });
  const own = names.includes(UNFINISHED) || (names.includes('training.json') && names.includes('config.json'));
  if (names.length === 0 || own) return;
  const some = names.slice(0, 3).join(', ');
  throw new UsageError(
    `--out ${out} holds other files than a run of pretrain (${some}${names.length > 3 ? ', …' : ''}): choose a new or an empty folder`,
  );
}

function phasesOf({ steps, learningRate }: RunFlags): readonly PretrainPhase[] {
  const { worlds } = pretrainSettings.phases[pretrainSettings.phases.length - 1];
  return steps === undefined ? pretrainSettings.phases : [{ steps, learningRate, worlds, draw: 0 }];
}

/** The options that a run was begun with. */
const flagsOf = ({ settings: { seed, phases }, from }: UnfinishedRun): RunFlags => ({
  seed,
  steps: phases.length === 1 ? phases[0].steps : undefined,
  learningRate: phases[0].learningRate,
  from,
});
