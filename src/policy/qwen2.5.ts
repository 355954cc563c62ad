/** The shapes of the published Qwen2.5 models, from their own `config.json` (Qwen2.5 technical report, table 1). Instruct models differ in their end token alone. */
import type { PolicyConfig } from './config.js';

const qwen25 = (
  hiddenSize: number,
  intermediateSize: number,
  layers: number,
  heads: number,
  kvHeads: number,
  more: Partial<PolicyConfig> = {},
): PolicyConfig => ({
  vocabSize: 151_936,
  hiddenSize,
  intermediateSize,
  layers,
  heads,
  kvHeads,
  headDim: hiddenSize / heads,
  ropeTheta: 1e6,
  rmsNormEpsilon: 1e-6,
  tiedEmbeddings: true,
  maxPositions: 32_768,
  endIds: [151_643],
  padId: null,
  ...more,
});

/** The shapes of Qwen2.5, from their `config.json`. */
export const qwen25Configs = {
  '0.5b': qwen25(896, 4864, 24, 14, 2),
  '1.5b': qwen25(1536, 8960, 28, 12, 2, { maxPositions: 131_072 }),
  '3b': qwen25(2048, 11_008, 36, 16, 2),
  '7b': qwen25(3584, 18_944, 28, 28, 4, { vocabSize: 152_064, tiedEmbeddings: false, maxPositions: 131_072 }),
} as const satisfies Readonly<Record<string, PolicyConfig>>;

/** Sizes of Qwen2.5 by name. */
export type Qwen25Size = keyof typeof qwen25Configs;
