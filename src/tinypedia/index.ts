/**
 * Tinypedia, the classroom world: an encyclopedia, seven mini question sets, and base policies of a million weights.
 *
 * @module
 */
export {
  basePolicyFolder,
  type ResumeBasePolicyOptions,
  resumeBasePolicy,
  type TrainBasePolicyOptions,
  type TrainingRecord,
  trainBasePolicy,
} from './base-policy.js';
export { basePolicyConfig, type PretrainMetrics, type PretrainPhase, type PretrainSettings, pretrainSettings } from './pretrain.js';
export {
  MINI_SETS,
  type MiniSet,
  makeQuestions,
  type QuestionKind,
  type Step,
  type TinypediaMetadata,
  type TinypediaQuestion,
} from './questions.js';
export { CLASSROOM_SEARCH, type Tinypedia, type TinypediaOptions, tinypedia } from './tinypedia.js';
export { makeTrace, TRACE_KINDS, TRACE_STYLES, type Trace, type TraceOptions, type TraceSegment, type TraceStyle } from './traces.js';
export { makePretrainingWorld, makeWorld, type World } from './world.js';
