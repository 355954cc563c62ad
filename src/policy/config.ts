/**
 * `config.json` of a Qwen2 checkpoint.
 *
 * Transformers 5 writes `rope_parameters.rope_theta` and `dtype`; the published Qwen2.5 files hold `rope_theta` and `torch_dtype` at the top.
 * Both are read. What the decoder does not compute (rope scalings other than YaRN) is refused, never ignored.
 */
import { z } from 'zod';
import { attentionFactorOf, type Yarn } from './rope.js';
import type { SlidingWindow } from './sliding-window.js';

/** The shape of a Qwen2 decoder: `config.json` in this project's words. */
export interface PolicyConfig {
  /** V: rows of the embedding. */
  readonly vocabSize: number;
  /** d: width of the residual stream. */
  readonly hiddenSize: number;
  /** Width of the SwiGLU layer. */
  readonly intermediateSize: number;
  /** Blocks. */
  readonly layers: number;
  /** Query heads. */
  readonly heads: number;
  /** Key/value heads; each serves heads / kvHeads query heads. */
  readonly kvHeads: number;
  /** Width of a head. */
  readonly headDim: number;
  /** Base of the rotary frequencies; Qwen2.5: 1e6. */
  readonly ropeTheta: number;
  /** Rotary positions stretched for long contexts; absent in the published Qwen2.5 files. */
  readonly yarn?: Yarn;
  /** Layers that do not read all that comes before; absent in the published Qwen2.5 files, which name a window but do not use it. */
  readonly slidingWindow?: SlidingWindow;
  /** Added to mean squares; Qwen2.5: 1e-6. */
  readonly rmsNormEpsilon: number;
  /** True where the output head is the embedding table. */
  readonly tiedEmbeddings: boolean;
  /** Longest sequence that it was made for. */
  readonly maxPositions: number;
  /** Ids that end a text, by `config.json`. */
  readonly endIds: readonly number[];
  /** Id that fills a batch; null where the config names none. */
  readonly padId: number | null;
}

const positive = z.number().int().positive();
const ropeFields = z.looseObject({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: z.number().positive().nullish(),
  factor: z.number().positive().nullish(),
  original_max_position_embeddings: positive.nullish(),
  attention_factor: z.number().positive().nullish(),
  beta_fast: z.number().positive().nullish(),
  beta_slow: z.number().positive().nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
  partial_rotary_factor: z.number().nullish(),
});
type RopeFields = z.infer<typeof ropeFields>;
const ids = z.union([z.number().int(), z.array(z.number().int())]).nullish();

const schema = z.looseObject({
  model_type: z.literal('qwen2'),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive.max(10_000), // more would only fill the memory with names of weights
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  max_position_embeddings: positive.default(32768),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  rope_theta: z.number().positive().nullish(),
  rope_parameters: ropeFields.nullish(),
  rope_scaling: ropeFields.nullish(),
  use_sliding_window: z.boolean().nullish(),
  sliding_window: positive.nullish(),
  max_window_layers: z.number().int().nonnegative().nullish(),
  layer_types: z.array(z.string()).nullish(),
  hidden_act: z.literal('silu').default('silu'),
  architectures: z.array(z.string()).nullish(),
  eos_token_id: ids,
  pad_token_id: z.number().int().nullish(),
});

/**
 * Reads the fields of a Qwen2 `config.json`.
 *
 * @throws Error listing every field that is missing, wrong or asks for something the decoder does not compute.
 *
 * @example
 * ```ts
 * import { configToJson, parseConfig, qwen25Configs } from 'search-e1/policy';
 *
 * parseConfig(configToJson(qwen25Configs['0.5b'])).hiddenSize; // 896
 * ```
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
  const problems: string[] = [];
  const yarn = yarnOf([c.rope_parameters, c.rope_scaling], c.max_position_embeddings, problems);
  const slidingWindow = slidingWindowOf(c, problems);
  if (c.num_attention_heads % kvHeads !== 0)
    problems.push(`${c.num_attention_heads} query heads do not divide among ${kvHeads} key/value heads`);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) problems.push(`head size ${headDim}: rotary embeddings need an even whole number`);
  problems.push(...otherModels(c), ...ropeProblems(c), ...endProblems(c, c.vocab_size));
  if (problems.length) throw new Error(`${source} asks for what this decoder does not do:\n${problems.map((p) => `  ${p}`).join('\n')}`);
  return {
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads,
    headDim,
    ropeTheta: c.rope_parameters?.rope_theta ?? c.rope_theta ?? c.rope_scaling?.rope_theta ?? 10000,
    ...(yarn && { yarn }),
    ...(slidingWindow && { slidingWindow }),
    rmsNormEpsilon: c.rms_norm_eps,
    tiedEmbeddings: c.tie_word_embeddings,
    maxPositions: c.max_position_embeddings,
    endIds: c.eos_token_id == null ? [] : [c.eos_token_id].flat(),
    padId: c.pad_token_id ?? null,
  };
}

/** Fields that only models which compute otherwise set, with the value that is computed; Qwen2's own have none of them. */
const FIXED: Readonly<Record<string, unknown>> = {
  attention_bias: true,
  qkv_bias: true,
  mlp_bias: false,
  use_qk_norm: false,
  use_mrope: false,
  is_causal: true,
  is_encoder_decoder: false,
  add_cross_attention: false,
  tie_encoder_decoder: false,
};

