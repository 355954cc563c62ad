/**
 * `config.json` of a Qwen2 checkpoint.
 *
 * Transformers 5 writes `rope_parameters.rope_theta` and `dtype`; the published Qwen2.5 files hold `rope_theta` and `torch_dtype` at the top.
 * Both are read. What the decoder does not compute (rope scaling, sliding windows in use) is refused, never ignored.
 */
import { z } from 'zod';

export interface PolicyConfig {
  readonly vocabSize: number;
  /** d: width of the residual stream. */
  readonly hiddenSize: number;
  /** Width of the SwiGLU layer. */
  readonly intermediateSize: number;
  readonly layers: number;
  /** Query heads. */
  readonly heads: number;
  /** Key/value heads; each serves heads / kvHeads query heads. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ropeTheta: number;
  readonly rmsNormEpsilon: number;
  /** True where the output head is the embedding table. */
  readonly tiedEmbeddings: boolean;
  readonly maxPositions: number;
  readonly endIds: readonly number[];
  readonly padId: number | null;
}

const positive = z.number().int().positive();
const ids = z.union([z.number().int(), z.array(z.number().int())]).nullish();

const schema = z.looseObject({
  model_type: z.literal('qwen2'),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.optional(),
  head_dim: positive.nullish(),
  max_position_embeddings: positive.default(32768),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  rope_theta: z.number().positive().optional(),
  rope_parameters: z.looseObject({ rope_type: z.string().optional(), rope_theta: z.number().positive().optional() }).nullish(),
  rope_scaling: z.looseObject({ rope_type: z.string().optional(), type: z.string().optional() }).nullish(),
  use_sliding_window: z.boolean().nullish(),
  layer_types: z.array(z.string()).nullish(),
  hidden_act: z.literal('silu').default('silu'),
  eos_token_id: ids,
  pad_token_id: z.number().int().nullish(),
});

/**
 * Reads the fields of a Qwen2 `config.json`.
 *
 * @throws Error listing every field that is missing, wrong or asks for something the decoder does not compute.
 */
export function parseConfig(json: unknown, source = 'config.json'): PolicyConfig {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || '(root)'}: ${issue.message}`).join('\n');
    throw new Error(`${source} is not the configuration of a Qwen2 model:\n${problems}`);
  }
  const c = parsed.data;
  const kvHeads = c.num_key_value_heads ?? c.num_attention_heads;
  const headDim = c.head_dim ?? c.hidden_size / c.num_attention_heads;
  const ropeTypes = new Set([c.rope_parameters?.rope_type, c.rope_scaling?.rope_type, c.rope_scaling?.type]);
  const layerTypes = new Set(c.layer_types);
  const problems: string[] = [];
  for (const type of ropeTypes) if (type && type !== 'default') problems.push(`rope type "${type}": only "default" is computed`);
  for (const type of layerTypes) if (type !== 'full_attention') problems.push(`layer type "${type}": only "full_attention" is computed`);
  if (c.use_sliding_window) problems.push('use_sliding_window true: sliding windows are not computed');
  if (c.num_attention_heads % kvHeads !== 0)
    problems.push(`${c.num_attention_heads} query heads do not divide among ${kvHeads} key/value heads`);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) problems.push(`head size ${headDim}: rotary embeddings need an even whole number`);
  if (problems.length) throw new Error(`${source} asks for what this decoder does not do:\n${problems.map((p) => `  ${p}`).join('\n')}`);
  return {
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads,
    headDim,
    ropeTheta: c.rope_parameters?.rope_theta ?? c.rope_theta ?? 10000,
    rmsNormEpsilon: c.rms_norm_eps,
    tiedEmbeddings: c.tie_word_embeddings,
    maxPositions: c.max_position_embeddings,
    endIds: c.eos_token_id == null ? [] : [c.eos_token_id].flat(),
    padId: c.pad_token_id ?? null,
  };
}

/** The `config.json` that Transformers, old and new, opens as Qwen2ForCausalLM. */
export function configToJson(config: PolicyConfig): Record<string, unknown> {
  return {
    architectures: ['Qwen2ForCausalLM'],
    model_type: 'qwen2',
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.rmsNormEpsilon,
    rope_theta: config.ropeTheta,
    rope_parameters: { rope_type: 'default', rope_theta: config.ropeTheta },
    tie_word_embeddings: config.tiedEmbeddings,
    hidden_act: 'silu',
    use_sliding_window: false,
    attention_dropout: 0,
    bos_token_id: null,
    eos_token_id: config.endIds.length === 1 ? config.endIds[0] : config.endIds.length ? [...config.endIds] : null,
    pad_token_id: config.padId,
    dtype: 'float32',
    torch_dtype: 'float32',
  };
}

/** Name and shape of every weight of a Qwen2 checkpoint, in Hugging Face's layout (linear weights are [out, in]). */
export function weightShapes(config: PolicyConfig): Map<string, readonly number[]> {
  const { hiddenSize: d, intermediateSize: inner, headDim, vocabSize } = config;
  const q = config.heads * headDim;
  const kv = config.kvHeads * headDim;
  const shapes = new Map<string, readonly number[]>([['model.embed_tokens.weight', [vocabSize, d]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    shapes.set(`${at}.input_layernorm.weight`, [d]);
    for (const [name, out] of [
      ['q_proj', q],
      ['k_proj', kv],
      ['v_proj', kv],
    ] as const) {
      shapes.set(`${at}.self_attn.${name}.weight`, [out, d]);
      shapes.set(`${at}.self_attn.${name}.bias`, [out]);
    }
    shapes.set(`${at}.self_attn.o_proj.weight`, [d, q]);
    shapes.set(`${at}.post_attention_layernorm.weight`, [d]);
    shapes.set(`${at}.mlp.gate_proj.weight`, [inner, d]);
    shapes.set(`${at}.mlp.up_proj.weight`, [inner, d]);
    shapes.set(`${at}.mlp.down_proj.weight`, [d, inner]);
  }
  shapes.set('model.norm.weight', [d]);
  if (!config.tiedEmbeddings) shapes.set('lm_head.weight', [vocabSize, d]);
  return shapes;
}
