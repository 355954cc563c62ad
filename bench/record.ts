/** What a run leaves: its timings with the machine and the versions that made them. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, loadavg, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Profile } from './messages.js';
import type { Size } from './works.js';

export interface Result {
  readonly name: string;
  readonly title: string;
  readonly peer: string;
  readonly goal: number | null;
  /** Ours: which one was measured. Records from before there was a choice do not say; it was simd. */
  readonly backend?: string;
  readonly threads: number;
  /** Useful floating-point operations of one repetition. */
  readonly flops: number;
  /** Seconds a repetition, round by round; the peer's are empty where it was not there. */
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  /** Ours, of one more repetition; where it was asked for. */
  readonly profile?: Profile;
  /** Largest relative difference between the two sides' results; null where there was no peer. */
  readonly error: number | null;
}

export interface MemoryResult {
  readonly backend?: string;
  readonly threads: number;
  readonly steps: number;
  /** Bytes above the start of the process: most so far, and after each twentieth of the steps. */
  readonly ours: { readonly peak: number; readonly rss: readonly number[] };
  readonly theirs: { readonly peak: number; readonly rss: readonly number[] } | null;
}

/** GFLOP/s of a float32 matrix product, and what each side runs on. */
export interface Peak {
  readonly backend?: string;
  readonly threads: number;
  readonly ours: number;
  readonly theirs: number | null;
  readonly backends: readonly string[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Bytes. */
  readonly memory: number;
  readonly platform: string;
  /** Processes that wanted a core in the minute before the start. */
  readonly load: number;
}

export interface BenchRecord {
  readonly date: string;
  readonly commit: string | null;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly size: Size;
  readonly rounds: number;
  readonly peaks: readonly Peak[];
  readonly results: readonly Result[];
  readonly memory: readonly MemoryResult[];
  /** Works that were not timed, and why. */
  readonly refused: readonly { readonly name: string; readonly backend?: string; readonly threads: number; readonly reason: string }[];
  /** False where it was interrupted. */
  readonly complete: boolean;
}

export const thisMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim().replace(/\s+/g, ' ') || 'unknown CPU',
  cores: cpus().length,
  memory: totalmem(),
  platform: `${platform()} ${arch()}`,
  load: loadavg()[0],
});

/** Whether other work had the machine: timings are then noise. */
export const isBusy = ({ load, cores }: Machine): boolean => load > cores / 2;

/** `2026-11-26-intel-xeon-processor-1+2.json` */
export function recordName({ date, machine, peaks }: Pick<BenchRecord, 'date' | 'machine' | 'peaks'>): string {
  const cpu = machine.cpu
    .toLowerCase()
    .replace(/\((r|tm)\)/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  return `${date.slice(0, 10)}-${cpu}-${[...new Set(peaks.map(({ threads }) => threads))].join('+')}.json`;
}

/** Writes the record into a folder; returns its path. */
export function writeRecord(folder: string, record: BenchRecord): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, recordName(record));
  writeFileSync(path, `${JSON.stringify(record, null, 1)}\n`);
  return path;
}

/** The newest record of a folder; null where there is none. */
export function newestRecord(folder: string): BenchRecord | null {
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  } catch {
    return null;
  }
  const records = names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as BenchRecord);
  return records.sort((a, b) => (a.date < b.date ? 1 : -1))[0] ?? null;
}
