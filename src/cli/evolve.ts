/** `search-e1 evolve`: Search-E1's loop on Tinypedia, recorded step by step in a run folder. */
import { appendFile, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { printable, printableJson } from '../display/printable.js';
import { evolve } from '../evolution/evolve.js';
import type { SiblingSettings } from '../evolution/settings.js';
import { NonFiniteError } from '../non-finite.js';
import { replaceFile } from '../platform/replace-file.js';
import { policySum } from '../runs/checksums.js';
import { RunFolder } from '../runs/run-folder.js';
import { type BackendReport, type ComputedOn, computedOn } from '../tensors/backend.js';
import { basePolicyFolder } from '../tinypedia/base-policy.js';
import { version } from '../version.js';
import { openClassroom } from './classroom.js';
import {
  addEvolutionOptions,
  addGateOptions,
  checkSiblingQuestions,
  type EvolutionFlags,
  evolutionSettings,
  type GateFlags,
  preferOption,
} from './evolution-settings.js';
import { describeRun, summarizeRun } from './evolution-summary.js';
import { evolutionTasks } from './evolution-tasks.js';
import { givenBy, type Io, interruptible, UsageError } from './io.js';
import { openBackend, openGivenEngine, warnOfOtherBackend } from './open-policy.js';
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
    .option('--resume', 'go on with the run; its settings are remembered; with a larger --rounds it is extended')
    .option('--policy <folder>', 'checkpoint to start from (default: the base policy that comes with the package)')
    .option('--rounds <n>', 'rounds of GRPO and self-distillation', integer(1), 2)
    .option('--seed <n>', 'everything that is drawn is drawn from it', integer(0), 1);
  addGateOptions(addEvolutionOptions(command).addOption(preferOption()))
    .option('--eval-questions <n>', 'questions of each mini set to evaluate on, before and after every stage; 0 for none', integer(0), 100)
    .addOption(memoryOption());
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'evolve                                      two rounds from the base policy, into runs/seed-1',
        'evolve --name mine --rounds 1 --seed 7',
        'evolve --name mine --resume                 after Ctrl-C',
        'evolve --name mine --resume --rounds 3      two rounds more',
        'evolve --name quick --rounds 1 --grpo-steps 2 --questions-per-step 4 --sibling-questions 8 --eval-questions 2',
      ]),
    )
    .action((flags: Flags) => runEvolve(flags, command, io));
}

async function runEvolve(flags: Flags, command: Command, io: Io): Promise<void> {
  const name = runName(flags);
  const path = join(flags.runs, name);
  const given = { ...flags, policy: flags.policy === undefined ? undefined : resolve(flags.policy) };
  const remembered = flags.resume ? await rememberedRun(path, given, command) : null;
  const chosen = remembered ? { ...remembered.flags, rounds: extendedRounds(given, remembered.flags, command, path) } : pickRunFlags(given);
  const policy = await givenBy('--policy', () => policySum(chosen.policy ?? basePolicyFolder()));
  if (remembered && remembered.policy !== policy) {
    const where = chosen.policy ?? 'that comes with the package';
    throw new UsageError(
      `--resume: the run in ${path} was begun with another policy than the one ${where} (SHA-256 ${policy}, was ${remembered.policy})`,
    );
  }
  const settings = evolutionSettings(chosen);
  const { world, environment, evaluation } = await openClassroom(chosen.evalQuestions);
  checkSiblingQuestions(chosen, world.train);
  const backend = await openBackend(io, flags);
  const questions = evaluation(chosen.evalQuestions);
  const engine = await openGivenEngine(chosen.policy, memoryBudget(chosen));
  let run: RunFolder | undefined;
  try {
    const config = { command: 'evolve', flags: chosen, settings, policy };
    const opened = await givenBy('--name', () => RunFolder.open(path, config, { resume: flags.resume, mayChange: ['rounds'] }));
    run = opened;
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
    const holds = () => `${path} holds everything up to the last whole step (${whereIs(opened)})`;
    await interruptible(
      io.signal,
      () => runTasks(io, tasks),
      () => `${holds()}. Go on with: ${how}`,
      (error) =>
        isNonFinite(error)
          ? `${holds()}, and nothing of the step that failed. Going on would fail again: begin a run with a lower learning rate under another --name`
          : `${holds()}. Go on with: ${how}`,
    );
    const summary = await summarizeRun(run, settings);
    const result = { run: path, policy: run.checkpoint(run.state.finished[run.state.finished.length - 1]), backend, settings, ...summary };
    const report = describeRun(result, questions.length);
    await replaceFile(join(path, 'report.txt'), `${report}\n`);
    io.stdout.write(flags.json ? `${printableJson(result)}\n` : `${report}\n`);
  } finally {
    await run?.close();
    engine.dispose();
  }
}

