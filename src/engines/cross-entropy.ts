import * as tf from '@tensorflow/tfjs-core';
import type { LogProbLoss, Scored } from './engine.js';

/**
 * Next-token cross entropy, -log p: supervised training of the base policy, and the SFT control beside OFSD.
 *
 * @example
 * ```ts
 * import { crossEntropyLoss, openEngine } from 'search-e1/engines';
 *
 * const engine = await openEngine();
 * const tokens = engine.tokenizer.encode('the author of Amber Falcon');
 * const { loss } = await engine.forwardBackward(crossEntropyLoss([{ tokens, scored: tokens.map((_, t) => t).slice(1) }]));
 * loss > 0; // true
 * await engine.optimStep({ learningRate: 1e-4 });
 * ```
 */
export function crossEntropyLoss(data: readonly Scored[]): LogProbLoss {
  return { name: 'cross_entropy', reads: 'logProbs', data, perToken: (logProbs) => ({ loss: tf.neg(logProbs) }) };
}
