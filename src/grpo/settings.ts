/** What a GRPO run is told, and what it refuses to be told. */
import { checkObject } from '../arguments.js';
import { checkOptimizer } from '../engines/optimizer-settings.js';
import { checkNumber } from '../number-setting.js';
import type { AdamWSettings } from '../tensors/adamW.js';
import { type AdvantageSettings, checkAdvantageSettings } from './advantages.js';
import { checkLossSettings, type GrpoLossSettings } from './loss.js';

/** Everything that GRPO is told. `classroomGrpo` holds values that work on Tinypedia: spread it and change what is to differ. */
export interface GrpoSettings extends GrpoLossSettings, AdvantageSettings {
  /** Optimisation phases: each samples once. Search-R1: 1,005; classroom: 20. */
  readonly steps: number;
  /** Questions a step. Search-R1: 512; classroom: 32. */
  readonly questionsPerStep: number;
  /** G, attempts at a question. Paper: 5. */
  readonly groupSize: number;
  /** Parts of a step's batch, an optimiser step each. Search-R1: 2 (512 / 256); classroom: 2. */
  readonly miniBatches: number;
  /** Of sampling, and of every distribution that the loss compares, as TRL divides its logits. Above 0. Search-R1: 1. */
  readonly temperature: number;
  /** Optimiser steps over which the rate climbs from 0. Search-R1: 0.285 of all; classroom: 5. */
  readonly warmUpSteps: number;
  /** AdamW's, with the learning rate that is reached after the warm-up. Search-R1: 1e-6; classroom: 1e-4. */
  readonly optimizer: AdamWSettings;
  /** Of the questions' order, the episodes and the mini-batches. An integer. */
  readonly seed: number;
}

/** The classroom's settings: the paper's and Search-R1's where they fit, the learning rate and counts measured on Tinypedia. */
export const classroomGrpo: GrpoSettings = {
  steps: 20,
  questionsPerStep: 32,
  groupSize: 5,
  miniBatches: 2,
  temperature: 1,
  clipLow: 0.2,
  clipHigh: 0.2,
  beta: 0.001,
  aggregation: 'dapo',
  deviation: 'sample',
  deviationOver: 'group',
  deviationEpsilon: 1e-6,
  warmUpSteps: 5,
  optimizer: { learningRate: 1e-4, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 },
  seed: 1,
};

/** The name of every setting: a misspelt one would be passed over. */
const NAMES: Readonly<Record<keyof GrpoSettings, null>> = {
  steps: null,
  questionsPerStep: null,
  groupSize: null,
  miniBatches: null,
  temperature: null,
  clipLow: null,
  clipHigh: null,
  beta: null,
  aggregation: null,
  maxCompletionLength: null,
  biasCorrectedKl: null,
  deviation: null,
  deviationOver: null,
  deviationEpsilon: null,
  warmUpSteps: null,
  optimizer: null,
  seed: null,
};

/**
 * @throws TypeError for a setting that there is not, or that is of the wrong type
 * @throws RangeError for one out of its range
 */
export function checkGrpoSettings(settings: GrpoSettings): void {
  checkObject('grpo', 'settings', settings);
  const { steps, questionsPerStep, groupSize, miniBatches, temperature, warmUpSteps, optimizer, seed } = settings;
  for (const name of Object.keys(settings))
    if (!Object.hasOwn(NAMES, name)) throw new TypeError(`${name} is no setting of GRPO, which has ${Object.keys(NAMES).join(', ')}`);
  checkNumber('steps', steps, { integer: true, min: 0 });
  checkNumber('questionsPerStep', questionsPerStep, { integer: true, min: 1 });
  checkNumber('groupSize', groupSize, { integer: true, min: 2 });
  checkNumber('miniBatches', miniBatches, { integer: true, min: 1 });
  checkNumber('temperature', temperature, { above: 0 });
  checkNumber('warmUpSteps', warmUpSteps, { integer: true, min: 0 });
  checkNumber('seed', seed, { integer: true });
  checkOptimizer(optimizer, 'optimizer.');
  checkLossSettings(settings);
  checkAdvantageSettings(settings);
}
