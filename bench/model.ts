/** The models of the bench, and the two sizes in which it runs. */
import type { PolicyConfig } from 'search-e1/policy';
import type { Architecture } from './flops.js';

/** 989,312 parameters. */
export const MODEL_S: Architecture = { vocabSize: 2048, hiddenSize: 128, intermediateSize: 344, layers: 4, heads: 4, kvHeads: 2 };

/** 3.4, 10.6 and 24.3 million parameters. */
export const LARGER: readonly Architecture[] = [
  { vocabSize: 2048, hiddenSize: 256, intermediateSize: 688, layers: 4, heads: 8, kvHeads: 4 },
  { vocabSize: 2048, hiddenSize: 384, intermediateSize: 1032, layers: 6, heads: 12, kvHeads: 6 },
  { vocabSize: 2048, hiddenSize: 512, intermediateSize: 1376, layers: 8, heads: 16, kvHeads: 8 },
];

/** Qwen2.5-0.5B's: 494 million parameters. */
export const QWEN_HALF_B: Architecture = { vocabSize: 151_936, hiddenSize: 896, intermediateSize: 4864, layers: 24, heads: 14, kvHeads: 2 };

export const TINY: Architecture = { vocabSize: 128, hiddenSize: 32, intermediateSize: 64, layers: 2, heads: 4, kvHeads: 2 };

export const configOf = (model: Architecture): PolicyConfig => ({
  ...model,
  headDim: model.hiddenSize / model.heads,
  ropeTheta: 10_000,
  rmsNormEpsilon: 1e-6,
  tiedEmbeddings: true,
  maxPositions: 4096,
  endIds: [model.vocabSize - 1],
  padId: model.vocabSize - 6,
});
