/** What limits sampling, and its checks: no tensor is needed for them. */
import { described } from '../arguments.js';

/** What narrows the distribution before a token is drawn, as in Transformers' `generate`. */
export interface SamplingLimits {
  /** Keeps the k largest logits, and what equals the k-th. Default: all. */
  readonly topK?: number;
  /** Keeps the likeliest tokens until they hold this probability together, at least one. Default 1: all. */
  readonly topP?: number;
  /** Keeps tokens at least this many times as probable as the likeliest. Default 0: all. */
  readonly minP?: number;
  /** Divides the positive logits of all tokens that the sequence holds, prompt included, and multiplies the negative ones (Keskar et al. 2019). Default 1. */
  readonly repetitionPenalty?: number;
}

/**
 * Refuses what cannot be sampled with, before anything is computed.
 *
 * @throws RangeError naming the setting, what it is and what it should be
 */
export function checkSampling({
  temperature,
  maxTokens,
  batchSize = 1,
  topK = 0,
  topP = 1,
  minP = 0,
  repetitionPenalty = 1,
}: SamplingLimits & { readonly temperature: number; readonly maxTokens?: number; readonly batchSize?: number }): void {
  const expect = (holds: boolean, name: string, expected: string, got: number) => {
    if (typeof got !== 'number' || !holds) throw new RangeError(`sampling: ${name} should be ${expected}, got ${described(got)}`);
  };
  const isCount = (n: number) => Number.isInteger(n) && n > 0;
  expect(Number.isFinite(temperature) && temperature >= 0, 'the temperature', 'a number from 0 (greedy)', temperature);
  if (maxTokens !== undefined) expect(isCount(maxTokens), 'maxTokens', 'a whole number above 0', maxTokens);
  expect(isCount(batchSize), 'batchSize', 'a whole number above 0', batchSize);
  expect(Number.isInteger(topK) && topK >= 0, 'topK', 'a whole number from 0 (all)', topK);
  expect(topP > 0 && topP <= 1, 'topP', 'in (0, 1]', topP);
  expect(minP >= 0 && minP <= 1, 'minP', 'in [0, 1]', minP);
  expect(Number.isFinite(repetitionPenalty) && repetitionPenalty > 0, 'the repetition penalty', 'above 0', repetitionPenalty);
}
