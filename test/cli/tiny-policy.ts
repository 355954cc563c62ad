/** A policy of a few thousand random weights in Tinypedia's tokenizer, as a checkpoint folder: for what needs a policy, but not a good one. */
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { datasetPath } from '../../src/platform/datasets.js';
import { saveAdapter } from '../../src/policy/adapter-files.js';
import { savePolicy } from '../../src/policy/checkpoint.js';
import { configToJson, weightShapes } from '../../src/policy/config.js';
import { Policy } from '../../src/policy/policy.js';
import { type StoredTensor, writeSafetensors } from '../../src/policy/safetensors.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { basePolicyConfig } from '../../src/tinypedia/pretrain.js';

export async function writeTinyPolicy(folder: string): Promise<void> {
  await startBackend();
  const tokenizerFolder = datasetPath('tinypedia', 'tokenizer');
  const shape = { hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2, kvHeads: 1, headDim: 4 };
  const policy = Policy.initialize({ ...basePolicyConfig(await loadTokenizer(tokenizerFolder)), ...shape }, random(1, 'tiny'));
  await savePolicy(policy, folder, { tokenizerFolder });
  policy.dispose();
}

/** Weights of Qwen2.5's vocabulary in bfloat16, random but for one thing, that it ends every turn at once, with a chat template, generation settings and an adapter: a folder as a reader downloads it. */
export async function writeTinyModel(folder: string): Promise<void> {
  await startBackend();
  const shape = { hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2, kvHeads: 1, headDim: 4 };
  const config = {
    ...basePolicyConfig(await loadTokenizer(datasetPath('tinypedia', 'tokenizer'))),
    ...shape,
    vocabSize: 151_936,
    endIds: [151_643],
    tiedEmbeddings: false,
  };
  const policy = Policy.initialize(config, random(1, 'tiny model'), { scale: 0.02 });
  policy.addAdapter({ rank: 2, alpha: 4, seed: 1 });
  for (const variable of policy.adapter?.variables.values() ?? []) variable.assign(tf.randomNormal(variable.shape, 0, 0.05, 'float32', 7));
  await saveAdapter(policy, join(folder, 'adapter'));
  policy.dropAdapter();
  const tensors = new Map<string, StoredTensor>();
  for (const [name, shape] of weightShapes(config)) {
    const values = await policy.value(name);
    // Hidden states that are positive, and a head that sums them for <|im_end|>.
    if (name === 'model.embed_tokens.weight') values.forEach((value, i) => (values[i] = Math.abs(value)));
    if (name === 'lm_head.weight') values.fill(4, 151_645 * shape[1], 151_646 * shape[1]);
    const bits = new Uint32Array(values.buffer);
    tensors.set(name, { shape, dtype: 'BF16', values: Uint16Array.from(bits, (each) => each >>> 16) });
  }
  policy.dispose();
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const put = (name: string, value: unknown) => writeFile(join(folder, name), JSON.stringify(value));
  await put('config.json', configToJson(config, 'bfloat16'));
  await put('generation_config.json', {
    eos_token_id: [151_645, 151_643],
    do_sample: true,
    temperature: 0.7,
    top_p: 0.8,
    top_k: 20,
    repetition_penalty: 1.05,
  });
  await put('tokenizer_config.json', { eos_token: '<|im_end|>', pad_token: '<|endoftext|>', chat_template: CHAT_ML });
  for (const name of ['vocab.json.gz', 'merges.txt.gz', 'added_tokens.json'])
    await copyFile(datasetPath('tokenizers', 'qwen2.5', name), join(folder, name));
}

const CHAT_ML =
  "{%- for message in messages %}\n{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\\n' }}\n{%- endif %}";
