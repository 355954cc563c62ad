/** `search-e1 study`: the claims that the classroom rests on, measured seed by seed and kept with the command that made them. */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { printable, printableJson } from '../display/printable.js';
import { duration } from '../display/progress.js';
import { STUDY_ARMS, type StudyArm, type StudySettings, study } from '../evolution/study.js';
import { datasetPath } from '../platform/datasets.js';
import { makeFolder } from '../platform/make-folder.js';
import { replaceFile } from '../platform/replace-file.js';
import { policySum } from '../runs/checksums.js';
import { RunOwner } from '../runs/run-owner.js';
import { basePolicyFolder } from '../tinypedia/base-policy.js';
import { MINI_SETS } from '../tinypedia/questions.js';
import { version } from '../version.js';
import { type Classroom, openClassroom } from './classroom.js';
import { addEvolutionOptions, checkSiblingQuestions, type EvolutionFlags, evolutionSettings } from './evolution-settings.js';
import { givenBy, type Io, interruptible, UsageError } from './io.js';
import { openBackend, openGivenEngine, policyName } from './open-policy.js';
import {
  addCommonOptions,
  type CommonFlags,
  examples,
  integer,
  integerList,
  type MemoryFlags,
  memoryBudget,
  memoryOption,
  oneOrMore,
} from './options.js';
import { shellCommand } from './shell.js';
import { checkClaims, describeStudy, type StoredStudy } from './study-summary.js';
import { runTasks, type Task } from './tasks.js';

interface Flags extends EvolutionFlags, MemoryFlags, CommonFlags {
  readonly seeds: readonly number[];
  readonly arms: readonly StudyArm[];
  readonly out: string;
  readonly policy?: string;
  readonly evalQuestions: number;
  readonly resume?: boolean;
  readonly force?: boolean;
  /** A folder of records, or true for those of the package. */
  readonly show?: string | true;
}

export function defineStudy(command: Command, io: Io): void {
  command
    .description(
      'For each seed: the base policy, GRPO, pairs of its attempts, and from there several ways on: self-distillation (ofsd), the same on correct siblings (ofsd-correct), the control whose teacher sees no reference (no-reference), and fine-tuning on the references (sft). Up to there it is round one of evolve with the same seed, without its gate: every arm is measured. Each seed leaves a record.',
    )
    .option('--seeds <list>', 'seeds, with commas', integerList, [1, 2, 3])
    .option('--arms <list>', `ways on from GRPO, with commas, of ${STUDY_ARMS.join(', ')}`, oneOrMore(STUDY_ARMS))
    .option('--out <folder>', 'where the records go, one seed-N.json each', join('runs', 'study'))
    .option('--policy <folder>', 'checkpoint to start from (default: the base policy that comes with the package)')
    .option('--resume', 'take the seeds whose records are in --out as they are and measure the others')
    .option('--force', 'measure seeds again whose records are in --out')
    .option('--show [folder]', 'measure nothing: print the records of a folder (default: those that come with the package)');
  addEvolutionOptions(command).option('--eval-questions <n>', 'questions of each mini set', integer(1), 100).addOption(memoryOption());
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'study                                   measures seeds 1, 2, 3; about a minute each',
        'study --resume                          after Ctrl-C',
        'study --seeds 4,5 --arms ofsd,no-reference --out runs/two-arms',
        'study --show                            the records that come with the package',
        'study --json > study.json',
      ]),
    )
    .action((given: Flags) => {
      const flags = { ...given, arms: given.arms ?? STUDY_ARMS };
      return given.show ? showStudy(flags, command, io) : runStudy(flags, io);
    });
}

