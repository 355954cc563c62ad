/** `search-e1 study`: the claims that the classroom rests on, measured seed by seed and kept with the command that made them. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { printableJson } from '../display/printable.js';
import { duration } from '../display/progress.js';
import { STUDY_ARMS, type StudyArm, type StudySettings, study } from '../evolution/study.js';
import { replaceFile } from '../replace-file.js';
import { version } from '../version.js';
import { type Classroom, openClassroom } from './classroom.js';
import { addEvolutionOptions, type EvolutionFlags, evolutionSettings } from './evolution-settings.js';
import { givenBy, type Io, interruptible, UsageError } from './io.js';
import { openBackend, openEngine, policyName } from './open-policy.js';
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
import { checkClaims, describeStudy, type StoredStudy } from './study-summary.js';
import { runTasks, type Task } from './tasks.js';

interface Flags extends EvolutionFlags, MemoryFlags, CommonFlags {
  readonly seeds: readonly number[];
  readonly arms: readonly StudyArm[];
  readonly out: string;
  readonly policy?: string;
  readonly evalQuestions: number;
  readonly force?: boolean;
}

export function defineStudy(command: Command, io: Io): void {
  command
    .description(
      'For each seed: the base policy, GRPO, pairs of its attempts, and from there several ways on: self-distillation (ofsd), the same on correct siblings (ofsd-correct), the control whose teacher sees no reference (no-reference), and fine-tuning on the references (sft). Each seed leaves a record; those that are there are not measured again.',
    )
    .option('--seeds <list>', 'seeds, with commas', integerList, [1, 2, 3])
    .option('--arms <list>', `ways on from GRPO, with commas, of ${STUDY_ARMS.join(', ')}`, oneOrMore(STUDY_ARMS))
    .option('--out <folder>', 'where the records go, one seed-N.json each', join('datasets', 'runs', 'study'))
    .option('--policy <folder>', 'checkpoint to start from (default: the base policy that comes with the package)')
    .option('--force', 'measure again what is there');
  addEvolutionOptions(command).option('--eval-questions <n>', 'questions of each mini set', integer(1), 100).addOption(memoryOption());
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'study                                   seeds 1, 2, 3; about a minute each',
        'study --seeds 4,5 --arms ofsd,no-reference',
        'study --json > study.json',
      ]),
    )
    .action((given: Flags) => runStudy({ ...given, arms: given.arms ?? STUDY_ARMS }, io));
}

async function runStudy(flags: Flags, io: Io): Promise<void> {
  const { seeds, out, force, json } = flags;
  const records = new Map<number, StoredStudy>();
  if (!force) for (const seed of seeds) await keepRecord(seed, flags, records);
  const open = seeds.filter((seed) => !records.has(seed));
  if (open.length) {
    const backend = await openBackend(io, flags);
    const classroom = await openClassroom(flags.evalQuestions);
    await mkdir(out, { recursive: true });
    const tasks = open.map(
      (seed): Task => ({
        title: `seed ${seed}`,
        run: async (note) => {
          const started = performance.now();
          const result = await measure(seed, flags, classroom, io, (what, done, total) =>
            note(`${what}: ${done} of ${total} · ${duration((performance.now() - started) / 1000)} so far`),
          );
          const record: StoredStudy = {
            command: commandLine(seed, flags),
            date: new Date().toISOString(),
            versions: { 'search-e1': version, node: process.version },
            backend,
            policy: policyName(flags.policy),
            questionsPerSet: flags.evalQuestions,
            settings: storable(settingsOf(seed, flags)),
            ...result,
          };
          await replaceFile(recordPath(out, seed), `${printableJson(record, 1)}\n`);
          records.set(seed, record);
          return `in ${duration(result.seconds)}`;
        },
      }),
    );
    const kept = () => `${records.size} of ${seeds.length} seeds are in ${out}; the same command measures the others`;
    await interruptible(io.signal, () => runTasks(io, tasks), kept, kept);
  }
  const all = seeds.map((seed) => records.get(seed) as StoredStudy);
  io.stdout.write(
    json ? `${printableJson({ records: all, claims: checkClaims(all) })}\n` : `${describeStudy(all)}\n\nThe records are in ${out}\n`,
  );
}

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
      () => openEngine(flags.policy, memoryBudget(flags)),
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

const recordPath = (out: string, seed: number): string => join(out, `seed-${seed}.json`);

function settingsOf(seed: number, flags: Flags): StudySettings {
  const { grpo, siblings, ofsd } = evolutionSettings({ ...flags, seed });
  const { prefer: _prefer, ...attempts } = siblings;
  const { privileged: _privileged, ...adapter } = ofsd;
  return { grpo, siblings: attempts, ofsd: adapter, seed };
}

/** As JSON keeps it. */
const storable = (settings: StudySettings): unknown => JSON.parse(JSON.stringify(settings));

/** Takes up a record that is there, if it is about the same settings and arms. */
async function keepRecord(seed: number, flags: Flags, records: Map<number, StoredStudy>): Promise<void> {
  const path = recordPath(flags.out, seed);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return;
  const record = await givenBy(path, () => JSON.parse(text) as StoredStudy);
  const same =
    JSON.stringify(record.settings) === JSON.stringify(storable(settingsOf(seed, flags))) &&
    record.policy === policyName(flags.policy) &&
    record.questionsPerSet === flags.evalQuestions &&
    flags.arms.every((arm) => record.arms[arm]);
  if (!same) throw new UsageError(`${path} was measured with other settings: choose another --out, or --force to measure it again`);
  records.set(seed, record);
}

/** The command that makes this record again, with every setting spelled out. */
function commandLine(seed: number, flags: Flags): string {
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
  return `search-e1 study ${options.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`])).join(' ')}`;
}
