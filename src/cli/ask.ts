/** `search-e1 ask`: one episode as it unfolds, token by token. */
import type { Command } from 'commander';
import { printable, printableJson } from '../display/printable.js';
import { type GenerationSettings, readGenerationSettings } from '../policy/generation-config.js';
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { rollout } from '../rollout/rollout.js';
import type { Trajectory } from '../rollout/trajectory.js';
import type { Searcher } from '../search/passage.js';
import { MINI_SETS } from '../tinypedia/questions.js';
import type { Tinypedia } from '../tinypedia/tinypedia.js';
import { TINYPEDIA_WORDS } from '../tinypedia/tokenizer.js';
import { openClassroom } from './classroom.js';
import { listenedTo, writeEpisode } from './episode-writer.js';
import { openCorpus } from './evaluation-source.js';
import { givenBy, type Io, interruptible, UsageError, wantsColour } from './io.js';
import {
  addModelOptions,
  checkModelFlags,
  type ModelFlags,
  openBackend,
  openModel,
  openProtocol,
  policyName,
  protocolName,
} from './open-policy.js';
import { addCommonOptions, type CommonFlags, examples, integer, NOTHING_DRAWN, positive, refuseWithoutEffect } from './options.js';
import { shellCommand } from './shell.js';
import { trajectoryRecord } from './trajectory-record.js';

interface Flags extends CommonFlags, ModelFlags {
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly repetitionPenalty?: number;
  readonly seed: number;
  readonly corpus?: string;
  readonly example?: boolean;
}

const BY_DEFAULT = 'default: with --model as its generation_config.json says';

export function defineAsk(command: Command, io: Io): void {
  addModelOptions(
    command
      .description(
        'Puts one question to a policy and shows the episode as it unfolds: what it thinks, what it searches for, what it finds, what it answers. The base policy lives in Tinypedia, a made-up encyclopedia with a vocabulary of some hundred words: --example lists questions it can answer. With --model a real language model is asked, and searches the passages that come with the package.',
      )
      .argument('[question]', 'the question, in quotes')
      .option('--example', 'list questions that the classroom world can answer'),
  )
    .option('--temperature <t>', `0 takes the likeliest token; 1 samples (${BY_DEFAULT}, or 0)`, positive({ orZero: true }))
    .option('--top-p <p>', `only the likeliest tokens that hold this probability together (${BY_DEFAULT})`, positive({ most: 1 }))
    .option('--top-k <k>', `only the k likeliest tokens; 0: all (${BY_DEFAULT})`, integer(0))
    .option('--repetition-penalty <x>', `above 1: less of what the question and the episode hold already (${BY_DEFAULT})`, positive())
    .option('--seed <n>', 'of the sampling, and of the choice of examples', integer(0), 1)
    .option('--corpus <file>', 'passages to search instead: .jsonl or .jsonl.gz with "id" and "contents"');
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'ask --example',
        'ask "$(npx search-e1 ask --example --seed 3 | head -n 1)"',
        'ask --policy runs/seed-1/checkpoints/2-ofsd --temperature 1 --seed 5 "who is the mayor of ... ?"',
        'ask --json "..." | jq .answer',
        'ask --model models/Qwen2.5-0.5B-Instruct "Who wrote the novel that the film Blade Runner is based on?"',
      ]),
    )
    .action((question: string | undefined, flags: Flags) => runAsk(question, flags, command, io));
}

async function runAsk(text: string | undefined, flags: Flags, command: Command, io: Io): Promise<void> {
  checkModelFlags(flags);
  if (flags.example) {
    if (text !== undefined) throw new UsageError('--example lists questions and asks none: leave one of them out');
    const others = command.options
      .map((option) => option.attributeName())
      .filter((key) => !['example', 'seed', 'json', 'verbose'].includes(key));
    refuseWithoutEffect(command, others, '--example only lists questions of the classroom; leave it out');
  }
  const classroom = flags.model === undefined || flags.example ? await openClassroom() : undefined;
  if (flags.example && classroom) {
    const chosen = exampleQuestions(classroom.world, flags.seed);
    io.stdout.write(flags.json ? `${printableJson(chosen)}\n` : `${chosen.map(({ question }) => question).join('\n')}\n`);
    return;
  }
  if (text === undefined || text.trim() === '')
    throw new UsageError(`no question given; ${shellCommand('ask', '--example')} lists some that can be answered`);
  let question: Question = { id: 'asked', dataset: 'asked', question: text.trim(), goldenAnswers: [] };
  let searcher: Searcher;
  if (classroom && flags.corpus === undefined) {
    question = inClassroom(text, classroom.world, flags, io);
    searcher = classroom.environment.searcher;
  } else searcher = (await openCorpus(flags.corpus === undefined ? undefined : [flags.corpus], io)).searcher;
  const sampling = await samplingOf(flags, command, io);
  await openBackend(io, flags);
  const engine = await openModel(flags, io);
  try {
    const writer = flags.json ? undefined : writeEpisode(engine.tokenizer, (piece) => void io.stdout.write(piece), wantsColour(io.stdout));
    const speaker = writer ? listenedTo(engine, writer) : engine;
    const [trajectory] = await interruptible(
      io.signal,
      () =>
        rollout(speaker, { protocol: openProtocol(flags, engine.tokenizer), searcher }, [question], {
          ...sampling,
          seed: flags.seed,
          signal: io.signal,
        }),
      () => 'ask again',
    );
    writer?.end();
    const record = {
      policy: policyName(flags.model ?? flags.policy),
      protocol: protocolName(flags),
      ...inTheirNames(sampling),
      seed: flags.seed,
      ...trajectoryRecord(trajectory, engine.tokenizer),
    };
    io.stdout.write(flags.json ? `${printableJson(record)}\n` : `\n${printable(outcome(trajectory))}\n`);
  } finally {
    engine.dispose();
  }
}