async function runStudy(flags: Flags, io: Io): Promise<void> {
  const { seeds, out, force, resume, json } = flags;
  if (force && resume) throw new UsageError('--resume keeps the records that are there, --force measures them again: give one of them');
  const classroom = await openClassroom(flags.evalQuestions);
  checkSiblingQuestions(flags, classroom.world.train);
  const policy = await givenBy('--policy', () => policySum(flags.policy ?? basePolicyFolder()));
  const records = new Map<number, StoredStudy>();
  for (const seed of force ? [] : seeds) {
    const record = await recordedBefore(seed, flags, policy);
    if (!record) continue;
    if (!resume)
      throw new UsageError(
        `${recordPath(out, seed)} holds a record: take it with --resume, measure again with --force, or choose another --out`,
      );
    records.set(seed, record);
    io.stderr.write(`seed ${seed}: ${printable(recordedWhen(record))}, not measured now\n`);
  }
  const open = seeds.filter((seed) => !records.has(seed));
  if (open.length) {
    const backend = await openBackend(io, flags);
    await givenBy('--out', () => makeFolder(out));
    const owner = await givenBy('--out', () => RunOwner.take(out));
    const clock = timeLeft(open, flags);
    const tasks = open.map(
      (seed): Task => ({
        title: `seed ${seed}`,
        run: async (note) => {
          const result = await measure(seed, flags, classroom, io, (what, done, total) => {
            clock.done(seed, what, done / total);
            note(`${what}: ${done} of ${total}${clock.text()}`);
          });
          const record: StoredStudy = {
            command: commandOf(seed, flags),
            date: new Date().toISOString(),
            versions: { 'search-e1': version, node: process.version },
            backend,
            policy: policyName(flags.policy),
            policySha256: policy,
            questionsPerSet: flags.evalQuestions,
            settings: storable(settingsOf(seed, flags)),
            ...result,
          };
          await owner.assertHeld();
          await replaceFile(recordPath(out, seed), `${printableJson(record, 1)}\n`);
          records.set(seed, record);
          return `in ${duration(result.seconds)}`;
        },
      }),
    );
    const kept = () => `${records.size} of ${seeds.length} seeds are in ${out}; the same command with --resume measures the others`;
    await interruptible(io.signal, () => runTasks(io, tasks), kept, kept).finally(() => owner.release());
  }
  const all = seeds.map((seed) => records.get(seed) as StoredStudy);
  const table = () => `${describeStudy(all)}\n\nThe records are in ${out}\n`;
  io.stdout.write(json ? `${printableJson({ records: all, claims: checkClaims(all) })}\n` : table());
}

/** Prints what was measured before, and says so. */
async function showStudy(flags: Flags, command: Command, io: Io): Promise<void> {
  const allowed = ['show', 'seeds', 'json', 'verbose'];
  const other = command.options.find((each) => {
    const name = each.attributeName();
    return !allowed.includes(name) && command.getOptionValueSource(name) === 'cli';
  });
  if (other) throw new UsageError(`--show prints records and measures nothing: leave ${other.long} out`);
  const folder = flags.show === true ? datasetPath('runs', 'study') : (flags.show as string);
  const names = await givenBy('--show', () => readdir(folder));
  const there = names.flatMap((name) => /^seed-(\d+)\.json$/.exec(name)?.slice(1).map(Number) ?? []).sort((a, b) => a - b);
  const seeds = command.getOptionValueSource('seeds') === 'cli' ? flags.seeds : there;
  const missing = seeds.find((seed) => !there.includes(seed));
  if (missing !== undefined)
    throw new UsageError(`--seeds ${missing}: ${folder} holds no record of it, but of ${there.join(', ') || 'no seed'}`);
  if (seeds.length === 0) throw new UsageError(`--show ${folder}: there is no seed-N.json`);
  const records = await Promise.all(
    seeds.map((seed) =>
      givenBy(recordPath(folder, seed), async () => JSON.parse(await readFile(recordPath(folder, seed), 'utf8')) as StoredStudy),
    ),
  );
  const when = records.map((record) => `seed ${record.seed}: ${recordedWhen(record)}\n  ${record.command}`).join('\n');
  io.stdout.write(
    flags.json
      ? `${printableJson({ measuredNow: false, records, claims: checkClaims(records) })}\n`
      : `${printable(`Recorded before, not measured now (${folder}):\n${when}\n\n${describeStudy(records)}`)}\n`,
  );
}

const recordedWhen = ({ date, versions, backend }: StoredStudy): string =>
  `recorded on ${date.slice(0, 10)} with search-e1 ${versions['search-e1']} on ${backend.name}`;

