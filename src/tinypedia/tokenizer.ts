/**
 * Tinypedia's tokenizer: a byte-level BPE in which every word of the world, with its leading space, is one token.
 *
 * The committed copy is `datasets/tinypedia/tokenizer/`; a test holds it to this function. It belongs to the base checkpoint: a changed
 * word means new ids, and a base policy to be trained anew.
 */
import { toTokenizerFiles, trainBpe } from '../policy/bpe-trainer.js';
import { NAME_POOLS, NAME_WORDS, YEARS } from './names.js';
import { PARAPHRASES } from './questions.js';
import { RELATIONS } from './world.js';

/** One token each. The first ends and pads a sequence; the tags are the classroom protocol's. */
export const SPECIAL_TOKENS = [
  '<|endoftext|>',
  '<think>',
  '</think>',
  '<search>',
  '</search>',
  '<information>',
  '</information>',
  '<answer>',
  '</answer>',
  '<question>',
  '</question>',
  '<reference>',
  '</reference>',
] as const;

/** Words of questions, passages and episodes that name nothing. */
const GRAMMAR = 'a . : , ? who what is the of for or first born tell me name next done check again guess nothing found invalid action';

/** Every pre-token that Tinypedia writes, each once. */
export const TINYPEDIA_WORDS: readonly string[] = [
  ...new Set([
    ...[...NAME_WORDS, ...YEARS, ...Object.keys(NAME_POOLS), ...RELATIONS.map((relation) => relation.name)].map((word) => ` ${word}`),
    ...`${GRAMMAR} ${Object.values(PARAPHRASES).join(' ')}`.split(' ').map((word) => ` ${word}`),
    "'s",
  ]),
];

/** Learns the tokenizer from the words of the world, all weighed alike, so that it depends on no seed; gives the text of its two files. */
export function trainTinypediaTokenizer(): Readonly<Record<'tokenizer.json' | 'tokenizer_config.json', string>> {
  const { tokenizer, config } = toTokenizerFiles(trainBpe(new Map(TINYPEDIA_WORDS.map((word) => [word, 1]))), SPECIAL_TOKENS);
  return { 'tokenizer.json': `${JSON.stringify(tokenizer, null, 1)}\n`, 'tokenizer_config.json': `${JSON.stringify(config, null, 1)}\n` };
}