/** How the episode is sampled: as the model's folder says, as `generate` of Transformers would, where the options say nothing else. */
async function samplingOf(flags: Flags, command: Command, io: Io): Promise<GenerationSettings> {
  const { model, temperature, topP, topK, repetitionPenalty } = flags;
  const given = Object.fromEntries(Object.entries({ topP, topK, repetitionPenalty }).filter(([, value]) => value !== undefined));
  const ofDrawing = ['seed', ...(topP === 1 ? [] : ['topP']), ...(topK === 0 ? [] : ['topK'])]; // the others leave nothing out
  if (model === undefined) {
    if (!temperature) refuseWithoutEffect(command, ofDrawing, NOTHING_DRAWN);
    return { temperature: temperature ?? 0, ...given };
  }
  const { settings } = await givenBy('--model', () => readGenerationSettings(model));
  const sampling = { ...settings, ...given, temperature: temperature ?? settings.temperature };
  if (sampling.temperature === 0) refuseWithoutEffect(command, ofDrawing, NOTHING_DRAWN);
  const { repetition_penalty, ...drawn } = inTheirNames(sampling);
  const limits = Object.entries(sampling.temperature === 0 ? { repetition_penalty } : { ...drawn, repetition_penalty });
  const said = limits.map(([name, value]) => `${name} ${value}`).join(', ');
  io.stderr.write(`sampling: ${sampling.temperature === 0 ? 'greedy, ' : ''}${said}\n`);
  return sampling;
}

/** Settings as `generation_config.json` calls them. */
function inTheirNames({
  temperature,
  topK,
  topP,
  minP,
  repetitionPenalty,
}: GenerationSettings): Readonly<Record<string, number | undefined>> {
  return { temperature, top_k: topK, top_p: topP, min_p: minP, repetition_penalty: repetitionPenalty };
}

/** One question of each mini set. */
function exampleQuestions(world: Tinypedia, seed: number): { set: string; question: string; goldenAnswers: readonly string[] }[] {
  return MINI_SETS.map((set) => {
    const { question, goldenAnswers } = random(seed, 'example', set).pick(world.sets[set]);
    return { set, question, goldenAnswers };
  });
}

/** The question in the classroom's spelling, with its gold answers where it is one of the world's own; warns where it cannot be understood. */
function inClassroom(text: string, world: Tinypedia, flags: Flags, io: Io): Question {
  const question = classroomSpelling(text);
  if (question !== text) io.stderr.write(`asked as: ${printable(question)}\n`);
  const known = [...world.train, ...MINI_SETS.flatMap((set) => world.sets[set])].find((each) => each.question === question);
  if (known) return known;
  const words = new Set(TINYPEDIA_WORDS);
  const unknown = question
    .replaceAll("'s", '')
    .split(/\s+/)
    .filter((word) => word !== '' && !words.has(` ${word}`));
  const named = world.entities.some(({ name }) => ` ${question} `.includes(` ${name} `) || question.includes(`${name}'s `));
  if (unknown.length || !named) {
    const why = unknown.length ? `does not know ${unknown.map((word) => `"${word}"`).join(', ')}` : 'has no entry that the question names';
    const instead = exampleQuestions(world, flags.seed).map(({ question: example }) => `  ${example}`);
    io.stderr.write(
      `warning: the classroom world ${printable(why)}: what follows is a guess. It can be asked, for example:\n${instead.join('\n')}\n`,
    );
  }
  return { id: 'asked', dataset: 'asked', question, goldenAnswers: [] };
}

/** Punctuation as words of their own, and a small letter at the beginning where that makes it a word of the world. */
export function classroomSpelling(text: string): string {
  const words = new Set(TINYPEDIA_WORDS);
  const spaced = text
    .trim()
    .replace(/[’]s\b/g, "'s")
    .replace(/\s*([?.,])/g, ' $1')
    .replace(/\s+/g, ' ')
    .trim();
  const [first, ...rest] = spaced.split(' ');
  const small = first.toLowerCase();
  return [!words.has(` ${first}`) && words.has(` ${small}`) ? small : first, ...rest].join(' ');
}

function outcome({ answer, searches, finish, own, reward, question: { goldenAnswers } }: Trajectory): string {
  const ends = { answer: '', turns: ' (its turns were used up)', length: ' (cut at the token limit)', end: ' (it ended without one)' }[
    finish
  ];
  const verdict =
    goldenAnswers.length === 0
      ? 'whether it is right is not known here'
      : reward === 1
        ? '✓ right'
        : `✗ the right answer is ${goldenAnswers.join(' or ')}`;
  const written = own.filter(Boolean).length;
  return `answer: ${answer ?? 'none'}${ends} · ${verdict} · ${searches} ${searches === 1 ? 'search' : 'searches'}, ${written} own tokens`;
}
