/** `search-e1 evolve`: Search-E1's loop on Tinypedia, recorded step by step in a run folder. */
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { printableJson } from '../display/printable.js';
import { evolve } from '../evolution/evolve.js';
import { RunFolder } from '../evolution/run-folder.js';
import type { EvolutionSettings, SiblingSettings } from '../evolution/settings.js';
import { type BackendReport, computedOn } from '../tensors/backend.js';
import { version } from '../version.js';
import { openClassroom } from './classroom.js';
import {
  addEvolutionOptions,
  addGateOptions,
  type EvolutionFlags,
  evolutionSettings,
  type GateFlags,
  preferOption,
} from './evolution-settings.js';
import { describeRun, summarizeRun } from './evolution-summary.js';
import { evolutionTasks } from './evolution-tasks.js';
import { givenBy, type Io, interruptible, UsageError } from './io.js';
import { openBackend, openEngine, warnOfOtherBackend } from './open-policy.js';
import {
  addCommonOptions,
  type CommonFlags,
  checkSameOptions,
  examples,
  integer,
  type MemoryFlags,
  memoryBudget,
  memoryOption,
} from './options.js';
import { shellCommand } from './shell.js';
import { runTasks } from './tasks.js';

/** What a run is begun with, and resumed with. */
interface RunFlags extends EvolutionFlags, GateFlags, MemoryFlags {
  readonly rounds: number;
  readonly seed: number;
  readonly prefer: SiblingSettings['prefer'];
  readonly evalQuestions: number;
  readonly policy?: string;
}

interface Flags extends RunFlags, CommonFlags {
  readonly name?: string;
  readonly runs: string;
  readonly resume?: boolean;
}

const RUN_FLAGS = [
  'rounds',
  'seed',
  'grpoSteps',
  'questionsPerStep',
  'groupSize',
  'learningRate',
  'siblingQuestions',
  'attempts',
  'prefer',
  'gateTeacherGain',
  'gateSearchGap',
  'gate',
  'ofsdLearningRate',
  'clamp',
  'evalQuestions',
  'policy',
  'memory',
] as const satisfies readonly (keyof RunFlags)[];

export function defineEvolve(command: Command, io: Io): void {
  command
    .description(
      'Trains a policy on Tinypedia with Search-E1’s loop: GRPO, then pairs of its own attempts, then self-distillation, in rounds. Every step is kept: a run that was stopped goes on with --resume and ends with the same numbers.',
    )
    .option('--name <run>', 'name of the run (default: "seed-" and the seed)')
    .option('--runs <folder>', 'where runs are kept', 'runs')
    .option('--resume', 'go on with the run; its settings are remembered')
    .option('--policy <folder>', 'checkpoint to start from (default: the base policy that comes with the package)')
    .option('--rounds <n>', 'rounds of GRPO and self-distillation', integer(1), 2)
    .option('--seed <n>', 'everything that is drawn is drawn from it', integer(0), 1);
  addGateOptions(addEvolutionOptions(command).addOption(preferOption()))
    .option('--eval-questions <n>', 'questions of each mini set to evaluate on, before and after every stage; 0 for none', integer(0), 20)
    .addOption(memoryOption());
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'evolve                                      two rounds from the base policy, into runs/seed-1',
        'evolve --name mine --rounds 1 --seed 7',
        'evolve --name mine --resume                 after Ctrl-C',
        'evolve --name quick --rounds 1 --grpo-steps 2 --questions-per-step 4 --sibling-questions 8 --eval-questions 2',
      ]),
    )
    .action((flags: Flags) => runEvolve(flags, command, io));
}

async function runEvolve(flags: Flags, command: Command, io: Io): Promise<void> {
  const name = runName(flags);
  const path = join(flags.runs, name);
  const chosen = flags.resume ? await rememberedFlags(path, flags, command) : pickRunFlags(flags);
  const settings = evolutionSettings(chosen);
  const backend = await openBackend(io, flags);
  const { world, environment, evaluation } = await openClassroom(chosen.evalQuestions);
  const questions = evaluation(chosen.evalQuestions);
  const engine = await openEngine(chosen.policy, memoryBudget(chosen));
  try {
    const run = await givenBy('--name', () => RunFolder.open(path, configOf(chosen, settings), { resume: flags.resume }));
    await noteSession(path, backend, io);
    const place = { finished: run.state.finished, step: run.state.step, evaluation: questions.length };
    const tasks = evolutionTasks(settings, place, (onEvent) =>
      evolve(engine, environment, world.train, settings, {
        run,
        evaluation: questions.length ? questions : undefined,
        onEvent,
        signal: io.signal,
      }),
    );
    const how = shellCommand('evolve', '--name', name, ...(flags.runs === 'runs' ? [] : ['--runs', flags.runs]), '--resume');
    const kept = () => `${path} holds everything up to the last whole step (${whereIs(run)}). Go on with: ${how}`;
    await interruptible(io.signal, () => runTasks(io, tasks), kept, kept);
    const summary = await summarizeRun(run, settings);
    const result = { run: path, policy: run.checkpoint(run.state.finished[run.state.finished.length - 1]), backend, settings, ...summary };
    io.stdout.write(flags.json ? `${printableJson(result)}\n` : `${describeRun(result, questions.length)}\n`);
  } finally {
    engine.dispose();
  }
}

function runName({ name, seed }: Flags): string {
  const chosen = name ?? `seed-${seed}`;
  if (!/^[\p{L}\p{N}][\p{L}\p{N}._ -]*$/u.test(chosen)) {
    throw new UsageError(`--name ${chosen}: expected a folder's name of letters, digits, points, dashes and underscores`);
  }
  return chosen;
}

const pickRunFlags = (flags: RunFlags): RunFlags => Object.fromEntries(RUN_FLAGS.map((key) => [key, flags[key]])) as unknown as RunFlags;

const configOf = (flags: RunFlags, settings: EvolutionSettings) => ({ command: 'evolve', flags, settings });

/** The flags of the run's config.json. A flag that is given again must say the same. */
async function rememberedFlags(path: string, flags: Flags, command: Command): Promise<RunFlags> {
  const text = await readFile(join(path, 'config.json'), 'utf8').catch(() => {
    throw new UsageError(`--resume: there is no run in ${path}`);
  });
  const { flags: remembered } = await givenBy('--resume', () => JSON.parse(text) as { flags?: RunFlags });
  if (!remembered) throw new UsageError(`--resume: ${join(path, 'config.json')} is not a run of evolve`);
  checkSameOptions(command, flags, remembered, RUN_FLAGS, path);
  return pickRunFlags(remembered);
}

/** Appends to `sessions.jsonl` when, by what and on what the run is worked on; warns when that has changed. */
async function noteSession(path: string, backend: BackendReport, io: Io): Promise<void> {
  const file = join(path, 'sessions.jsonl');
  const session = { date: new Date().toISOString(), version, node: process.version, backend: computedOn(backend) };
  const before = (await readFile(file, 'utf8').catch(() => '')).trim().split('\n').pop();
  if (before) {
    const last = JSON.parse(before) as typeof session;
    if (last.version !== version)
      io.stderr.write(`warning: the run was begun with search-e1 ${last.version}, this is ${version}: its numbers may be others\n`);
    warnOfOtherBackend(io, last.backend, backend);
  }
  await appendFile(file, `${JSON.stringify(session)}\n`);
}

function whereIs({ state: { finished, step } }: RunFolder): string {
  const last = finished[finished.length - 1];
  if (!last) return 'before the first stage was finished';
  return step > 0 ? `${step} ${step === 1 ? 'step' : 'steps'} after ${last}` : `${last} is finished`;
}
