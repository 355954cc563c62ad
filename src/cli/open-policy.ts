/** The backend and the policy that a command works with, said on stderr before anything is computed. */
import { type Command, Option } from 'commander';
import { printable } from '../display/printable.js';
import type { Engine } from '../engines/engine.js';
import { type InProcessOptions, inProcessEngine } from '../engines/in-process.js';
import { openEngine } from '../engines/open.js';
import { loadAdapter } from '../policy/adapter-files.js';
import { loadPolicy } from '../policy/checkpoint.js';
import type { LoadProgress } from '../policy/shards.js';
import { loadTokenizer, type Tokenizer } from '../policy/tokenizer.js';
import { classroomProtocol, type Protocol } from '../rollout/protocol.js';
import { searchR1Protocol } from '../rollout/search-r1.js';
import { type BackendReport, type ComputedOn, startBackend } from '../tensors/backend.js';
import { givenBy, type Io, UsageError } from './io.js';
import type { CommonFlags } from './options.js';

/** Starts the chosen backend and says which it is, with the reasons for every fallback. */
export async function openBackend(io: Io, { backend }: Pick<CommonFlags, 'backend'>): Promise<BackendReport> {
  // The variable is the option's default, and the option wins over it; `startBackend` itself looks at the variable first.
  if (process.env.SEARCH_E1_BACKEND) process.env.SEARCH_E1_BACKEND = backend;
  const report = await givenBy(`--backend ${backend}`, () => startBackend({ backend }));
  const kernels = report.kernels === 'none' ? '' : `, own kernels (${report.kernels})`;
  io.stderr.write(`backend: ${printable(`${report.name}: ${report.description}${kernels}`)}\n`);
  for (const note of report.notes) io.stderr.write(`  not used: ${printable(note)}\n`);
  return report;
}

/** Warns who goes on with a run on another backend than before. */
export function warnOfOtherBackend(io: Io, before: ComputedOn, now: ComputedOn): void {
  const described = before.name === 'simd' ? [] : (['description'] as const); // simd's says how many threads, and those change no bit
  const changed = (['name', ...described, 'kernels', 'compute'] as const).filter((key) => before[key] !== now[key]);
  if (changed.length === 0) return;
  const change = changed.map((key) => `${key === 'name' ? 'backend' : key} was ${before[key]}, is ${now[key]}`).join('; ');
  io.stderr.write(`warning: the numbers will not be those of an uninterrupted run: ${printable(change)}\n`);
}

/** An engine over a checkpoint folder; without one the base policy that comes with the package. */
export const openGivenEngine = (folder: string | undefined, options?: InProcessOptions): Promise<Engine> =>
  givenBy('--policy', () => openEngine(folder, options));

/** How the policy is called in results. */
export const policyName = (folder: string | undefined): string => folder ?? 'base policy';

export type ProtocolName = 'classroom' | 'search-r1';

/** Who is asked, and in which words. */
export interface ModelFlags {
  readonly policy?: string;
  readonly model?: string;
  readonly adapter?: string;
  readonly protocol?: ProtocolName;
}

/** `--policy`, `--model`, `--adapter` and `--protocol`. */
export function addModelOptions(command: Command): Command {
  return command
    .option('--policy <folder>', 'classroom checkpoint (default: the base policy that comes with the package)')
    .option(
      '--model <folder>',
      'a Qwen2.5 or Search-R1 checkpoint instead: config.json, safetensors and tokenizer files as Hugging Face has them; weights of 16 bits stay as stored',
    )
    .option('--adapter <folder>', 'LoRA adapter of PEFT on top of --model')
    .addOption(
      new Option('--protocol <name>', 'in which words it is asked (default: classroom; with --model: search-r1)').choices([
        'classroom',
        'search-r1',
      ]),
    );
}

/** Checks what only one of the options may say. */
export function checkModelFlags({ policy, model, adapter }: ModelFlags): void {
  if (policy !== undefined && model !== undefined) throw new UsageError('--policy and --model: give one of them');
  if (adapter !== undefined && model === undefined) throw new UsageError('--adapter needs the --model it was trained on');
}

/** The engine of the policy or model that the options name, its size and loading time said on stderr. */
export async function openModel(flags: ModelFlags, io: Io): Promise<Engine> {
  const { model, adapter } = flags;
  if (model === undefined) return openGivenEngine(flags.policy);
  const tokenizer = await givenBy('--model', async () => loadTokenizer(model));
  const progress: LoadProgress[] = [];
  const onProgress = (each: LoadProgress) => {
    const tenth = Math.floor((10 * each.bytes) / each.total);
    if (io.stderr.isTTY && tenth !== Math.floor((10 * (progress.at(-1)?.bytes ?? 0)) / each.total))
      io.stderr.write(`\rmodel: ${amount(each)}, ${10 * tenth} %`);
    progress.push(each);
  };
  const policy = await givenBy('--model', () => loadPolicy(model, { storage: 'stored', onProgress, signal: io.signal }));
  const last = progress.at(-1);
  const read = last ? `, ${amount(last)} read in ${last.seconds.toFixed(1)} s` : '';
  io.stderr.write(`${io.stderr.isTTY ? '\r' : ''}model: ${(policy.parameters / 1e6).toFixed(1)} million parameters${read}\n`);
  if (adapter !== undefined) await givenBy('--adapter', () => loadAdapter(policy, adapter));
  return inProcessEngine(policy, tokenizer);
}

const amount = ({ bytes, seconds }: LoadProgress): string =>
  `${(bytes / 1e6).toFixed(0)} MB at ${(bytes / 1e6 / Math.max(seconds, 1e-3)).toFixed(0)} MB/s`;

export const protocolName = ({ model, protocol }: ModelFlags): ProtocolName =>
  protocol ?? (model === undefined ? 'classroom' : 'search-r1');

/** The protocol that the options name, in the words of the tokenizer's chat template. */
export const openProtocol = (flags: ModelFlags, tokenizer: Tokenizer): Protocol =>
  protocolName(flags) === 'classroom' ? classroomProtocol : searchR1Protocol(tokenizer.renderChat);

/** Episodes of a real model that are under way together: each holds a cache of its whole length. */
export const EPISODES_AT_ONCE = 4;
