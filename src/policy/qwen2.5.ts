/**
 * The shapes of the published Qwen2.5 models, and what a model of any shape takes in memory: arithmetic on a config, so that it can be known
 * before anything is downloaded.
 *
 * Shapes are those of the models' own `config.json` (Qwen2.5 technical report, table 1); Instruct models differ in their end token alone.
 */
import { countParameters, type PolicyConfig, weightShapes } from './config.js';
import { ADAPTED } from './lora.js';

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

export const qwen25Configs = {
  '0.5b': qwen25(896, 4864, 24, 14, 2),
  '1.5b': qwen25(1536, 8960, 28, 12, 2, { maxPositions: 131_072 }),
  '3b': qwen25(2048, 11_008, 36, 16, 2),
  '7b': qwen25(3584, 18_944, 28, 28, 4, { vocabSize: 152_064, tiedEmbeddings: false, maxPositions: 131_072 }),
} as const satisfies Readonly<Record<string, PolicyConfig>>;

export type Qwen25Size = keyof typeof qwen25Configs;

export interface MemoryNeeds {
  readonly parameters: number;
  /** Bytes of the weights in float32. */
  readonly float32: number;
  /** Bytes of the weights with matrices in 16 bits, as BF16 files store them; norms and biases in float32. */
  readonly half: number;
  /** Bytes of the largest single tensor in float32, which a backend must hold in one buffer. */
  readonly largestTensor: number;
  /** Bytes of keys and values, float32, that one token of one sequence keeps. */
  readonly cachePerToken: number;
  /** Bytes of float32 logits of one position. */
  readonly logitsPerToken: number;
  /** Bytes of a LoRA adapter of the given rank with AdamW's two moments and a gradient, float32. */
  readonly adapter: number;
  /** Bytes that full training adds to the weights: a gradient and AdamW's two moments, float32. */
  readonly fullTraining: number;
}

/** What a model of this shape takes. Activations come on top: they depend on batch and length. */
export function memoryNeeds(config: PolicyConfig, { rank = 64 }: { readonly rank?: number } = {}): MemoryNeeds {
  const shapes = [...weightShapes(config)];
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const parameters = countParameters(config);
  const halved = shapes.filter(([, shape]) => shape.length === 2 && shape[1] % 2 === 0).reduce((sum, [, shape]) => sum + size(shape), 0);
  const adapterParameters = shapes.reduce((sum, [name, [out, inputs]]) => sum + (ADAPTED.test(name) ? rank * (out + inputs) : 0), 0);
  return {
    parameters,
    float32: 4 * parameters,
    half: 4 * parameters - 2 * halved,
    largestTensor: 4 * Math.max(...shapes.map(([, shape]) => size(shape))),
    cachePerToken: 2 * 4 * config.layers * config.kvHeads * config.headDim,
    logitsPerToken: 4 * config.vocabSize,
    adapter: 4 * 4 * adapterParameters,
    fullTraining: 3 * 4 * parameters,
  };
}
