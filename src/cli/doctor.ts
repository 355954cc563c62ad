/** `search-e1 doctor`: what this machine can compute on, how fast, what would make it faster, and which models fit. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { machineText, modelFits } from '../display/machine.js';
import { printable, printableJson } from '../display/printable.js';
import { type PolicyConfig, parseConfig } from '../policy/config.js';
import { readJson } from '../policy/shards.js';
import { checkBackendOptions } from '../tensors/backend.js';
import { inspectBackends } from '../tensors/inspect.js';
import { version } from '../version.js';
import { givenBy, type Io, interruptible } from './io.js';
import { examples } from './options.js';

interface Flags {
  readonly model?: string;
  readonly json?: boolean;
}

export function defineDoctor(command: Command, io: Io): void {
  command
    .description(
      'Starts and measures every backend: device, driver, memory, speed of a float32 matrix product and of memory; says why one does not start and the one command that would make it, which one is taken and why, and which models fit. Takes some ten seconds.',
    )
    .option('--model <config>', 'a Qwen2 config.json, or a folder with one, whose fit is reported (default: the Qwen2.5 models up to 7B)')
    .option('--json', 'print the result as JSON')
    .option('--verbose', 'show the stack trace of an error (as DEBUG=1 does)')
    .addHelpText('after', examples(['doctor', 'doctor --model runs/base', 'doctor --json | jq .chosen']))
    .action((flags: Flags) => runDoctor(flags, io));
}

async function runDoctor(flags: Flags, io: Io): Promise<void> {
  const models = flags.model === undefined ? undefined : await givenBy('--model', () => readModel(flags.model as string));
  await givenBy('the environment', () => checkBackendOptions()); // before ten seconds are spent on measuring
  const inspection = await interruptible(
    io.signal,
    () => inspectBackends({ signal: io.signal }),
    () => 'nothing was changed',
  );
  const fits = modelFits(inspection, models);
  const versions = { 'search-e1': version, node: process.versions.node, platform: `${process.platform} ${process.arch}` };
  if (flags.json) io.stdout.write(`${printableJson({ versions, ...inspection, fits })}\n`);
  else
    io.stdout.write(
      `${printable(`search-e1 ${version}, Node ${versions.node}, ${versions.platform}\n${machineText(inspection, fits)}`)}\n`,
    );
}

async function readModel(path: string): Promise<Readonly<Record<string, PolicyConfig>>> {
  const file = (await stat(path)).isDirectory() ? join(path, 'config.json') : path;
  return { [path]: parseConfig(await readJson(file), file) };
}
