/**
 * How a model is to be sampled, by its own `generation_config.json` and Transformers' defaults: what `generate` does when it is told nothing.
 *
 * Sampling fields alone; end tokens are the tokenizer's (`tokenizer-files.ts`), lengths the protocol's.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { SamplingLimits } from './sampling.js';
import { readJson } from './shards.js';

export interface GenerationSettings extends SamplingLimits {
  /** 0 where it is greedy. */
  readonly temperature: number;
}

const schema = z.looseObject({
  do_sample: z.boolean().nullish(),
  temperature: z.number().positive().nullish(),
  top_k: z.number().int().nonnegative().nullish(),
  top_p: z.number().positive().max(1).nullish(),
  min_p: z.number().nonnegative().max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
});

/** Fields that change what `generate` chooses and are not computed here, with the values that change nothing. */
const NOT_COMPUTED: Readonly<Record<string, unknown>> = {
  num_beams: 1,
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  top_h: undefined,
  no_repeat_ngram_size: 0,
  encoder_repetition_penalty: 1,
  bad_words_ids: undefined,
  suppress_tokens: undefined,
  begin_suppress_tokens: undefined,
  sequence_bias: undefined,
  forced_bos_token_id: undefined,
  forced_eos_token_id: undefined,
  exponential_decay_length_penalty: undefined,
  min_length: 0,
  min_new_tokens: 0,
  guidance_scale: 1,
  penalty_alpha: 0,
  dola_layers: undefined,
  watermarking_config: undefined,
};

/**
 * Reads a folder's settings.
 *
 * @returns the settings, and the names of fields that are not computed here
 * @throws Error naming the file and every field that is none
 */
export async function readGenerationSettings(
  folder: string,
): Promise<{ readonly settings: GenerationSettings; readonly ignored: readonly string[] }> {
  const path = join(folder, 'generation_config.json');
  const parsed = schema.safeParse(existsSync(path) ? await readJson(path) : {});
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || '(root)'}: ${issue.message}`).join('\n');
    throw new Error(`${path} does not say how to sample:\n${problems}`);
  }
  const { do_sample, temperature, top_k, top_p, min_p, repetition_penalty } = parsed.data;
  return {
    settings: {
      temperature: do_sample ? (temperature ?? 1) : 0,
      topK: top_k ?? 50,
      topP: top_p ?? 1,
      minP: min_p ?? 0,
      repetitionPenalty: repetition_penalty ?? 1,
    },
    ignored: Object.entries(NOT_COMPUTED).flatMap(([name, harmless]) => ((parsed.data[name] ?? harmless) === harmless ? [] : [name])),
  };
}
