/** What a policy says of one sequence, token by token: for a look inside, not for training, which never holds all logits. */
import * as tf from '@tensorflow/tfjs-core';
import { described } from '../arguments.js';
import { linear } from '../tensors/linear.js';
import { type DecoderWeights, decode, headOf } from './decoder.js';

/**
 * Logits of the next token after every position of a sequence: row t is read off ids 0 to t, and speaks of id t + 1. As `model(input_ids).logits[0]` in Transformers.
 *
 * @param policy its adapter counts, where one is on
 * @param ids T token ids, at least one
 * @returns [T, V] in float32; the caller disposes it. T times the vocabulary may be much: 1,000 tokens of Qwen2.5's come to 608 MB
 * @throws TypeError for what is no list; RangeError for an id outside of the vocabulary, or none
 *
 * @example
 * ```ts
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 * import { loadPolicy, loadTokenizer, logits } from 'search-e1/policy';
 *
 * const policy = await loadPolicy(basePolicyFolder());
 * const tokenizer = await loadTokenizer(basePolicyFolder());
 * const ids = tokenizer.encode('who is the author of Amber Falcon ?');
 * const scores = logits(policy, ids);
 * scores.shape[0] === ids.length; // true
 * scores.shape[1]; // 1322
 * ```
 */
export function logits(policy: DecoderWeights, ids: readonly number[] | Int32Array): tf.Tensor2D {
  const { vocabSize, hiddenSize } = policy.config;
  if (!Array.isArray(ids) && !(ids instanceof Int32Array))
    throw new TypeError(`logits: ids: expected a list of token ids, got ${described(ids)}`);
  if (ids.length === 0) throw new RangeError('logits: ids: expected at least one token id, got none');
  const outside = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
  if (outside >= 0)
    throw new RangeError(`logits: ids[${outside}] is ${described(ids[outside])}, expected a token id from 0 to ${vocabSize - 1}`);
  return tf.tidy(() => {
    const hidden = decode(policy, Int32Array.from(ids), [1, ids.length]); // [1, T, d]
    return linear(tf.reshape(hidden, [ids.length, hiddenSize]), headOf(policy)) as tf.Tensor2D;
  });
}
