/**
 * What an engine is given, looked at before anything is computed: positions and token ids that do not fit would not fail further down, but give other numbers.
 */
import { checkOptions } from '../arguments.js';
import { checkNumber, shown } from '../number-setting.js';
import type { GenerateOptions } from '../policy/generate.js';
import { checkSampling } from '../policy/sampling-limits.js';
import type { Loss, Paired, Scored } from './engine.js';

/**
 * @param who the method that was called
 * @throws TypeError where data, tokens or positions are no arrays
 * @throws RangeError for a token id outside of the vocabulary, and for a position that is not scored by any distribution, or out of order
 */
export function checkScored(who: string, data: readonly Scored[], vocabSize: number): void {
  checkArray(`${who}: data`, data, 'of sequences');
  data.forEach((item, i) => {
    checkSequence(`${who}: sequence ${i}`, item, vocabSize);
  });
}

/**
 * The same for both views of each pair, and that the teacher's names the student's tokens.
 *
 * @throws RangeError where it names others, or another number of them
 */
export function checkPaired(who: string, data: readonly Paired[], vocabSize: number): void {
  checkScored(who, data, vocabSize);
  data.forEach(({ tokens, scored, teacher }, i) => {
    const view = `${who}: sequence ${i}, the teacher's view`;
    checkSequence(view, teacher, vocabSize);
    if (teacher.scored.length !== scored.length)
      throw new RangeError(`${view}: scores ${teacher.scored.length} tokens, expected the student's ${scored.length}`);
    scored.forEach((t, k) => {
      const [own, other] = [tokens[t], teacher.tokens[teacher.scored[k]]];
      if (own !== other) throw new RangeError(`${view}: scored[${k}] names token ${other}, expected the student's ${own}`);
    });
  });
}

/** @throws RangeError, TypeError for what `checkScored` and `checkPaired` refuse, a divisor or a temperature that is not above 0, and where nothing is scored */
export function checkLoss({ name, reads, data, divisor = 1, ...rest }: Loss, vocabSize: number): void {
  if (typeof name !== 'string' || name === '')
    throw new TypeError(`loss: name: expected what it is called in reports and errors, got ${shown(name)}`);
  if (reads !== 'logits' && reads !== 'logProbs')
    throw new RangeError(`${name}: reads: expected 'logProbs' or 'logits', got ${shown(reads)}`);
  if (reads === 'logits') checkPaired(name, data, vocabSize);
  else checkScored(name, data, vocabSize);
  if (data.every(({ scored }) => scored.length === 0)) throw new Error(`${name}: no token to score in ${data.length} sequences`);
  checkNumber(`${name}: divisor`, divisor, { above: 0 });
  if ('temperature' in rest && rest.temperature !== undefined) checkNumber(`${name}: temperature`, rest.temperature, { above: 0 });
}

/** @throws TypeError where prompts are no arrays; RangeError for a token id outside of the vocabulary */
export function checkPrompts(prompts: readonly (readonly number[])[], vocabSize: number): void {
  checkArray('sample: prompts', prompts, 'of prompts');
  prompts.forEach((prompt, i) => {
    checkTokens(`sample: prompt ${i}`, prompt, vocabSize);
  });
}

const WRITING: readonly (keyof GenerateOptions)[] = [
  ...(['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty'] as const),
  ...(['seed', 'maxTokens', 'endIds', 'onToken', 'batchSize', 'onProgress', 'signal'] as const),
];

/** @throws TypeError, RangeError for what says how to write and where to end, and is none */
export function checkWriting(options: GenerateOptions): void {
  checkOptions('sample', options, WRITING);
  const { maxTokens } = options;
  checkNumber('sample: maxTokens', maxTokens, { integer: true, min: 1 });
  checkSampling(options);
}

function checkSequence(where: string, item: Scored, vocabSize: number): void {
  if (typeof item !== 'object' || item === null) throw new TypeError(`${where}: expected { tokens, scored }, got ${shown(item)}`);
  const { tokens, scored } = item;
  checkTokens(`${where}: tokens`, tokens, vocabSize);
  checkArray(`${where}: scored`, scored, 'of positions');
  scored.forEach((t, k) => {
    if (!(Number.isInteger(t) && t >= 1 && t < tokens.length))
      throw new RangeError(
        `${where}: scored[${k}] is position ${shown(t)}, expected a whole number from 1 to ${tokens.length - 1}: nothing comes before position 0, and there are ${tokens.length} tokens`,
      );
    if (k > 0 && t <= scored[k - 1])
      throw new RangeError(`${where}: scored[${k}] is position ${t} after ${scored[k - 1]}, expected ascending positions, each once`);
  });
}

function checkTokens(where: string, tokens: readonly number[], vocabSize: number): void {
  checkArray(where, tokens, 'of token ids');
  tokens.forEach((token, t) => {
    if (!(Number.isInteger(token) && token >= 0 && token < vocabSize))
      throw new RangeError(`${where}: element ${t} is ${shown(token)}, expected a token id: a whole number from 0 to ${vocabSize - 1}`);
  });
}

function checkArray(what: string, value: unknown, of: string): void {
  if (!Array.isArray(value)) throw new TypeError(`${what}: expected an array ${of}, got ${shown(value)}`);
}
