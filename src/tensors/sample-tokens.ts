/**
 * Draws one token a row by inverting the cumulative distribution at a given uniform: the token is the number of cumulated probabilities that
 * are not above it. Chance comes from outside, so a draw can be repeated anywhere.
 */
import * as tf from '@tensorflow/tfjs-core';
import { described } from '../arguments.js';
import { assertFinite, NonFiniteError } from '../non-finite.js';
import { hasKernel, runKernel } from './dispatch.js';

/** One drawn token a row. */
export interface SampledTokens {
  /** Token ids, one a row. */
  readonly tokens: Int32Array; // [B]
  /** Log-probability of each token in nats under the distribution it was drawn from; greedy tokens: at temperature 1. */
  readonly logProbs: Float32Array; // [B]
}

/** Temperatures beyond these draw as they do: 1 / temperature and its products with differences of logits stay numbers of float32. */
const [COLDEST, HOTTEST] = [2 ** -120, 2 ** 120];

/**
 * Draws one token a row from softmax(logits / temperature), by inverse transform: the first whose cumulated probability passes the row's uniform. At
 * temperature 0 the likeliest.
 *
 * @param logits [B, V]; -Infinity is a token that is never drawn
 * @param temperature divides the logits; 0 takes the most probable token (the first of equals)
 * @param uniforms [B], each in [0, 1); not read when the temperature is 0
 * @param nameOf a row's logits in the error
 * @throws NonFiniteError for a logit that is NaN or Infinity, and for a row that is -Infinity throughout
 *
 * @example
 * ```ts
 * import { sampleTokens, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const { tokens, logProbs } = await sampleTokens(tf.tensor2d([[0, 5, 0], [9, 0, 0]]), 0, new Float32Array(2));
 * Array.from(tokens); // [ 1, 0 ]
 * logProbs[0] < 0; // true
 * ```
 */
export async function sampleTokens(
  logits: tf.Tensor2D,
  temperature: number,
  uniforms: Float32Array,
  nameOf: (row: number) => string = nameOfRow,
): Promise<SampledTokens> {
  const [rows, vocabulary] = logits.shape;
  if (!(typeof temperature === 'number' && temperature >= 0 && temperature < Number.POSITIVE_INFINITY))
    throw new RangeError(`sampleTokens: the temperature should be a number of 0 or more, and finite, got ${described(temperature)}`);
  if (rows === 0) return { tokens: new Int32Array(0), logProbs: new Float32Array(0) };
  if (vocabulary === 0) throw new RangeError(`sampleTokens: there is no token to draw from logits [${logits.shape}]`);
  if (temperature > 0) checkUniforms(uniforms, rows);
  const bounded = temperature > 0 ? Math.min(Math.max(temperature, COLDEST), HOTTEST) : 0;
  const drawn = hasKernel('SearchE1SampleTokens') ? await byKernel(logits, bounded, uniforms) : await byFormula(logits, bounded, uniforms);
  await assertDistributions(logits, drawn, nameOf);
  return drawn;
}

/** How a row's logits are called where nothing is known of them. */
export const nameOfRow = (row: number): string => `sampleTokens: logits of row ${row}`;

/** @throws NonFiniteError for the first row that no token can be drawn from: the log-probability of what was drawn is NaN there, and is read anyway */
export async function assertDistributions(
  logits: tf.Tensor2D,
  { logProbs }: SampledTokens,
  nameOf: (row: number) => string = nameOfRow,
): Promise<void> {
  const wrong = logProbs.findIndex((logProb) => !Number.isFinite(logProb));
  if (wrong >= 0) throw await noDistribution(logits, wrong, nameOf(wrong));
}

function checkUniforms(uniforms: Float32Array, rows: number): void {
  if (uniforms.length !== rows) throw new RangeError(`sampleTokens: ${rows} rows need as many uniforms, got ${uniforms.length}`);
  assertFinite('sampleTokens: the uniforms', uniforms);
  const wrong = uniforms.findIndex((uniform) => uniform < 0 || uniform >= 1);
  if (wrong >= 0) throw new RangeError(`sampleTokens: uniforms should be in [0, 1), got ${uniforms[wrong]} at ${wrong}`);
}

/** What is wrong with a row; it is read only for this. */
async function noDistribution(logits: tf.Tensor2D, row: number, name: string): Promise<NonFiniteError> {
  const scores = tf.tidy(() => tf.slice(logits, [row, 0], [1, -1]));
  const values = await scores.data();
  scores.dispose();
  const index = values.findIndex((value) => Number.isNaN(value) || value === Number.POSITIVE_INFINITY);
  const advice = 'no token can be drawn from it: look for NaN in the weights, or for a step that made them too large';
  return new NonFiniteError(name, values[Math.max(index, 0)], Math.max(index, 0), advice);
}

async function byFormula(logits: tf.Tensor2D, temperature: number, uniforms: Float32Array): Promise<SampledTokens> {
  const [rows, vocabulary] = logits.shape;
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
