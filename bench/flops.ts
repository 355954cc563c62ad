/**
 * Useful floating-point operations of each work: what the mathematics asks for, whatever a program does besides.
 *
 * A multiply-add counts 2. Causal attention counts the keys at or before each position only; the head counts scored positions only; a backward pass counts
 * twice its forward pass, or once where a frozen weight needs no gradient of its own. Norms, rotary embeddings, softmax and the optimiser are left out.
 */
import type { PolicyConfig } from 'search-e1/policy';

export type Architecture = Pick<PolicyConfig, 'vocabSize' | 'hiddenSize' | 'intermediateSize' | 'layers' | 'heads' | 'kvHeads'>;

const headDim = ({ hiddenSize, heads }: Architecture): number => hiddenSize / heads;

/** Rows and columns of a block's seven linear layers. */
function linearShapes(a: Architecture): readonly (readonly [number, number])[] {
  const { hiddenSize: d, intermediateSize: inner } = a;
  const kv = a.kvHeads * headDim(a);
  return [
    [d, d],
    [kv, d],
    [kv, d],
    [d, d],
    [inner, d],
    [inner, d],
    [d, inner],
  ];
}

const blocks = (a: Architecture): number => 2 * a.layers * linearShapes(a).reduce((sum, [out, inputs]) => sum + out * inputs, 0);

/** Positions `from` (inclusive) to `to` (exclusive) of one row, reading each other and what stands before them. */
export function attention(a: Pick<Architecture, 'layers' | 'hiddenSize'>, from: number, to: number): number {
  const keys = (to * (to + 1) - from * (from + 1)) / 2;
  return 4 * a.layers * a.hiddenSize * keys;
}

const head = (a: Architecture, scored: number): number => 2 * a.vocabSize * a.hiddenSize * scored;

/** Forward pass of one row: tokens `from` to `to` are read, `scored` positions get logits. */
export function forward(a: Architecture, { from = 0, to, scored }: { from?: number; to: number; scored: number }): number {
  return blocks(a) * (to - from) + attention(a, from, to) + head(a, scored);
}

/** Forward and backward pass of one row; all weights are trained. */
export const training = (a: Architecture, row: { to: number; scored: number }): number => 3 * forward(a, row);

/** LoRA's two factors on every linear layer, a position. */
export const adapter = (a: Architecture, rank: number): number =>
  2 * a.layers * rank * linearShapes(a).reduce((sum, [out, inputs]) => sum + out + inputs, 0);

/** Forward and backward pass of one row; only LoRA's two factors on every linear layer are trained. */
export function loraTraining(a: Architecture, { to, scored }: { to: number; scored: number }, rank: number): number {
  return 2 * (blocks(a) * to + head(a, scored)) + 3 * (attention(a, 0, to) + adapter(a, rank) * to);
}

/** One row: the prompt is read, `newTokens` are drawn one by one. The last one is never read. */
export const sampling = (a: Architecture, prompt: number, newTokens: number): number =>
  forward(a, { to: prompt + newTokens - 1, scored: newTokens });

/** Number of weights; the head is the embedding. */
export function parameters(a: Architecture): number {
  const kv = a.kvHeads * headDim(a);
  const block = linearShapes(a).reduce((sum, [out, inputs]) => sum + out * inputs, 0) + a.hiddenSize + 2 * kv + 2 * a.hiddenSize;
  return a.vocabSize * a.hiddenSize + a.layers * block + a.hiddenSize;
}
