/**
 * Draws one token a row by inverting the cumulative distribution at a given uniform: the token is the number of cumulated probabilities that
 * are not above it. Chance comes from outside, so a draw can be repeated anywhere.
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';

export interface SampledTokens {
  readonly tokens: Int32Array; // [B]
  /** Log-probability of each token in nats under the distribution it was drawn from; greedy tokens: at temperature 1. */
  readonly logProbs: Float32Array; // [B]
}

/**
 * @param logits [B, V]
 * @param temperature divides the logits; 0 takes the most probable token (the first of equals)
 * @param uniforms [B], each in [0, 1); not read when the temperature is 0
 */
export async function sampleTokens(logits: tf.Tensor2D, temperature: number, uniforms: Float32Array): Promise<SampledTokens> {
  const [rows, vocabulary] = logits.shape;
  if (!(temperature >= 0)) throw new RangeError(`sampleTokens: the temperature should be 0 or more, got ${temperature}`);
  if (temperature > 0 && uniforms.length !== rows)
    throw new RangeError(`sampleTokens: ${rows} rows need as many uniforms, got ${uniforms.length}`);
  if (hasKernel('SearchE1SampleTokens')) return byKernel(logits, temperature, uniforms);
  const values = (await logits.data()) as Float32Array;
  const tokens = new Int32Array(rows);
  const logProbs = new Float32Array(rows);
  const weights = new Float64Array(vocabulary);
  for (let row = 0; row < rows; row++) {
    const scores = values.subarray(row * vocabulary, (row + 1) * vocabulary);
    let best = 0;
    for (let v = 1; v < vocabulary; v++) if (scores[v] > scores[best]) best = v;
    const scale = temperature > 0 ? 1 / temperature : 1;
    let total = 0;
    for (let v = 0; v < vocabulary; v++) total += weights[v] = Math.exp((scores[v] - scores[best]) * scale);
    const token = temperature > 0 ? invert(weights, uniforms[row] * total) : best;
    tokens[row] = token;
    logProbs[row] = (scores[token] - scores[best]) * scale - Math.log(total);
  }
  return { tokens, logProbs };
}

/** The first index whose cumulated weight exceeds `target`; should rounding leave none, the last that has any weight. */
function invert(weights: Float64Array, target: number): number {
  let cumulated = 0;
  let last = 0;
  for (let v = 0; v < weights.length; v++) {
    if (weights[v] === 0) continue;
    cumulated += weights[v];
    if (cumulated > target) return v;
    last = v;
  }
  return last;
}

async function byKernel(logits: tf.Tensor2D, temperature: number, uniforms: Float32Array): Promise<SampledTokens> {
  const drawn = tf.tidy(() => runKernel('SearchE1SampleTokens', { logits, uniforms: tf.tensor1d(uniforms) }, { temperature }));
  const [tokens, logProbs] = await Promise.all(drawn.map((tensor) => tensor.data()));
  tf.dispose(drawn);
  return { tokens: tokens as Int32Array, logProbs: logProbs as Float32Array };
}
