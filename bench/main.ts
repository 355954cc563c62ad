/** `npm run bench`: the options, Ctrl-C, and what is printed. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { backendNames } from 'search-e1/tensors';
import { Measurement } from './measure.js';
import { progressOn } from './progress.js';
import { peerPython } from './python.js';
import { type BenchRecord, newestRecord, writeRecord } from './record.js';
import { recordTables, withTable } from './table.js';
import { GROUPS, type Size } from './works.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..');
const records = join(folder, 'records');
const readme = join(folder, '..', 'README.md');

interface Options {
  readonly threads: readonly number[];
  readonly only: readonly string[];
  readonly backends: readonly string[];
  readonly rounds: number;
  readonly size: Size;
  readonly peers: boolean;
  readonly profile?: true;
  readonly json?: true;
  readonly record?: true;
  readonly table?: true;
  readonly readme?: true;
}

const whole = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number from 1 on.');
  return Number(text);
};

/** As many as any side takes. */
const threads = (text: string): number[] =>
  text.split(',').map((each) => {
    if (whole(each) > 64) throw new InvalidArgumentError('Expected at most 64.');
    return whole(each);
  });

const someOf = (all: readonly string[]) => (text: string) =>
  text.split(',').map((name) => {
    if (!all.includes(name)) throw new InvalidArgumentError(`Expected some of ${all.join(',')}.`);
    return name;
  });

const program = new Command('npm run bench --')
  .description('Ours beside PyTorch, Transformers, PEFT and TRL: same machine, threads, weights and work, in alternating rounds.')
  .option('--threads <list>', 'numbers of threads', threads, [1])
  .option('--only <list>', `some of ${GROUPS.join(',')}`, someOf(GROUPS), [])
  .option('--backends <list>', `ours on some of ${backendNames.join(',')}, in turns; default: as anywhere`, someOf(backendNames), [])
  .option('--rounds <n>', 'timed repetitions of each side', whole, 7)
  .addOption(new Option('--size <size>', 'small: tiny shapes, to see that everything runs').choices(['full', 'small']).default('full'))
  .option('--no-peers', 'ours alone')
  .option('--profile', 'one more repetition of ours, timed operation by operation, and what share of the peak each reaches')
  .option('--json', 'print the record instead of tables')
  .option('--record', 'write bench/records/<date>-<cpu>-<threads>.json')
  .option('--table', 'measure nothing: print the newest record')
  .option('--readme', 'measure nothing: put the newest record into README.md')
  .addHelpText(
    'after',
    `
Examples:
  npm run bench                                     everything, one thread
  npm run bench -- --threads 1,2 --record           for the record
  npm run bench -- --backends simd,tensorflow       a column for each
  npm run bench -- --only training,lora --rounds 3
  npm run bench -- --only search --no-peers --profile   where the time of a step goes
  npm run bench -- --size small --no-peers          half a minute, no Python

Ctrl-C stops and prints what was measured.`,
  );

function commit(): string | null {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return `${git('rev-parse', '--short=12', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') ? ' and changes' : ''}`;
  } catch {
    return null; // an exported archive
  }
}

function print(record: BenchRecord, { json }: Options): void {
  process.stdout.write(json ? `${JSON.stringify(record, null, 1)}\n` : recordTables(record));
}

async function main(): Promise<void> {
  const options = program.parse().opts<Options>();
  if (options.table || options.readme) {
    const newest = newestRecord(records);
    if (!newest) throw new Error('bench/records holds no record: npm run bench -- --record makes one');
    if (options.table) print(newest, options);
    if (options.readme) writeFileSync(readme, withTable(readFileSync(readme, 'utf8'), newest));
    return;
  }
  const progress = progressOn(process.stderr);
  const python = options.peers ? peerPython(folder, progress.say) : null;
  const measurement = new Measurement(
    {
      ...options,
      ours: { name: 'ours', program: process.execPath, args: [join(folder, '.build', 'ours.js')] },
      peer: python ? { name: 'peer', program: python, args: [join(folder, 'peers', 'serve.py')] } : null,
      commit: commit(),
    },
    progress,
  );
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interrupted = true;
      measurement.stop();
    });
  }
  let failure: Error | null = null;
  try {
    await measurement.run();
  } catch (error) {
    if (!interrupted) failure = error as Error; // what was measured before it counts all the same
  } finally {
    progress.end();
    measurement.stop();
  }
  const record = measurement.record();
  print(record, options);
  process.exitCode = interrupted ? 130 : record.refused.length > 0 || failure ? 1 : 0;
  if (failure) throw failure;
  if (options.record && record.complete) progress.say(`wrote ${writeRecord(records, record)}`);
}

main().catch((error: Error) => {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
});
