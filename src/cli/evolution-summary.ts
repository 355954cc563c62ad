/** What a finished run has to show: every stage in one line, and the mini sets before and after. Read from its record, so a resumed run shows it all. */
import { compareSystems, type Estimate, type PairedDifference, type Summary } from '../benchmarks/evaluate.js';
import { tableText } from '../display/table.js';
import type { GateDecision } from '../evolution/pairs.js';
import type { EvolutionSettings } from '../evolution/settings.js';
import { stagesOf } from '../evolution/stages.js';
import type { RunFolder } from '../runs/run-folder.js';
import { shellCommand } from './shell.js';

export interface StageSummary {
  readonly stage: string;
  readonly greedy: Summary;
  readonly sampled: Summary;
}

export interface RunSummary {
  /** Every evaluation, the base policy's first; none where nothing was evaluated. */
  readonly stages: readonly StageSummary[];
  /** Mean reward of the first and the last GRPO step of each round. */
  readonly grpo: readonly { readonly stage: string; readonly firstReward: number; readonly lastReward: number }[];
  readonly pairs: readonly {
    readonly stage: string;
    readonly pairs: number;
    readonly skipped: Readonly<Record<string, number>>;
    readonly teacher: unknown;
    /** Whether they were distilled, and why. */
    readonly gate: GateDecision;
  }[];
  /** The last stage less the first, question by question; null where there are no two evaluations. */
  readonly change: { readonly greedy: PairedDifference; readonly sampled: PairedDifference } | null;
}

export async function summarizeRun(run: RunFolder, { rounds }: EvolutionSettings): Promise<RunSummary> {
  const lines = await run.metrics();
  const stages = lines.flatMap(({ stage, evaluation }) => (evaluation ? [{ stage, ...(evaluation as object) } as StageSummary] : []));
  const grpo = stagesOf(rounds).flatMap(({ name: stage, kind }) => {
    if (kind !== 'grpo') return [];
    const rewards = lines.flatMap((line) => (line.stage === stage && 'reward/mean' in line ? [line['reward/mean'] as number] : []));
    return rewards.length ? [{ stage, firstReward: rewards[0], lastReward: rewards[rewards.length - 1] }] : [];
  });
  const pairs = lines.flatMap((line) =>
    'search_gap' in line
      ? [
          {
            stage: line.stage as string,
            pairs: line.pairs as number,
            skipped: line.skipped as Record<string, number>,
            teacher: line.teacher,
            gate: line.gate as GateDecision,
          },
        ]
      : [],
  );
  const evaluations = [...(await run.evaluations()).values()];
  const [first, last] = [evaluations[0], evaluations[evaluations.length - 1]];
  const change =
    evaluations.length > 1
      ? { greedy: compareSystems(first.greedy, last.greedy), sampled: compareSystems(first.sampled, last.sampled) }
      : null;
  return { stages, grpo, pairs, change };
}

/** The summary for people. `questions` were evaluated on. */
export function describeRun(
  { stages, grpo, pairs, change, run, policy }: RunSummary & { readonly run: string; readonly policy: string },
  questions: number,
): string {
  const shut = pairs.filter(({ gate }) => !gate.open).map(({ stage, gate }) => `${stage} distilled nothing: ${gate.reason}.`);
  const where = [
    ...shut,
    `The record is in ${run}, the policy in ${policy}`,
    `Try it: ${shellCommand('ask', '--policy', policy)} "$(${shellCommand('ask', '--example')} | head -n 1)"`,
  ];
  if (stages.length === 0) {
    const rewards = grpo.map(
      ({ stage, firstReward, lastReward }) =>
        `${stage}: reward ${firstReward.toFixed(2)} in the first step, ${lastReward.toFixed(2)} in the last`,
    );
    return [...rewards, 'Nothing was evaluated (--eval-questions 0).', ...where].join('\n');
  }
  const overview = stages.map(({ stage, greedy, sampled }) => ({
    stage,
    'greedy EM': points(greedy.macroMean.value),
    '95 %': interval(greedy.macroMean),
    'sampled EM': points(sampled.macroMean.value),
    '95 % ': interval(sampled.macroMean),
    'greedy searches': greedy.searches.toFixed(2),
    'sampled searches': sampled.searches.toFixed(2),
  }));
  return [
    tableText(overview, { caption: `Macro mean of exact match (points) over ${questions} questions of the seven mini sets` }),
    '',
    tableText(beforeAndAfter(stages[0], stages[stages.length - 1]), {
      caption: `Before (${stages[0].stage}) → after (${stages[stages.length - 1].stage})`,
    }),
    '',
    ...(change
      ? [
          ...describeChange(
            change,
            stages[0].greedy.sets.map(({ n }) => n),
          ),
          '',
        ]
      : []),
    ...where,
  ].join('\n');
}

/** Paired, as both policies answered the same questions. */
function describeChange({ greedy, sampled }: NonNullable<RunSummary['change']>, perSet: readonly number[]): string[] {
  const change = ({ value, low, high }: Estimate, shown: (value: number) => string) =>
    `${shown(value)} (95 %: ${shown(low)} to ${shown(high)})`;
  const signed = (digits: number, scale: number) => (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(scale * value).toFixed(digits)}`;
  const line = (decoding: string, { macroDifference, macroSearchDifference }: PairedDifference) =>
    `${decoding}: exact match ${change(macroDifference, signed(1, 100))} points, searches ${change(macroSearchDifference, signed(2, 1))}`;
  const few = Math.min(...perSet);
  const half = (100 * (greedy.macroDifference.high - greedy.macroDifference.low)) / 2;
  return [
    'After less before, macro mean, question by question:',
    line('greedy', greedy),
    line('sampled', sampled),
    `${few} questions a set tell a change of the mean from chance above some ${half.toFixed(0)} points, and one of a single set only where it is several times that.`,
    ...([greedy, sampled].some(({ macroDifference }) => macroDifference.high < 0)
      ? [
          'It answers worse than the policy it began with, beyond chance: the first thing to try is a lower --learning-rate, under another --name.',
        ]
      : []),
  ];
}

function beforeAndAfter(before: StageSummary, after: StageSummary): Record<string, string>[] {
  const change = (of: (stage: StageSummary) => string) => `${of(before).padStart(5)} → ${of(after).padStart(5)}`;
  const row = (set: string, n: number, exactMatch: (summary: Summary) => number, searches: (summary: Summary) => number) => ({
    set,
    n: String(n),
    'greedy EM': change(({ greedy }) => points(exactMatch(greedy))),
    'sampled EM': change(({ sampled }) => points(exactMatch(sampled))),
    'greedy searches': change(({ greedy }) => searches(greedy).toFixed(2)),
    'sampled searches': change(({ sampled }) => searches(sampled).toFixed(2)),
  });
  const sets = before.greedy.sets.map(({ dataset, n }, i) =>
    row(
      dataset,
      n,
      ({ sets: all }) => all[i].exactMatch.value,
      ({ sets: all }) => all[i].searches,
    ),
  );
  return [
    ...sets,
    row(
      'macro mean',
      before.greedy.n,
      ({ macroMean }) => macroMean.value,
      ({ sets: all }) => all.reduce((sum, { searches }) => sum + searches, 0) / all.length,
    ),
    row(
      'question-weighted mean',
      before.greedy.n,
      ({ questionMean }) => questionMean.value,
      ({ searches }) => searches,
    ),
  ];
}

export const points = (share: number): string => (100 * share).toFixed(1);
const interval = ({ low, high }: { readonly low: number; readonly high: number }): string => `${points(low)} to ${points(high)}`;