async function measure(
  seed: number,
  flags: Flags,
  { world, environment, evaluation }: Classroom,
  io: Io,
  onProgress: (what: string, done: number, total: number) => void,
) {
  const scratch = join(flags.out, `.seed-${seed}-grpo`);
  try {
    return await study(
      () => openGivenEngine(flags.policy, memoryBudget(flags)),
      scratch,
      environment,
      world.train,
      evaluation(flags.evalQuestions),
      settingsOf(seed, flags),
      {
        arms: flags.arms,
        onProgress,
        signal: io.signal,
      },
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Counts episodes: an evaluated or attempted one as 1, one that is learnt from as 2. The names are those of the study's progress. */
function timeLeft(seeds: readonly number[], flags: Flags) {
  const evaluated = 2 * MINI_SETS.length * flags.evalQuestions;
  const arms = flags.arms.flatMap((arm): [string, number][] => [
    [arm, 2 * flags.siblingQuestions * Math.min(1, flags.attempts / 8)], // most questions give a pair
    [`evaluate ${arm}`, evaluated],
  ]);
  const phases: [string, number][] = [
    ['evaluate base', evaluated],
    ['grpo', 3 * flags.grpoSteps * flags.questionsPerStep * flags.groupSize],
    ['evaluate grpo', evaluated],
    ['pairs', flags.siblingQuestions * flags.attempts],
    ...arms,
  ];
  const size = phases.reduce((sum, [, episodes]) => sum + episodes, 0);
  const started = performance.now();
  let finished = 0;
  return {
    done(seed: number, phase: string, share: number) {
      const at = phases.findIndex(([name]) => name === phase);
      const before = phases.slice(0, at).reduce((sum, [, episodes]) => sum + episodes, 0);
      finished = seeds.indexOf(seed) * size + before + share * phases[at][1];
    },
    text(): string {
      const seconds = (performance.now() - started) / 1000;
      return seconds > 2 && finished > 0 ? ` · about ${duration((seconds / finished) * (seeds.length * size - finished))} left` : '';
    },
  };
}

const recordPath = (out: string, seed: number): string => join(out, `seed-${seed}.json`);

function settingsOf(seed: number, flags: Flags): StudySettings {
  const { grpo, siblings, ofsd } = evolutionSettings({ ...flags, seed });
  const { prefer: _prefer, ...attempts } = siblings;
  const { privileged: _privileged, ...adapter } = ofsd;
  return { grpo, siblings: attempts, ofsd: adapter, seed };
}

/** As JSON keeps it. */
const storable = (settings: StudySettings): unknown => JSON.parse(JSON.stringify(settings));

/**
 * The record that is there; null where there is none.
 *
 * @throws UsageError where it is about other settings, arms or weights
 */
async function recordedBefore(seed: number, flags: Flags, policy: string): Promise<StoredStudy | null> {
  const path = recordPath(flags.out, seed);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return null;
  const record = await givenBy(path, () => JSON.parse(text) as StoredStudy);
  const same =
    JSON.stringify(record.settings) === JSON.stringify(storable(settingsOf(seed, flags))) &&
    record.policySha256 === policy &&
    record.questionsPerSet === flags.evalQuestions &&
    flags.arms.every((arm) => record.arms[arm]);
  if (!same) throw new UsageError(`${path} was measured with other settings: choose another --out, or --force to measure it again`);
  return record;
}

/** The command that makes this record again, with every setting spelled out. */
function commandOf(seed: number, flags: Flags): string {
  const options = [
    ['--seeds', seed],
    ['--arms', flags.arms.join(',')],
    ['--policy', flags.policy],
    ['--grpo-steps', flags.grpoSteps],
    ['--questions-per-step', flags.questionsPerStep],
    ['--group-size', flags.groupSize],
    ['--learning-rate', flags.learningRate],
    ['--sibling-questions', flags.siblingQuestions],
    ['--attempts', flags.attempts],
    ['--ofsd-learning-rate', flags.ofsdLearningRate],
    ['--clamp', flags.clamp],
    ['--eval-questions', flags.evalQuestions],
    ['--memory', flags.memory],
    ['--backend', flags.backend],
  ] as const;
  return shellCommand('study', ...options.flatMap(([name, value]) => (value === undefined ? [] : [name, value])));
}
