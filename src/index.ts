/**
 * What most programs need, under one name. Everything else is in the folders of the method: `search-e1/reward`, `/rollout`, `/siblings`, `/grpo`, `/ofsd`,
 * `/evolution`, `/benchmarks`, `/search`, `/policy`, `/engines`, `/tensors`, `/runs`, `/tinypedia`, `/display`.
 *
 * @module
 */

export { compareSystems, type EvaluationRecord, summarize } from './benchmarks/evaluate.js';
export { evaluatePolicy } from './benchmarks/evaluate-policy.js';
export { loadBenchmark, loadQuestions } from './benchmarks/load.js';
export { crossEntropyLoss } from './engines/cross-entropy.js';
export type { Engine, Loss } from './engines/engine.js';
export { inProcessEngine } from './engines/in-process.js';
export { openEngine } from './engines/open.js';
export { evaluateBoth } from './evolution/evaluation.js';
export { evolve } from './evolution/evolve.js';
export { makePairs } from './evolution/pairs.js';
export { classroomEvolution } from './evolution/settings.js';
export { groupAdvantages } from './grpo/advantages.js';
export { grpo } from './grpo/grpo.js';
export { classroomGrpo } from './grpo/settings.js';
export { classroomOfsd, ofsd, opsdV3 } from './ofsd/ofsd.js';
export { privilegedPrompt } from './ofsd/privileged-prompt.js';
export { datasetPath, datasetsAt } from './platform/datasets.js';
export { loadPolicy, savePolicy } from './policy/checkpoint.js';
export { generate } from './policy/generate.js';
export { logits } from './policy/logits.js';
export { loadTokenizer } from './policy/tokenizer.js';
export { type Random, random } from './random.js';
export { exactMatch } from './reward/exact-match.js';
export { extractAnswer } from './reward/extract-answer.js';
export { f1 } from './reward/f1.js';
export { type Action, classroomProtocol, type Protocol, parseAction } from './rollout/protocol.js';
export type { Question } from './rollout/question.js';
export { type Environment, rollout, rolloutGroups } from './rollout/rollout.js';
export { searchR1Protocol } from './rollout/search-r1.js';
export type { Group, Trajectory } from './rollout/trajectory.js';
export { loadCorpus } from './search/corpus.js';
export { createSearcher } from './search/minisearch.js';
export type { Passage, Searcher } from './search/passage.js';
export { retrievalServer } from './search/retrieval-server.js';
export { choosePair, type Pair, pairSiblings } from './siblings/siblings.js';
export { startBackend } from './tensors/backend.js';
export { CLASSROOM_SEARCH, tinypedia } from './tinypedia/tinypedia.js';
export { version } from './version.js';
