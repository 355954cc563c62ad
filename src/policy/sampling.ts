/**
 * Sampling from a part of the next-token distribution: what occurs already made less likely, then temperature, then the k likeliest tokens, then the likeliest
 * that hold probability p together, then those not far below the likeliest; in the order and with the edges of Transformers' `generate`.
 *
 * Without such a limit the draw is `sampleTokens`, on the backend.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { assertDistributions, nameOfRow, type SampledTokens, sampleTokens } from '../tensors/sample-tokens.js';
import { checkSampling, type SamplingLimits } from './sampling-limits.js';

/**
 * Draws one token a row. Log-probabilities are those of the whole distribution at the temperature, whatever the limits: they are what a policy gradient
 * needs (as verl recomputes them), and the trainer's own forward pass gives the same.
 *
 * @param logits [B, V]
 * @param uniforms [B], each in [0, 1); not read when the temperature is 0, which takes the likeliest token
 * @param held the tokens that a row's sequence holds; asked for where there is a repetition penalty
 * @param nameOf a row's logits in the error
 * @throws NonFiniteError for a logit that is NaN or Infinity, and for a row that is -Infinity throughout
 */
export async function drawTokens(
  logits: tf.Tensor2D,
  temperature: number,
  uniforms: Float32Array,
  limits: SamplingLimits = {},
  held: (row: number) => readonly number[] = () => [],
  nameOf: (row: number) => string = nameOfRow,
): Promise<SampledTokens> {
  checkSampling({ ...limits, temperature });
  const { topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = limits;
  const limited = temperature !== 0 && (topK > 0 || topP < 1 || minP > 0);
  if (!limited && repetitionPenalty === 1) return sampleTokens(logits, temperature, uniforms, nameOf);
  const [rows, vocabulary] = logits.shape;
  const values = await logits.data<'float32'>();
  const tokens = new Int32Array(rows);
  const logProbs = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const scores = values.subarray(row * vocabulary, (row + 1) * vocabulary);
    const penalized = repetitionPenalty === 1 ? scores : penalize(scores, held(row), repetitionPenalty);
    const token = temperature === 0 ? argMax(penalized) : invert(limitedDistribution(penalized, temperature, limits), uniforms[row]);
    tokens[row] = token;
    logProbs[row] = logProb(scores, token, temperature === 0 ? 1 : temperature);
  }
  await assertDistributions(logits, { tokens, logProbs }, nameOf);
  return { tokens, logProbs };
}

/** Logits with those of `held` tokens, each once however often it occurs, moved away from being chosen. */
export function penalize(scores: Float32Array, held: readonly number[], penalty: number): Float32Array {
  checkSampling({ temperature: 0, repetitionPenalty: penalty });
  const penalized = scores.slice();
  for (const token of new Set(held)) penalized[token] = scores[token] < 0 ? scores[token] * penalty : scores[token] / penalty;
  return penalized;
}

function argMax(scores: Float32Array): number {
  let best = 0;
  for (let v = 1; v < scores.length; v++) if (scores[v] > scores[best]) best = v;
  return best;
}

/** log p of one token under the whole distribution. */
function logProb(scores: Float32Array, token: number, temperature: number): number {
  const best = scores[argMax(scores)];
  let total = 0;
  for (const score of scores) total += Math.exp((score - best) / temperature);
  return (scores[token] - best) / temperature - Math.log(total);
}

/** The distribution that is drawn from. */
export function limitedDistribution(
  scores: ArrayLike<number>,
  temperature: number,
  { topK = 0, topP = 1, minP = 0 }: SamplingLimits,
): Float64Array {
  if (!(temperature > 0)) throw new RangeError(`sampling: the temperature should be above 0, got ${temperature}`);
  checkSampling({ temperature, topK, topP, minP });
  let best = Number.NEGATIVE_INFINITY;
  for (let v = 0; v < scores.length; v++) if (scores[v] > best) best = scores[v];
  const weights = Float64Array.from(scores, (score) => Math.exp((score - best) / temperature));
  if (topK > 0 && topK < scores.length) {
    const kth = Float32Array.from(scores).sort()[scores.length - topK];
    for (let v = 0; v < weights.length; v++) if (scores[v] < kth) weights[v] = 0;
  }
  if (topP < 1) {
    // The least likely go as long as together they hold at most 1 - topP; the likeliest stays in any case.
    const total = sum(weights);
    const ascending = weights.filter((weight) => weight > 0).sort();
    let gone = 0;
    for (let cumulated = 0; gone < ascending.length - 1; gone++) {
      cumulated += ascending[gone] / total;
      if (cumulated > 1 - topP) break;
    }
    const edge = ascending[gone];
    let equals = gone - ascending.indexOf(edge); // of those at the edge, so many go too
    for (let v = 0; v < weights.length; v++) if (weights[v] < edge || (weights[v] === edge && equals-- > 0)) weights[v] = 0;
  }
  if (minP > 0) for (let v = 0; v < weights.length; v++) if (weights[v] < minP) weights[v] = 0;
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);

/** The first index whose cumulated probability exceeds `target`; should rounding leave none, the last that has any. */
function invert(probabilities: Float64Array, target: number): number {
  let cumulated = 0;
  let last = 0;
  for (let v = 0; v < probabilities.length; v++) {
    if (probabilities[v] === 0) continue;
    cumulated += probabilities[v];
    if (cumulated > target) return v;
    last = v;
  }
  return last;
}
