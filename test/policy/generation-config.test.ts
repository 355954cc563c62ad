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
    ignored: [],
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

test('names what it asks for and is not computed', async () => {
  const asked = { num_beams: 4, no_repeat_ngram_size: 0, typical_p: 0.9, suppress_tokens: [1], bad_words_ids: null };
  expect((await read(asked)).ignored).toEqual(['num_beams', 'typical_p', 'suppress_tokens']);
});

test.each([
  [{ temperature: 0, do_sample: true }, /temperature/],
  [{ top_p: 1.5, top_k: -1 }, /top_k[\s\S]*top_p|top_p[\s\S]*top_k/],
  [{ repetition_penalty: 'much' }, /generation_config\.json does not say how to sample:\n {2}repetition_penalty/],
  [[], /\(root\)/],
])('refuses %j', async (json, message) => {
  await expect(read(json)).rejects.toThrow(message);
});
