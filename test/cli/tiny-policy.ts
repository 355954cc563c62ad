/** A policy of a few thousand random weights in Tinypedia's tokenizer, as a checkpoint folder: for what needs a policy, but not a good one. */
import { datasetPath } from '../../src/datasets.js';
import { savePolicy } from '../../src/policy/checkpoint.js';
import { Policy } from '../../src/policy/policy.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { random } from '../../src/random.js';
import { startBackend } from '../../src/tensors/backend.js';
import { basePolicyConfig } from '../../src/tinypedia/pretrain.js';

export async function writeTinyPolicy(folder: string): Promise<void> {
  await startBackend();
  const tokenizerFolder = datasetPath('tinypedia', 'tokenizer');
  const shape = { hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2, kvHeads: 1, headDim: 4 };
  const policy = Policy.initialize({ ...basePolicyConfig(loadTokenizer(tokenizerFolder)), ...shape }, random(1, 'tiny'));
  await savePolicy(policy, folder, { tokenizerFolder });
  policy.dispose();
}
