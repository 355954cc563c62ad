/** `search-e1 evaluate`: a policy, or the agent without a model, on Tinypedia's mini sets or on the benchmarks, with intervals and published rows. */
import { appendFile, stat, writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { benchmarkNames } from '../benchmarks/benchmark-names.js';
import { type EvaluationRecord, summarize } from '../benchmarks/evaluate.js';
import { evaluatePolicy } from '../benchmarks/evaluate-policy.js';
import { evaluateLexicalAgent } from '../benchmarks/lexical-evaluation.js';
import { printable, printableJson } from '../display/printable.js';
import { duration } from '../display/progress.js';
import type { Engine } from '../engines/engine.js';
import { random } from '../random.js';
import type { Protocol } from '../rollout/protocol.js';
import type { BackendReport } from '../tensors/backend.js';
import { MINI_SETS } from '../tinypedia/questions.js';
import { type EvaluationSource, openSource, type Part, type SetName, type SourceFlags } from './evaluation-source.js';
import { describeEvaluation, type EvaluationResult } from './evaluation-table.js';
import { givenBy, Interrupted, type Io, UsageError } from './io.js';
import {
  addModelOptions,
  checkModelFlags,
  EPISODES_AT_ONCE,
  openBackend,
  openModel,
  openProtocol,
  policyName,
  protocolName,
} from './open-policy.js';
import {
  addCommonOptions,
  type CommonFlags,
  examples,
  files,
  integer,
  NOTHING_DRAWN,
  oneOrMore,
  positive,
  refuseWithoutEffect,
} from './options.js';
import { runTasks, type Task } from './tasks.js';
import { trajectoryRecord } from './trajectory-record.js';

interface EvaluateFlags extends CommonFlags, SourceFlags {
  readonly temperature: number;
  readonly seed: number;
  readonly trajectories?: string;
}

const SET_NAMES: readonly SetName[] = ['tinypedia', 'all', ...benchmarkNames, ...MINI_SETS];

export function defineEvaluate(command: Command, io: Io): void {
  addModelOptions(
    command
      .description(
        'Scores one episode a question by exact match and F1, with 95 % intervals. Tinypedia’s mini sets are searched in their own encyclopedia; the seven benchmark samples in the passages of HotpotQA, 2WikiMultiHopQA and MuSiQue that come with the package. The agent without a model (lexical) is the floor under every policy; a classroom policy on real questions scores near 0.',
      )
      .addOption(
        new Option('--agent <kind>', 'who answers: a policy, or patterns over retrieved text without a model')
          .choices(['policy', 'lexical'])
          .default('policy'),
      ),
  )
    .option(
      '--set <names>',
      `tinypedia (its seven mini sets), all (the seven benchmarks), or single sets, with commas: ${[...benchmarkNames, ...MINI_SETS].join(', ')} (default: tinypedia; with --model or --agent lexical: all)`,
      oneOrMore(SET_NAMES),
    )
    .option('--questions <file>', 'your own questions instead: .jsonl with "id", "question", "golden_answers"')
    .option('--corpus <file>', 'passages to search instead: .jsonl or .jsonl.gz with "id" and "contents"; may be given again', files)
    .addOption(
      new Option(
        '--half <half>',
        'of each benchmark: the agent’s rules were written with development in view (default: held-out; with --questions: both)',
      ).choices(['development', 'held-out', 'both']),
    )
    .option('--limit <n>', 'only the first n questions of each set', integer(1))
    .option('--temperature <t>', '0 takes the likeliest token, as the papers do; 1 samples', positive({ orZero: true }), 0)
    .option('--seed <n>', 'of the sampling', integer(0), 1)
    .option('--trajectories <file>', 'write every episode, one JSON object a line');
  addCommonOptions(command)
    .addHelpText(
      'after',
      examples([
        'evaluate                                           the base policy on Tinypedia',
        'evaluate --policy runs/seed-1/checkpoints/2-ofsd --temperature 1',
        'evaluate --model models/SearchR1-3B --set hotpotqa --limit 50',
        'evaluate --agent lexical                           held-out halves of the seven benchmark samples',
        'evaluate --agent lexical --set hotpotqa,musique --half both --json',
        'evaluate --agent lexical --questions mine.jsonl --corpus mine-passages.jsonl.gz',
      ]),
    )
    .action((flags: EvaluateFlags) => runEvaluate(flags, command, io));
}

async function runEvaluate(flags: EvaluateFlags, command: Command, io: Io): Promise<void> {
  const started = performance.now();
  checkModelFlags(flags);
  if (flags.agent === 'lexical') {
    const ofPolicies = ['policy', 'model', 'adapter', 'protocol', 'temperature', 'seed', 'backend'];
    refuseWithoutEffect(command, ofPolicies, '--agent lexical has no policy and draws nothing; leave it out');
  }
  if (flags.temperature === 0) refuseWithoutEffect(command, ['seed'], NOTHING_DRAWN);
  await checkTrajectories(flags.trajectories);
  const source = await openSource(flags, io);
  const engine = flags.agent === 'policy' ? await openAgent(flags, io) : undefined;
  const records: EvaluationRecord[] = [];
  const finished: Part[] = [];
  if (flags.trajectories !== undefined) await givenBy('--trajectories', () => writeFile(flags.trajectories as string, ''));
  const tasks = source.parts.map(
    (part): Task => ({
      title: `${part.name}, ${part.questions.length} questions`,
      run: async (note) => {
        const begun = performance.now();
        const onProgress = (done: number, total: number) => {
          const left = ((performance.now() - begun) / 1000 / done) * (total - done);
          note(`${done} of ${total} · about ${duration(left)} left`);
        };
        const scored = engine
          ? await byPolicy(engine, source, part, flags, io, onProgress)
          : await byPatterns(source, part, io, onProgress);
        if (flags.trajectories !== undefined)
          await appendFile(flags.trajectories, scored.lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
        for (const record of scored.records) records.push(record);
        finished.push(part);
        const matches = scored.records.reduce((sum, { exactMatch }) => sum + exactMatch, 0);
        return `exact match ${((100 * matches) / scored.records.length).toFixed(1)} in ${duration((performance.now() - begun) / 1000)}`;
      },
    }),
  );
  let interrupted: unknown;
  try {
    await runTasks(io, tasks);
  } catch (error) {
    if (!io.signal.aborted) throw error;
    interrupted = error;
  } finally {
    engine?.engine.dispose();
  }
  if (records.length > 0) {
    const result = resultOf(flags, source, records, engine?.backend, (performance.now() - started) / 1000);
    io.stdout.write(flags.json ? `${printableJson(result)}\n` : `${printable(describeEvaluation(result))}\n`);
  }
  if (interrupted) {
    const missing = source.parts.slice(finished.length).map(({ name }) => name);
    const rest = flags.questions === undefined ? `go on with: --set ${missing.join(',')}` : 'run it again, perhaps with --limit';
    throw new Interrupted(
      `${finished.length} of ${source.parts.length} sets are evaluated${finished.length ? ' and shown' : ''}; ${rest}`,
      { cause: interrupted },
    );
  }
}

/** The file is written anew, so it must not be one that something else is in. */
async function checkTrajectories(path: string | undefined): Promise<void> {
  const there = path === undefined ? undefined : await stat(path).catch(() => undefined);
  if (there?.isDirectory()) throw new UsageError(`--trajectories ${path} is a folder; name a file in it`);
  if (there?.isFile() && there.size > 0) throw new UsageError(`--trajectories ${path} is there already: name another file, or remove it`);
}

interface Agent {
  readonly engine: Engine;
  readonly protocol: Protocol;
  readonly backend: BackendReport;
}

async function openAgent(flags: EvaluateFlags, io: Io): Promise<Agent> {
  const backend = await openBackend(io, flags);
  const engine = await openModel(flags, io);
  return { backend, engine, protocol: openProtocol(flags, engine.tokenizer) };
}

interface Scored {
  readonly records: readonly EvaluationRecord[];
  /** For `--trajectories`. */
  readonly lines: readonly object[];
}

type OnProgress = (done: number, total: number) => void;

async function byPolicy(
  { engine, protocol }: Agent,
  { searcher }: EvaluationSource,
  { name, questions }: Part,
  flags: EvaluateFlags,
  io: Io,
  onProgress: OnProgress,
): Promise<Scored> {
  const { records, trajectories } = await evaluatePolicy(engine, { protocol, searcher }, questions, {
    batchSize: flags.model === undefined ? undefined : EPISODES_AT_ONCE,
    temperature: flags.temperature,
    seed: random(flags.seed, 'evaluate', name).integer(2 ** 31),
    onProgress,
    signal: io.signal,
  });
  return { records, lines: trajectories.map((trajectory) => trajectoryRecord(trajectory, engine.tokenizer)) };
}

async function byPatterns({ searcher }: EvaluationSource, { questions }: Part, io: Io, onProgress: OnProgress): Promise<Scored> {
  const records = await evaluateLexicalAgent(questions, searcher, { onProgress, signal: io.signal });
  return {
    records: records.map(({ question: _question, episode: _episode, ...record }) => record),
    lines: records.map(({ question, episode: { turns, answer, plan }, exactMatch, f1, searches }) => ({
      question: { id: question.id, dataset: question.dataset, question: question.question, golden_answers: question.goldenAnswers },
      answer,
      exact_match: exactMatch,
      f1,
      searches,
      plan,
      turns,
    })),
  };
}

function resultOf(
  flags: EvaluateFlags,
  source: EvaluationSource,
  records: readonly EvaluationRecord[],
  backend: BackendReport | undefined,
  seconds: number,
): EvaluationResult {
  const byModel = flags.agent === 'policy';
  return {
    agent: byModel ? policyName(flags.model ?? flags.policy) : 'lexical agent (no model)',
    ...(byModel ? { protocol: protocolName(flags), temperature: flags.temperature, seed: flags.seed, backend } : {}),
    kind: source.kind,
    half: source.half,
    passages: source.passages,
    remarks: source.remarks,
    ...summarize(records),
    seconds: Math.round(seconds),
  };
}
