/**
 * How fast rotary positions turn: `theta^(-2i / headDim)`, or YaRN's mixture (Peng et al. 2023), which Qwen2.5 names for contexts beyond 32,768.
 *
 * YaRN leaves the fast dimensions as they are, slows the slow ones down by `factor`, mixes linearly in between, and lengthens queries and keys by
 * `attentionFactor`. As Transformers computes it; like there it holds for every length, short ones included.
 */
import type { RotaryFrequencies } from '../tensors/rotary.js';

/** YaRN's stretching of the rotary frequencies (Peng et al. 2023), as Transformers reads `rope_scaling`. */
export interface Yarn {
  /** How many times longer contexts become. */
  readonly factor: number;
  /** Positions the model was pretrained with. */
  readonly originalMaxPositions: number;
  /** Multiplies cosines and sines. */
  readonly attentionFactor: number;
  /** Turns over the pretrained length above which a dimension stays as it is; 32. */
  readonly betaFast: number;
  /** Turns below which a dimension is slowed down entirely; 1. */
  readonly betaSlow: number;
  /** Whether the bounds between the two are rounded outwards to whole dimensions. */
  readonly truncate: boolean;
}

/** What `rotaryTables` takes: the base itself, or frequencies where they are scaled. */
export function rotaryOf({
  ropeTheta,
  headDim,
  yarn,
}: {
  readonly ropeTheta: number;
  readonly headDim: number;
  readonly yarn?: Yarn;
}): number | RotaryFrequencies {
  if (!yarn) return ropeTheta;
  const { factor, originalMaxPositions, betaFast, betaSlow, truncate, attentionFactor } = yarn;
  /** The dimension that turns `turns` times over the pretrained length. */
  const dimension = (turns: number) => (headDim * Math.log(originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(ropeTheta));
  const round = truncate ? { down: Math.floor, up: Math.ceil } : { down: (x: number) => x, up: (x: number) => x };
  const low = Math.max(round.down(dimension(betaFast)), 0);
  const high = Math.min(round.up(dimension(betaSlow)), headDim - 1);
  const width = low === high ? 0.001 : high - low;
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = ropeTheta ** ((-2 * i) / headDim);
    const slowed = Math.min(1, Math.max(0, (i - low) / width)); // 0: as it is, 1: slowed down by the whole factor
    return frequency * (1 - slowed) + (frequency / factor) * slowed;
  });
  return { frequencies, scale: attentionFactor };
}

/** Transformers' default: 0.1 ln(factor) + 1, or the ratio of two such terms where both mscales are given. */
export function attentionFactorOf(factor: number, mscale?: number | null, mscaleAllDim?: number | null): number {
  const term = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? term(mscale) / term(mscaleAllDim) : term(1);
}