/** Rotary settings that newer and older versions of Transformers would read differently, or that are another model's. */
function ropeProblems({ rope_theta, rope_parameters, rope_scaling }: z.infer<typeof schema>): string[] {
  const places = Object.entries({ rope_parameters, rope_scaling });
  const thetas = new Set([rope_theta, rope_parameters?.rope_theta, rope_scaling?.rope_theta].filter((theta) => theta != null));
  return [
    ...(thetas.size > 1 ? [`rope_theta is ${[...thetas].join(' and ')}: only one base of the rotations is computed`] : []),
    ...places.flatMap(([place, fields]) =>
      Object.keys(fields ?? {})
        .filter((name) => LAYER_TYPE.test(name))
        .map((name) => `${place}.${name}: rotations that differ from one type of layer to another are not computed`),
    ),
  ];
}

const LAYER_TYPE = /_attention$/;

/** What makes it another model than Qwen2ForCausalLM with plain weights. */
function otherModels(c: z.infer<typeof schema>): string[] {
  const problems: string[] = [];
  if (c.architectures?.length && !c.architectures.includes('Qwen2ForCausalLM'))
    problems.push(`architectures ${c.architectures.join(', ')}: only Qwen2ForCausalLM is computed, which has a head over the vocabulary`);
  for (const field of ['quantization_config', 'compression_config'])
    if (holdsAnything(c[field]))
      problems.push(`${field}: quantised weights are not read; take the checkpoint in bfloat16, float16 or float32`);
  for (const field of ['auto_map', 'pruned_heads'])
    if (holdsAnything(c[field])) problems.push(`${field} ${JSON.stringify(c[field])}: code and shapes of its own are not computed`);
  for (const [field, computed] of Object.entries(FIXED))
    if (c[field] != null && c[field] !== computed) problems.push(`${field} is ${JSON.stringify(c[field])}, computed is ${computed}`);
  return problems;
}

const holdsAnything = (value: unknown): boolean =>
  typeof value === 'object' && value !== null ? Object.keys(value).length > 0 : Boolean(value);

/** End and padding tokens, of a config or a generation config, that the vocabulary does not hold. */
export function endProblems(fields: { readonly eos_token_id?: unknown; readonly pad_token_id?: unknown }, vocabSize: number): string[] {
  return (['eos_token_id', 'pad_token_id'] as const).flatMap((field) =>
    [fields[field] ?? []]
      .flat()
      .filter((id) => !Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize)
      .map((id) => `${field} ${JSON.stringify(id)} is none of the vocabulary's ${vocabSize} tokens`),
  );
}

/** As Transformers' Qwen2Config: 4,096 tokens where no window is named, and without `layer_types` the layers from `max_window_layers` (28) on. */
function slidingWindowOf(c: z.infer<typeof schema>, problems: string[]): SlidingWindow | undefined {
  const tokens = c.use_sliding_window ? (c.sliding_window === undefined ? 4096 : c.sliding_window) : null;
  if (c.layer_types && c.layer_types.length !== c.num_hidden_layers)
    problems.push(`layer_types names ${c.layer_types.length} layers of ${c.num_hidden_layers}`);
  for (const type of new Set(c.layer_types))
    if (type !== 'full_attention' && type !== 'sliding_attention')
      problems.push(`layer type "${type}": only "full_attention" and "sliding_attention" are computed`);
  const slides = (layer: number) =>
    c.layer_types ? c.layer_types[layer] === 'sliding_attention' : tokens !== null && layer >= (c.max_window_layers ?? 28);
  const layers = Array.from({ length: c.num_hidden_layers }, (_, layer) => layer).filter(slides);
  if (layers.length === 0) return undefined;
  if (tokens === null) {
    problems.push(
      `layer type "sliding_attention" without a window: use_sliding_window is ${c.use_sliding_window}, sliding_window ${c.sliding_window}`,
    );
    return undefined;
  }
  return { tokens, layers };
}

