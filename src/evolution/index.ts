/**
 * The loop: GRPO, distil, GRPO, distil, with an evaluation after every stage.
 *
 * @module
 */
export { type EvaluateBothOptions, type Evaluation, evaluateBoth } from './evaluation.js';
export { type EvolutionEvent, type EvolutionOptions, evolve } from './evolve.js';
export { decideGate, type GateDecision, type MadePairs, type MakePairsOptions, makePairs } from './pairs.js';
export type { Run, RunProgress } from './run.js';
export { classroomEvolution, type EvolutionSettings, type GateSettings, type SiblingSettings } from './settings.js';
export { type Drawn, type Stage, stageSeed, stagesOf } from './stages.js';
export {
  type StudyArm,
  type StudyOptions,
  type StudyRecord,
  type StudySettings,
  type StudySummary,
  sftOnReferences,
  study,
} from './study.js';
export { type CheckTeacherOptions, checkTeacher, type TeacherCheck } from './teacher-check.js';
