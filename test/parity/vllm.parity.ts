/** What is saved here opens in vLLM and continues prompts alike, token for token: `npm run test:parity -- --vllm`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { inProcessEngine } from '../../src/engines/in-process.js';
import { saveAdapter } from '../../src/policy/adapter-files.js';
import { loadPolicy, savePolicy } from '../../src/policy/checkpoint.js';
import { configToJson, type PolicyConfig, weightShapes } from '../../src/policy/config.js';
import { Policy } from '../../src/policy/policy.js';
import { type StoredTensor, writeSafetensors } from '../../src/policy/safetensors.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { narrowToHalves } from '../../src/tensors/half.js';
import { noTokenizer } from '../policy/xs.js';
import { python, report, scratch, seed } from './python.js';

const NEW = 24;
const draw = random(seed, 'vllm');
/** vLLM's attention on the CPU wants heads of 32, 64, ...; and it takes their size for width / heads, whatever the config says. */
const shape = (tiedEmbeddings: boolean): PolicyConfig => {
  const [kvHeads, group] = [1 + draw.integer(2), 1 + draw.integer(3)];
  return {
    vocabSize: 64 * (2 + draw.integer(5)),
    hiddenSize: 32 * kvHeads * group,
    intermediateSize: 32 * (1 + draw.integer(4)),
    layers: 1 + draw.integer(3),
    heads: kvHeads * group,
    kvHeads,
    headDim: 32,
    ropeTheta: 1e6,
    rmsNormEpsilon: 1e-6,
    tiedEmbeddings,
    maxPositions: 256,
    endIds: [1, 2],
    padId: 0,
  };
};

describe.skipIf(!process.env.PARITY_VLLM)('opened in vLLM', () => {
  const root = scratch('vllm');
  beforeAll(async () => {
    await startBackend({ backend: 'simd' });
  });

  async function compare(name: string, policy: Policy, folder: string, ...adapter: string[]): Promise<void> {
    const prompts = Array.from({ length: 4 }, (_, i) =>
      Array.from({ length: 3 + 7 * i }, () => 3 + draw.integer(policy.config.vocabSize - 3)),
    );
    const [given, out] = ['prompts.json', 'written.json'].map((file) => join(root, file));
    writeFileSync(given, JSON.stringify(prompts));
    python('open_in_vllm.py', folder, given, String(NEW), out, ...adapter);
    const theirs = JSON.parse(readFileSync(out, 'utf8')) as number[][];
    const engine = inProcessEngine(policy, noTokenizer);
    const ours = await engine.sample(prompts, { temperature: 0, seed: 1, maxTokens: NEW, onToken: () => 'continue' });
    const wrong = ours.filter(({ tokens }, i) => tokens.join() !== theirs[i].join()).length;
    report('vLLM', `${name}: of ${prompts.length} greedy continuations differ`, wrong);
    expect(ours.map(({ tokens }) => tokens)).toEqual(theirs);
    engine.dispose();
  }

  test('a checkpoint in float32, and an adapter on it', async () => {
    const config = shape(true);
    const folder = join(root, 'float32');
    const policy = Policy.initialize(config, draw.fork('float32'), { scale: 0.2 });
    await savePolicy(policy, folder);
    await compare('float32, tied', policy, folder);
    const adapted = await loadPolicy(folder);
    addRandomAdapter(adapted);
    await saveAdapter(adapted, join(root, 'adapter'), { baseModel: folder });
    await compare('an adapter', adapted, folder, join(root, 'adapter'));
  });

  test('a checkpoint of 16 bits that an adapter was merged into', async () => {
    const config = shape(false);
    const [stored, folder] = [join(root, 'stored'), join(root, 'merged')];
    mkdirSync(stored);
    writeFileSync(join(stored, 'config.json'), JSON.stringify(configToJson(config, 'bfloat16')));
    const wide = Policy.initialize(config, draw.fork('bfloat16'), { scale: 0.2 });
    const tensors = new Map<string, StoredTensor>();
    for (const [name, shape] of weightShapes(config)) {
      const values = await wide.value(name);
      const halves = new Uint16Array(values.length);
      narrowToHalves(values, 'BF16', halves);
      tensors.set(name, { shape, dtype: 'BF16', values: halves });
    }
    wide.dispose();
    await writeSafetensors(join(stored, 'model.safetensors'), tensors);
    const policy = await loadPolicy(stored, { storage: 'stored' });
    addRandomAdapter(policy);
    policy.mergeAdapter();
    await savePolicy(policy, folder);
    await compare('bfloat16, untied, merged', policy, folder);
  });
});

function addRandomAdapter(policy: Policy): void {
  policy.addAdapter({ rank: 8, alpha: 16, seed });
  for (const variable of policy.adapter?.variables.values() ?? [])
    variable.assign(tf.randomNormal(variable.shape, 0, 0.1, 'float32', seed));
}
