/**
 * The command line as a function: arguments in, exit code out. 0 done, 1 failed, 2 asked for wrongly, 130 interrupted.
 *
 * A command's file is loaded when the command is named, so that `search-e1 --help` need not load TensorFlow.js.
 */
import { Command, CommanderError } from 'commander';
import { printable } from '../display/printable.js';
import { version } from '../version.js';
import { Failed, Interrupted, type Io, UsageError } from './io.js';
import { examples, refuseEmptyAndRepeated } from './options.js';

/** Adds options and the action to a command. */
type Define = (command: Command, io: Io) => void;

const COMMANDS: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Define> }>> = {
  evolve: {
    summary: 'train a policy on Tinypedia: rounds of GRPO and self-distillation',
    load: async () => (await import('./evolve.js')).defineEvolve,
  },
  evaluate: {
    summary: 'exact match on Tinypedia or on the seven benchmarks, with intervals',
    load: async () => (await import('./evaluate.js')).defineEvaluate,
  },
  ask: { summary: 'put one question and watch the episode unfold', load: async () => (await import('./ask.js')).defineAsk },
  doctor: {
    summary: 'what this machine can compute on, how fast, and what would make it faster',
    load: async () => (await import('./doctor.js')).defineDoctor,
  },
  notebooks: {
    summary: 'execute the notebooks and make a book of them',
    load: async () => (await import('./notebooks.js')).defineNotebooks,
  },
  pretrain: { summary: 'train a base policy for Tinypedia from nothing', load: async () => (await import('./pretrain.js')).definePretrain },
  study: {
    summary: 'measure on several seeds what GRPO and self-distillation do',
    load: async () => (await import('./study.js')).defineStudy,
  },
};

/** Runs `search-e1 ...args`. Throws nothing: every error is written to `io.stderr`. */
export async function main(args: readonly string[], io: Io): Promise<number> {
  try {
    const program = await buildProgram(args, io);
    await program.parseAsync([...args], { from: 'user' });
    return 0;
  } catch (error) {
    return report(error, io, args.includes('--verbose') || Boolean(process.env.DEBUG));
  }
}

async function buildProgram(args: readonly string[], io: Io): Promise<Command> {
  const program = new Command('search-e1')
    .description('Search-E1: a language model learns to search, and distils itself.')
    .version(version)
    .addHelpText(
      'after',
      examples([
        'ask --example               questions that the classroom world can answer',
        'evaluate                    the base policy on the seven mini sets',
        'evolve --rounds 1           train it',
        'evaluate --agent lexical    the real benchmark samples, without a model',
        'evolve --help               everything about one command',
      ]),
    )
    .exitOverride()
    .showHelpAfterError('(add --help for options and examples)')
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: (text, write) => write(`search-e1: ${printable(text)}`),
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  const operands = args.filter((arg) => !arg.startsWith('-'));
  const named = operands[0] === 'help' ? operands[1] : operands[0];
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command = program.command(name).summary(summary);
    if (name !== named) continue;
    (await load())(command, io);
    refuseEmptyAndRepeated(command);
  }
  return program;
}

function report(error: unknown, io: Io, verbose: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has written its message
  const say = (text: string) => io.stderr.write(`search-e1: ${printable(text)}\n`);
  const known = error instanceof UsageError || error instanceof Failed || error instanceof Interrupted || io.signal.aborted;
  const message = error instanceof Error ? error.message : String(error);
  if (io.signal.aborted) say(`interrupted${error instanceof Interrupted ? `. ${message}` : ''}`);
  else say(message || 'failed without a message');
  if (verbose) say(stacks(error));
  else if (!known) say('add --verbose to see where this comes from');
  if (io.signal.aborted) return 130;
  return error instanceof UsageError ? 2 : 1;
}

/** The stack of an error and of what caused it. */
function stacks(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${error.stack ?? error.message}${error.cause ? `\ncaused by ${stacks(error.cause)}` : ''}`;
}
