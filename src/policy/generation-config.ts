/**
 * How a model is to be sampled, by its own `generation_config.json` and Transformers' defaults: what `generate` does when it is told nothing.
 *
 * Sampling fields alone; end tokens are the tokenizer's (`tokenizer-files.ts`), lengths the protocol's.
 */
import { z } from 'zod';
import { isThere, join } from '../platform/files.js';
import type { SamplingLimits } from './sampling-limits.js';
import { readJson } from './shards.js';

/** How a model wants to be sampled. */
export interface GenerationSettings extends SamplingLimits {
  /** 0 where it is greedy. */
  readonly temperature: number;
}

const schema = z.looseObject({
  do_sample: z.boolean().nullish(),
  temperature: z.number().nullish(),
  top_k: z.number().nullish(),
  top_p: z.number().nullish(),
  min_p: z.number().nullish(),
  repetition_penalty: z.number().positive().nullish(),
});

/** What a field may be where it is used; greedy choice uses none of them, and files that ask for it often hold 0, which Transformers accepts there. */
const LIMITS: readonly (readonly [
  field: 'temperature' | 'top_k' | 'top_p' | 'min_p',
  expected: string,
  fits: (value: number) => boolean,
])[] = [
  ['temperature', 'a number above 0, or do_sample false for the likeliest token', (value) => value > 0],
  ['top_k', 'a whole number, 0 for all tokens', (value) => Number.isSafeInteger(value) && value >= 0],
  ['top_p', 'a probability above 0', (value) => value > 0 && value <= 1],
  ['min_p', 'a number from 0 to 1', (value) => value >= 0 && value <= 1],
];

/** Fields that change what `generate` draws and are not computed here, with the values that change nothing. */
const NOT_DRAWN: Readonly<Record<string, unknown>> = { typical_p: 1, epsilon_cutoff: 0, eta_cutoff: 0, top_h: undefined };

/** The same for what it chooses, drawn or not. */
const NOT_COMPUTED: Readonly<Record<string, unknown>> = {
  num_beams: 1,
  num_beam_groups: 1,
  diversity_penalty: 0,
  no_repeat_ngram_size: 0,
  encoder_no_repeat_ngram_size: 0,
  encoder_repetition_penalty: 1,
  bad_words_ids: undefined,
  force_words_ids: undefined,
  constraints: undefined,
  suppress_tokens: undefined,
  begin_suppress_tokens: undefined,
  sequence_bias: undefined,
  forced_bos_token_id: undefined,
  forced_eos_token_id: undefined,
  exponential_decay_length_penalty: undefined,
  min_length: 0,
  min_new_tokens: 0,
  stop_strings: undefined,
  token_healing: false,
  guidance_scale: 1,
  penalty_alpha: 0,
  dola_layers: undefined,
  use_mtp: false,
  watermarking_config: undefined,
};

/** Fields of `GenerationConfig` (Transformers 5.24) that choose no token: lengths, caches, outputs, speed, what was read already. */
const HARMLESS = new Set([
  ...Object.keys(schema.shape),
  ...['max_length', 'max_new_tokens', 'max_time', 'max_matching_ngram_size', 'early_stopping', 'length_penalty', 'num_return_sequences'],
  ...['use_cache', 'cache_implementation', 'cache_config', 'max_cache_len', 'low_memory', 'prefill_chunk_size'],
  ...['compile_config', 'disable_compile', 'continuous_batching_config', 'renormalize_logits', 'remove_invalid_values'],
  ...['output_attentions', 'output_hidden_states', 'output_scores', 'output_logits', 'return_dict_in_generate', 'return_legacy_cache'],
  ...['pad_token_id', 'bos_token_id', 'eos_token_id', 'decoder_start_token_id'],
  ...[
    'is_assistant',
    'num_assistant_tokens',
    'num_assistant_tokens_schedule',
    'assistant_confidence_threshold',
    'prompt_lookup_num_tokens',
  ],
  ...['assistant_early_exit', 'assistant_lookbehind', 'target_lookbehind', 'assistant_ensemble_weight', 'speculation_type'],
  ...[
    'transformers_version',
    '_from_model_config',
    '_commit_hash',
    'generation_kwargs',
    'trust_remote_code',
    'chat_format',
    'max_window_size',
  ],
]);

/** Words in the name of a field that Transformers does not know by which it may want to change what is chosen. */
const MAY_CHOOSE =
  /penalty|temperature|(^|_)(top|min|typical|sample|sampling|bias|logits?|beams?|ngram|cutoff|suppress|force[ds]?|dynatemp|mirostat|xtc|dry)(_|$)/;

/**
 * Reads a folder's settings.
 *
 * @throws Error naming the file and every field that is none, or that asks for what is not computed here
 *
 * @example
 * ```ts
 * import { readGenerationSettings } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const { settings } = await readGenerationSettings(basePolicyFolder());
 * settings.temperature; // 1
 * ```
 */
export async function readGenerationSettings(folder: string): Promise<{ readonly settings: GenerationSettings }> {
  const path = join(folder, 'generation_config.json');
  const parsed = schema.safeParse((await isThere(path)) ? await readJson(path) : {});
  const fail = (problems: readonly string[]): never => {
    throw new Error(`${path} does not say how to sample:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
  };
  if (!parsed.success) return fail(parsed.error.issues.map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`));
  const json: Readonly<Record<string, unknown>> = parsed.data;
  const { do_sample, repetition_penalty } = parsed.data;
  const used: Partial<Record<(typeof LIMITS)[number][0], number>> = {};
  const problems: string[] = [];
  for (const [field, expected, fits] of LIMITS) {
    const value = parsed.data[field];
    if (value == null) continue;
    if (fits(value)) used[field] = value;
    else if (do_sample || value !== 0) problems.push(`${field}: ${value}, expected ${expected}`);
  }
  const changing: Readonly<Record<string, unknown>> = do_sample ? { ...NOT_COMPUTED, ...NOT_DRAWN } : NOT_COMPUTED;
  for (const [field, value] of Object.entries(json)) {
    const known = field in changing;
    if (known ? (value ?? changing[field]) === changing[field] || isEmpty(value) : field in NOT_DRAWN || HARMLESS.has(field)) continue;
    if (known || (MAY_CHOOSE.test(field) && !isEmpty(value) && value !== 0))
      problems.push(`${field}: ${JSON.stringify(value)} is not computed here; take it out to sample without it`);
  }
  if (problems.length) return fail(problems);
  return {
    settings: {
      temperature: do_sample ? (used.temperature ?? 1) : 0,
      topK: used.top_k ?? 50,
      topP: used.top_p ?? 1,
      minP: used.min_p ?? 0,
      repetitionPenalty: repetition_penalty ?? 1,
    },
  };
}

const isEmpty = (value: unknown): boolean =>
  value == null || value === false || (typeof value === 'object' && Object.keys(value).length === 0);
