/** How a model asks to be sampled: the published files, and the defaults of Transformers (`GenerationConfig._get_default_generation_params`, 5.23). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readGenerationSettings } from '../../src/policy/generation-config.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-generation-'));
afterAll(() => rmSync(folder, { recursive: true }));
const read = (json: unknown) => {
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(json));
  return readGenerationSettings(folder);
};

test('Qwen2.5-0.5B-Instruct samples as its file says', async () => {
  const published = {
    bos_token_id: 151643,
    pad_token_id: 151643,
    do_sample: true,
    eos_token_id: [151645, 151643],
    repetition_penalty: 1.1,
    temperature: 0.7,
    top_p: 0.8,
    top_k: 20,
    transformers_version: '4.37.0',
  };
  expect(await read(published)).toEqual({
    settings: { temperature: 0.7, topK: 20, topP: 0.8, minP: 0, repetitionPenalty: 1.1 },
  });
});

test('a base model is greedy, and a file that only says it samples takes the defaults', async () => {
  const greedy = { bos_token_id: 151643, do_sample: false, eos_token_id: 151643, max_new_tokens: 2048 };
  expect((await read(greedy)).settings.temperature).toBe(0);
  expect((await read({ repetition_penalty: 1.2, temperature: 0.5 })).settings).toMatchObject({ temperature: 0, repetitionPenalty: 1.2 });
  expect((await read({ do_sample: true, top_p: null })).settings).toEqual({
    temperature: 1,
    topK: 50,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
  });
});

test('a folder without one is greedy', async () => {
  expect((await readGenerationSettings(join(folder, 'nowhere'))).settings.temperature).toBe(0);
});

test('a greedy file may hold zeros that sampling could not use, as Transformers lets it', async () => {
  for (const unused of [{ temperature: 0.0 }, { temperature: 0, top_p: 0 }, { typical_p: 0.9 }])
    expect((await read({ do_sample: false, ...unused })).settings).toMatchObject({ temperature: 0, topP: 1, minP: 0 });
  expect((await read({ do_sample: false, temperature: 0.6, top_p: 0.9 })).settings).toMatchObject({ temperature: 0, topP: 0.9 });
});

test('values that change nothing, and fields that choose nothing, are no hindrance', async () => {
  const idle = { num_beams: 1, no_repeat_ngram_size: 0, typical_p: 1.0, bad_words_ids: null, sequence_bias: {}, top_k: 0, my_note: 'x' };
  const { settings } = await read({
    do_sample: true,
    ...idle,
    use_cache: true,
    max_new_tokens: 9,
    min_length: 0,
    remove_invalid_values: false,
  });
  expect(settings).toEqual({ temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 });
});

test('what it asks for and is not computed is refused, all of it named', async () => {
  const asked = { do_sample: true, num_beams: 4, no_repeat_ngram_size: 0, typical_p: 0.9, suppress_tokens: [1], bad_words_ids: null };
  await expect(read(asked)).rejects.toThrow(/num_beams: 4 is not computed here[\s\S]*typical_p: 0\.9[\s\S]*suppress_tokens: \[1\]/);
  await expect(read(asked)).rejects.not.toThrow(/ngram|bad_words/);
  for (const field of ['presence_penalty', 'dry_multiplier', 'top_n_sigma', 'stop_strings', 'min_new_tokens', 'penalty_alpha'])
    await expect(read({ [field]: 0.5 })).rejects.toThrow(`${field}: 0.5 is not computed here`);
});

test.each([
  [{ temperature: 0, do_sample: true }, /temperature/],
  [{ top_p: 1.5, top_k: -1 }, /top_k[\s\S]*top_p|top_p[\s\S]*top_k/],
  [{ repetition_penalty: 'much' }, /generation_config\.json does not say how to sample:\n {2}repetition_penalty/],
  [[], /\(root\)/],
])('refuses %j', async (json, message) => {
  await expect(read(json)).rejects.toThrow(message);
});
