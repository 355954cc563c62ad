/** The result of `evaluate` for people: what was asked of whom, the sets, the means, and what others publish. */
import { benchmarkNames, benchmarks } from '../benchmarks/benchmark-names.js';
import type { Summary } from '../benchmarks/evaluate.js';
import { rowsBySet, rowsBySystem } from '../benchmarks/report.js';
import { tableText } from '../display/table.js';
import type { BackendReport } from '../tensors/backend.js';
import type { EvaluationSource } from './evaluation-source.js';

export interface EvaluationResult extends Summary, Pick<EvaluationSource, 'kind' | 'half' | 'passages' | 'remarks'> {
  readonly agent: string;
  readonly protocol?: string;
  readonly temperature?: number;
  readonly seed?: number;
  readonly backend?: BackendReport;
  readonly seconds: number;
}

export function describeEvaluation(result: EvaluationResult): string {
  const { agent, kind, half, passages, remarks, temperature } = result;
  const how = temperature === undefined ? '' : temperature === 0 ? ', greedy' : `, sampled at temperature ${temperature}`;
  const part = kind === 'tinypedia' ? '' : half === 'both' ? ', both halves' : `, ${half} half`;
  const sets = rowsBySet(result).map(({ set, n, em, interval, f1, searches, searchR1 }) => ({
    set,
    n,
    EM: em.toFixed(1),
    '95 %': interval,
    F1: f1.toFixed(1),
    searches: searches.toFixed(2),
    ...(searchR1 !== undefined && { 'Search-R1 score': searchR1.toFixed(1) }),
  }));
  const lines = [tableText(sets, { caption: `${agent}${how}: ${kind}${part}, ${passages} passages; EM and F1 in points` }), ...remarks];
  if (result.macroSearchR1Score)
    lines.push(
      "EM reads the policy's own text; the Search-R1 score is exact match over prompt and passages too, as that project's published rows have it.",
    );
  if (result.failedSearches)
    lines.push(`${result.failedSearches} searches failed: their answers lack passages that were there to be found.`);
  if (benchmarkNames.some((name) => result.sets.some(({ dataset }) => dataset === name))) lines.push('', published(result));
  return lines.join('\n');
}

function published(result: EvaluationResult): string {
  const rows = rowsBySystem(result.agent, result).map(({ system, sets, average, questionWeighted, status }) => ({
    system,
    ...Object.fromEntries(benchmarkNames.map((name) => [benchmarks[name].display, sets[name]?.toFixed(1) ?? '–'])),
    average: average?.toFixed(1) ?? '–',
    'by question': questionWeighted?.toFixed(1) ?? '–',
    status,
  }));
  return [
    tableText(rows, { caption: 'Beside published exact match' }),
    'The published rows search 21 million passages and score whole splits, with models of 3 to 7 billion weights; ours is a sample over a small corpus: not comparable, but the same scale.',
  ].join('\n');
}
