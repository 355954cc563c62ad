/** What options have in common: how their values are read, and the ones that several commands share. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { BackendName } from '../tensors/backend.js';
import { UsageError } from './io.js';

export interface CommonFlags {
  readonly backend: 'auto' | BackendName;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** `--backend`, `--json` and `--verbose`, at the end of a command's options. */
export function addCommonOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--backend <name>', 'TensorFlow.js backend; auto takes tensorflow or webgpu on a graphics card, else simd')
        .choices(['auto', 'tensorflow', 'webgpu', 'simd', 'cpu'])
        .env('SEARCH_E1_BACKEND')
        .default('auto'),
    )
    .option('--json', 'print the result as JSON')
    .option('--verbose', 'show the stack trace of an error (as DEBUG=1 does)');
}

/**
 * What a run was begun with may be given again when it is resumed, but must be the same.
 *
 * @throws UsageError naming the first option that says something else
 */
export function checkSameOptions<Flags extends object>(
  command: Command,
  given: Flags,
  begun: Flags,
  keys: readonly (keyof Flags & string)[],
  place: string,
): void {
  for (const key of keys) {
    if (command.getOptionValueSource(key) !== 'cli' || given[key] === begun[key]) continue;
    const option = command.options.find((each) => each.attributeName() === key)?.long;
    const before = begun[key] ?? 'the default';
    throw new UsageError(`${option} ${given[key]}: the run in ${place} was begun with ${before}; leave the option out to go on with it`);
  }
}

/** Why a seed is refused beside temperature 0. */
export const NOTHING_DRAWN = 'at temperature 0 nothing is drawn; add --temperature 1, or leave it out';

/** Examples below the help. */
export const examples = (lines: readonly string[]): string => `\nExamples:\n${lines.map((line) => `  $ npx search-e1 ${line}`).join('\n')}`;

/** `--memory`, of commands that train. */
export interface MemoryFlags {
  /** MB; undefined: the engine's default. */
  readonly memory?: number;
}

export const memoryOption = () =>
  new Option(
    '--memory <MB>',
    'what training may hold of a batch at a time, beside weights, gradients and moments (default: 134, for larger models more)',
  ).argParser(positive());

/** As the engine takes it. */
export const memoryBudget = ({ memory }: MemoryFlags): { readonly memoryBudget?: number } =>
  memory === undefined ? {} : { memoryBudget: 1e6 * memory };

/** An integer from `least` to `most`. */
export function integer(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected an integer from ${least} to ${most}.`);
  };
}

/** A decimal number above 0, or from 0 on, and of at most `most`. What is too small or too large for a number (1e-999, 1e999) is refused, not rounded. */
export function positive({
  orZero = false,
  most = Number.MAX_VALUE,
}: {
  readonly orZero?: boolean;
  readonly most?: number;
} = {}): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim());
    const zero = /^[+-]?[0.]+(e|$)/i.test(text.trim());
    if (decimal && value <= most && (value > 0 || (orZero && zero))) return value;
    const limit = most === Number.MAX_VALUE ? '' : ` and of at most ${most}`;
    throw new InvalidArgumentError(`Expected a number ${orZero ? 'of at least' : 'above'} 0${limit}.`);
  };
}

/**
 * Refuses values that are empty, such as those of unset variables in a script, and an option given twice, of which the first would be forgotten. Options whose
 * parser takes the values before go together.
 */
export function refuseEmptyAndRepeated(command: Command): void {
  for (const option of command.options) {
    if (!option.required && !option.optional) continue;
    let given = 0;
    command.on(`option:${option.name()}`, (text: string | null) => {
      if (text?.trim() === '') command.error(`error: option '${option.flags}': the value is empty`);
      if (++given > 1 && !collects(option)) command.error(`error: option '${option.flags}' is given twice`);
    });
  }
}

const collects = ({ parseArg }: Option): boolean => parseArg !== undefined && parseArg.length > 1;

/** Refuses options that were given on the command line and would change nothing there: none is left out without a word. */
export function refuseWithoutEffect(command: Command, keys: readonly string[], why: string): void {
  const given = command.options.find(
    (option) => keys.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (given) throw new UsageError(`${given.long}: ${why}`);
}

/** `1,2,3`; a number that is there twice is a mistyped one. */
export function integerList(text: string): readonly number[] {
  return eachOnce(text.split(',').map((part) => integer(0)(part.trim())));
}

/** Values of an option that may be given several times, or several at once with commas; each must be one of `choices`. */
export function oneOrMore<T extends string>(choices: readonly T[]): (text: string, before: readonly T[] | undefined) => readonly T[] {
  return (text, before) => {
    const values = text.split(',').map((part) => part.trim());
    const unknown = values.find((value) => !(choices as readonly string[]).includes(value));
    if (unknown !== undefined) throw new InvalidArgumentError(`Expected one of ${choices.join(', ')}.`);
    return eachOnce([...(before ?? []), ...(values as T[])]);
  };
}

/** Files of an option that may be given several times. */
export const files = (path: string, before: readonly string[] | undefined): readonly string[] => eachOnce([...(before ?? []), path]);

function eachOnce<T>(values: readonly T[]): readonly T[] {
  const twice = values.find((value, i) => values.indexOf(value) !== i);
  if (twice !== undefined) throw new InvalidArgumentError(`Expected each once, got ${twice} twice.`);
  return values;
}
