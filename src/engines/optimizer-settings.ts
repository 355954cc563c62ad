import { checkNumber } from '../number-setting.js';
import type { AdamWSettings } from '../tensors/adamW.js';

/**
 * @param owner goes before the setting's name: `optimizer.`
 * @throws TypeError, RangeError naming the setting that is no number or out of its range
 */
export function checkOptimizer(settings: AdamWSettings, owner = ''): void {
  const { learningRate, beta1 = 0, beta2 = 0, epsilon = 0, weightDecay = 0, clipNorm = 0 } = settings ?? {};
  checkNumber(`${owner}learningRate`, learningRate, { min: 0 });
  checkNumber(`${owner}beta1`, beta1, { min: 0, below: 1 });
  checkNumber(`${owner}beta2`, beta2, { min: 0, below: 1 });
  checkNumber(`${owner}epsilon`, epsilon, { min: 0 });
  checkNumber(`${owner}weightDecay`, weightDecay, { min: 0 });
  checkNumber(`${owner}clipNorm`, clipNorm, { min: 0 });
}
