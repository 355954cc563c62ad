/**
 * `npm run make:model -- --out <folder> [--size 0.5b] [--dtype BF16] [--seed 1]`: a checkpoint of exactly a Qwen2.5 model's shape with random weights.
 *
 * For measuring what a real model costs where none can be downloaded: the folder opens here and in Transformers. Weights are drawn tensor by tensor, so
 * that memory holds one of them.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { configToJson, datasetPath, qwen25Configs, random, weightShapes, writeSafetensors } from '../dist/index.js';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    size: { type: 'string', default: '0.5b' },
    dtype: { type: 'string', default: 'BF16' },
    seed: { type: 'string', default: '1' },
  },
});
const config = qwen25Configs[options.size];
if (!options.out || !config || !['BF16', 'F32'].includes(options.dtype)) {
  console.error(`make:model --out <folder> [--size ${Object.keys(qwen25Configs).join('|')}] [--dtype BF16|F32] [--seed n]`);
  process.exit(2);
}
const folder = options.out;
mkdirSync(folder, { recursive: true });

/** Normal numbers of deviation 0.02 by the sum of four uniform ones, which is near enough; norms 1, biases 0. */
function drawn(name, size) {
  const values = new Float32Array(size);
  if (name.endsWith('norm.weight')) return values.fill(1);
  if (name.endsWith('bias')) return values;
  let state = random(Number(options.seed), name).integer(2 ** 31) | 1;
  const uniform = () => {
    state ^= state << 13; // xorshift32 (Marsaglia 2003): a billion numbers want a short loop
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const scale = 0.02 / Math.sqrt(1 / 3);
  for (let i = 0; i < size; i++) values[i] = scale * (uniform() + uniform() + uniform() + uniform() - 2);
  return values;
}

/** The nearest bfloat16, ties to even. */
function halves(values) {
  const bits = new Uint32Array(values.buffer);
  const rounded = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) rounded[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  return rounded;
}

const tensors = new Map();
for (const [name, shape] of weightShapes(config)) {
  const size = shape.reduce((a, b) => a * b, 1);
  const values = async () => (options.dtype === 'BF16' ? halves(drawn(name, size)) : drawn(name, size));
  tensors.set(name, { shape, dtype: options.dtype, values });
}
await writeSafetensors(join(folder, 'model.safetensors'), tensors);
const put = (name, value) => writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
put('config.json', configToJson(config, options.dtype === 'BF16' ? 'bfloat16' : 'float32'));
put('generation_config.json', {
  eos_token_id: [151645, 151643],
  pad_token_id: 151643,
  do_sample: true,
  temperature: 0.7,
  top_p: 0.8,
  top_k: 20,
});
const added = JSON.parse(readFileSync(datasetPath('tokenizers', 'qwen2.5', 'added_tokens.json'), 'utf8'));
put('tokenizer_config.json', {
  tokenizer_class: 'Qwen2Tokenizer',
  eos_token: '<|endoftext|>',
  pad_token: '<|endoftext|>',
  added_tokens_decoder: Object.fromEntries(
    Object.entries(added).map(([content, id]) => [
      id,
      { content, lstrip: false, rstrip: false, normalized: false, single_word: false, special: id < 151657 },
    ]),
  ),
});
copyFileSync(datasetPath('tokenizers', 'qwen2.5', 'added_tokens.json'), join(folder, 'added_tokens.json'));
for (const name of ['vocab.json', 'merges.txt'])
  writeFileSync(join(folder, name), gunzipSync(readFileSync(datasetPath('tokenizers', 'qwen2.5', `${name}.gz`))));
console.log(folder);