function isNonFinite(error: unknown): boolean {
  return error instanceof NonFiniteError || (error instanceof Error && isNonFinite(error.cause));
}

/** A run can be extended; what it has done stays done. */
function extendedRounds({ rounds }: Flags, before: RunFlags, command: Command, path: string): number {
  if (command.getOptionValueSource('rounds') !== 'cli') return before.rounds;
  if (rounds < before.rounds)
    throw new UsageError(`--rounds ${rounds}: the run in ${path} was begun with ${before.rounds}; it can be given more, not fewer`);
  return rounds;
}

function runName({ name, seed }: Flags): string {
  const chosen = name ?? `seed-${seed}`;
  if (!/^[\p{L}\p{N}][\p{L}\p{N}._ -]*$/u.test(chosen)) {
    throw new UsageError(`--name ${chosen}: expected a folder's name of letters, digits, points, dashes and underscores`);
  }
  return chosen;
}

const pickRunFlags = (flags: RunFlags): RunFlags => Object.fromEntries(RUN_FLAGS.map((key) => [key, flags[key]])) as unknown as RunFlags;

/** Flags and policy of the run's config.json. A flag that is given again must say the same, but for the rounds. */
async function rememberedRun(
  path: string,
  flags: Flags,
  command: Command,
): Promise<{ readonly flags: RunFlags; readonly policy: unknown }> {
  const file = join(path, 'config.json');
  const text = await readFile(file, 'utf8').catch(() => {
    throw new UsageError(`--resume: there is no run in ${path}`);
  });
  const config = await givenBy(`--resume: ${file}`, () => JSON.parse(text) as { flags?: RunFlags; policy?: unknown } | null);
  if (!config?.flags) throw new UsageError(`--resume: ${file} is not a run of evolve`);
  const keys = RUN_FLAGS.filter((key) => key !== 'rounds');
  checkSameOptions(command, flags, config.flags, keys, path);
  return { flags: pickRunFlags(config.flags), policy: config.policy };
}

interface Session {
  readonly date: string;
  readonly version: string;
  readonly node: string;
  readonly backend: ComputedOn;
}

/** Appends to `sessions.jsonl` when, by what and on what the run is worked on; warns when that has changed. A line that a kill tore is passed over. */
async function noteSession(path: string, backend: BackendReport, io: Io): Promise<void> {
  const file = join(path, 'sessions.jsonl');
  const session: Session = { date: new Date().toISOString(), version, node: process.version, backend: computedOn(backend) };
  const text = await readFile(file, 'utf8').catch(() => '');
  const sessions = text.split('\n').flatMap((line, i) => {
    if (!line.trim()) return [];
    try {
      const read = JSON.parse(line) as Session | null;
      if (read?.version && read.backend) return [read];
    } catch {}
    io.stderr.write(`warning: ${printable(file)}, line ${i + 1}, is not whole and is passed over\n`);
    return [];
  });
  const last = sessions[sessions.length - 1];
  if (last) {
    if (last.version !== version)
      io.stderr.write(
        `warning: the run was begun with search-e1 ${printable(last.version)}, this is ${version}: its numbers may be others\n`,
      );
    warnOfOtherBackend(io, last.backend, backend);
  }
  await appendFile(file, `${text && !text.endsWith('\n') ? '\n' : ''}${JSON.stringify(session)}\n`);
}

function whereIs({ state: { finished, step } }: RunFolder): string {
  const last = finished[finished.length - 1];
  if (!last) return 'before the first stage was finished';
  return step > 0 ? `${step} ${step === 1 ? 'step' : 'steps'} after ${last}` : `${last} is finished`;
}
