import * as tf from '@tensorflow/tfjs-core';
import type { LogProbLoss, Scored } from './engine.js';

/** Next-token cross entropy, -log p: supervised training of the base policy, and the SFT control beside OFSD. */
export function crossEntropyLoss(data: readonly Scored[]): LogProbLoss {
  return { name: 'cross_entropy', reads: 'logProbs', data, perToken: (logProbs) => ({ loss: tf.neg(logProbs) }) };
}
