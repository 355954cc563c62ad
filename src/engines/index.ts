/**
 * Where a policy runs and learns, in the shape of the Tinker API, and the engine in this process.
 *
 * @module
 */
export { crossEntropyLoss } from './cross-entropy.js';
export type {
  DistributionLoss,
  Engine,
  LogProbLoss,
  Loss,
  LossReport,
  Paired,
  Scored,
  Snapshot,
  TokenValues,
  WeightsChoice,
} from './engine.js';
export { type InProcessEngine, type InProcessOptions, inProcessEngine } from './in-process.js';
export { openEngine } from './open.js';
export { Updates } from './update.js';
