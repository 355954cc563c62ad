/**
 * The seven question-answering benchmarks: questions, scores with their intervals, paired comparisons, published rows.
 *
 * @module
 */
export { type Benchmark, type BenchmarkName, benchmarkNames, benchmarks } from './benchmark-names.js';
export {
  type BenchmarkSummary,
  compareSystems,
  type EvaluationRecord,
  type IntervalOptions,
  type PairedDifference,
  type Summary,
  summarize,
} from './evaluate.js';
export { type EvaluatePolicyOptions, evaluatePolicy } from './evaluate-policy.js';
export { adjustedWald, type Estimate, type Interval, mcNemar, weightedMean, wilson } from './intervals.js';
export { type LexicalAgentOptions, type LexicalEpisode, type LexicalTurn, runLexicalAgent } from './lexical-agent.js';
export { evaluateLexicalAgent, type LexicalEvaluationOptions, type LexicalRecord } from './lexical-evaluation.js';
export { loadBenchmark, loadQuestions } from './load.js';
export { type PublishedRecall, type PublishedRow, publishedRecall, publishedRows } from './published.js';
export { rowsBySet, rowsBySystem, rowsByType, type SetRow, type SystemRow, type TypeRow } from './report.js';
export { type BenchmarkHalf, selectHalf } from './split.js';
