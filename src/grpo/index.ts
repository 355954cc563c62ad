/**
 * GRPO: groups of attempts at a question, advantages within the group, a clipped objective with a KL to the reference.
 *
 * @module
 */
export { type AdvantageSettings, groupAdvantages, stepAdvantages } from './advantages.js';
export { type GrpoMetrics, type GrpoOptions, grpo } from './grpo.js';
export { type Aggregation, type GrpoDatum, type GrpoLossSettings, grpoLoss, type StepBatch } from './loss.js';
export { classroomGrpo, type GrpoSettings } from './settings.js';