/** YaRN's settings where one of the two places asks for it, with Transformers' defaults; what cannot be computed goes to `problems`. */
function yarnOf(places: readonly (RopeFields | null | undefined)[], maxPositions: number, problems: string[]): Yarn | undefined {
  const scaled = places.flatMap((fields) =>
    fields ? [...new Set([fields.rope_type, fields.type])].flatMap((type) => (type && type !== 'default' ? [{ type, fields }] : [])) : [],
  );
  for (const fields of places)
    if (fields?.partial_rotary_factor != null && fields.partial_rotary_factor !== 1)
      problems.push(`partial_rotary_factor ${fields.partial_rotary_factor}: only whole heads are rotated`);
  for (const type of new Set(scaled.map(({ type }) => type)))
    if (type !== 'yarn') problems.push(`rope type "${type}": only "default" and "yarn" are computed`);
  const asked = scaled.filter(({ type }) => type === 'yarn');
  const found = asked[0]?.fields;
  for (const field of [
    'factor',
    'original_max_position_embeddings',
    'attention_factor',
    'beta_fast',
    'beta_slow',
    'mscale',
    'mscale_all_dim',
    'truncate',
  ])
    if (new Set(asked.map(({ fields }) => fields[field] ?? null)).size > 1)
      problems.push(`rope_parameters and rope_scaling differ in ${field}: ${asked.map(({ fields }) => fields[field]).join(' and ')}`);
  if (!found) return undefined;
  const originalMaxPositions = found.original_max_position_embeddings ?? maxPositions;
  if (found.factor == null && found.original_max_position_embeddings == null)
    problems.push('rope type "yarn" without "factor": how much longer contexts become is unknown');
  const factor = found.factor ?? maxPositions / originalMaxPositions;
  return {
    factor,
    originalMaxPositions,
    attentionFactor: found.attention_factor ?? attentionFactorOf(factor, found.mscale, found.mscale_all_dim),
    betaFast: found.beta_fast ?? 32,
    betaSlow: found.beta_slow ?? 1,
    truncate: found.truncate ?? true,
  };
}

/** `rope_parameters` of Transformers 5; older versions read `rope_scaling`. */
function ropeToJson({ ropeTheta, yarn }: PolicyConfig): Record<string, unknown> {
  if (!yarn) return { rope_theta: ropeTheta, rope_parameters: { rope_type: 'default', rope_theta: ropeTheta } };
  const fields = {
    rope_type: 'yarn',
    factor: yarn.factor,
    original_max_position_embeddings: yarn.originalMaxPositions,
    attention_factor: yarn.attentionFactor,
    beta_fast: yarn.betaFast,
    beta_slow: yarn.betaSlow,
    truncate: yarn.truncate,
  };
  return { rope_theta: ropeTheta, rope_parameters: { ...fields, rope_theta: ropeTheta }, rope_scaling: fields };
}

function slidingWindowToJson({ slidingWindow, layers }: PolicyConfig): Record<string, unknown> {
  if (!slidingWindow) return { use_sliding_window: false };
  const slides = new Set(slidingWindow.layers);
  return {
    use_sliding_window: true,
    sliding_window: slidingWindow.tokens,
    max_window_layers: slidingWindow.layers[0],
    layer_types: Array.from({ length: layers }, (_, layer) => (slides.has(layer) ? 'sliding_attention' : 'full_attention')),
  };
}

/**
 * The `config.json` that Transformers, old and new, opens as Qwen2ForCausalLM.
 *
 * @example
 * ```ts
 * import { configToJson, qwen25Configs } from 'search-e1/policy';
 *
 * configToJson(qwen25Configs['3b'], 'bfloat16').num_hidden_layers; // 36
 * ```
 */
export function configToJson(config: PolicyConfig, dtype: 'float32' | 'float16' | 'bfloat16' = 'float32'): Record<string, unknown> {
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
    ...ropeToJson(config),
    tie_word_embeddings: config.tiedEmbeddings,
    hidden_act: 'silu',
    ...slidingWindowToJson(config),
    attention_dropout: 0,
    bos_token_id: null,
    eos_token_id: config.endIds.length === 1 ? config.endIds[0] : config.endIds.length ? [...config.endIds] : null,
    pad_token_id: config.padId,
    dtype,
    torch_dtype: dtype,
  };
}

/**
 * Name and shape of every weight of a Qwen2 checkpoint, in Hugging Face's layout (linear weights are [out, in]).
 *
 * @example
 * ```ts
 * import { qwen25Configs, weightShapes } from 'search-e1/policy';
 *
 * weightShapes(qwen25Configs['0.5b']).get('model.layers.0.mlp.up_proj.weight'); // [ 4864, 896 ]
 * ```
 */
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

/** Parameters of a model of this shape; a tied head counts once. */
export const countParameters = (config: PolicyConfig): number =>
  [...weightShapes(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
