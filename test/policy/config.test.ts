import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { configToJson, parseConfig, weightShapes } from '../../src/policy/config.js';
import { fixtureFolder, readFixture } from './xs.js';

/** As the published Qwen2.5-0.5B-Instruct has it: rope_theta and torch_dtype at the top, no pad token. */
const published = {
  architectures: ['Qwen2ForCausalLM'],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: 'silu',
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: 'qwen2',
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  use_cache: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

describe('config.json', () => {
  test('of the published Qwen2.5 files, and of Transformers 5, is read', () => {
    expect(parseConfig(published)).toEqual({
      vocabSize: 151936,
      hiddenSize: 896,
      intermediateSize: 4864,
      layers: 24,
      heads: 14,
      kvHeads: 2,
      headDim: 64,
      ropeTheta: 1e6,
      rmsNormEpsilon: 1e-6,
      tiedEmbeddings: true,
      maxPositions: 32768,
      endIds: [151645],
      padId: null,
    });
    const xs = parseConfig(readFixture('xs_untied', 'config.json'));
    expect([xs.ropeTheta, xs.headDim, xs.tiedEmbeddings, xs.endIds, xs.padId]).toEqual([1e6, 8, false, [255], 0]);
  });

  test("parameters of the published model's shapes number 494,032,768", () => {
    const sizes = [...weightShapes(parseConfig(published)).values()].map((shape) => shape.reduce((a, b) => a * b, 1));
    expect(sizes.reduce((a, b) => a + b, 0)).toBe(494_032_768); // 0.49 B on its model card, counted by Transformers
  });

  test('names a head size of its own, several end tokens, and none', () => {
    const c = parseConfig({ ...published, head_dim: 128, eos_token_id: [1, 2], pad_token_id: 7 });
    expect([c.headDim, c.endIds, c.padId]).toEqual([128, [1, 2], 7]);
    expect(weightShapes(c).get('model.layers.0.self_attn.o_proj.weight')).toEqual([896, 14 * 128]);
    expect(parseConfig({ ...published, eos_token_id: null }).endIds).toEqual([]);
  });

  test('may say in so many words what Qwen2 is anyway', () => {
    const said = { use_mrope: false, attention_bias: true, mlp_bias: false, quantization_config: null, auto_map: {}, is_causal: true };
    expect(parseConfig({ ...published, ...said })).toEqual(parseConfig(published));
    const all = { ...published, num_key_value_heads: null, architectures: null };
    expect(parseConfig(all).kvHeads).toBe(14); // Qwen2Config: as many as query heads
  });

  test('survives being written and read', () => {
    for (const json of [published, readFixture('xs_tied', 'config.json'), { ...published, eos_token_id: [3, 4], head_dim: 32 }]) {
      const config = parseConfig(json);
      expect(parseConfig(JSON.parse(JSON.stringify(configToJson(config))))).toEqual(config);
    }
  });

  test.each([
    ['from max_window_layers on', { max_window_layers: 22 }, { tokens: 32768, layers: [22, 23] }],
    ['of 4,096 tokens where none is named', { max_window_layers: 23, sliding_window: undefined }, { tokens: 4096, layers: [23] }],
    [
      'from layer 28 on where nothing else is said',
      { max_window_layers: undefined, num_hidden_layers: 30 },
      { tokens: 32768, layers: [28, 29] },
    ],
    [
      'in the layers that layer_types names',
      { num_hidden_layers: 3, layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'] },
      { tokens: 32768, layers: [0, 2] },
    ],
  ])('may have sliding windows %s, and keeps them when written', (_, change, expected) => {
    const config = parseConfig({ ...published, use_sliding_window: true, ...change });
    expect(config.slidingWindow).toEqual(expected);
    expect(parseConfig(JSON.parse(JSON.stringify(configToJson(config))))).toEqual(config);
  });

  test('may ask for sliding windows beyond its layers, which slide nowhere', () => {
    for (const change of [{ max_window_layers: 24 }, { sliding_window: null }, { layer_types: Array(24).fill('full_attention') }])
      expect(parseConfig({ ...published, use_sliding_window: true, ...change })).toEqual(parseConfig(published));
  });

  test("asks for YaRN as Qwen2.5's model cards say, with Transformers' defaults", () => {
    const scaling = { factor: 4.0, original_max_position_embeddings: 32768, type: 'yarn' };
    const config = parseConfig({ ...published, rope_scaling: scaling });
    expect(config.yarn).toEqual({
      factor: 4,
      originalMaxPositions: 32768,
      attentionFactor: 0.1 * Math.log(4) + 1,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    });
    const both = { rope_type: 'yarn', rope_theta: 1e6, factor: 4.0, original_max_position_embeddings: 32768 };
    expect(parseConfig({ ...published, rope_theta: undefined, rope_parameters: both })).toEqual(config);
    expect(parseConfig({ ...published, max_position_embeddings: 131072, rope_scaling: { ...scaling, factor: null } }).yarn?.factor).toBe(4);
    expect(parseConfig(JSON.parse(JSON.stringify(configToJson(config))))).toEqual(config);
  });

  test('lists every field that is missing or wrong at once', () => {
    const { hidden_size: _, vocab_size: __, ...rest } = published;
    const bad = { ...rest, model_type: 'llama', num_hidden_layers: 2.5, num_attention_heads: '14', rms_norm_eps: -1, hidden_act: 'gelu' };
    expect(() => parseConfig(bad, 'x/config.json')).toThrow(/^x\/config\.json is not the configuration of a Qwen2 model/);
    let message = '';
    try {
      parseConfig(bad);
    } catch (error) {
      message = (error as Error).message;
    }
    for (const field of [
      'model_type',
      'vocab_size',
      'hidden_size',
      'num_hidden_layers',
      'num_attention_heads',
      'rms_norm_eps',
      'hidden_act',
    ])
      expect(message).toContain(`  ${field}: `);
  });

  test('lists everything that the decoder does not compute at once', () => {
    const asked = {
      ...published,
      rope_scaling: { type: 'llama3', factor: 4 },
      layer_types: Array(24).fill('sliding_attention'),
      num_key_value_heads: 3,
      head_dim: 7,
    };
    expect(() => parseConfig(asked)).toThrow(/rope type "llama3"[\s\S]*use_sliding_window is false[\s\S]*14 query heads[\s\S]*head size 7/);
  });

  test.each([
    [
      'rope scaling beside rope parameters',
      { rope_parameters: { rope_type: 'default', rope_theta: 1e6 }, rope_scaling: { type: 'linear', factor: 2 } },
      /rope type "linear"/,
    ],
    ['rope scaling with contradicting names', { rope_scaling: { rope_type: 'default', type: 'dynamic' } }, /rope type "dynamic"/],
    ['YaRN without a factor', { rope_scaling: { type: 'yarn' } }, /"yarn" without "factor"/],
    ['heads that are rotated in part', { rope_parameters: { partial_rotary_factor: 0.5 } }, /partial_rotary_factor 0\.5/],
    [
      'rotations that differ from one type of layer to another',
      { rope_parameters: { full_attention: { rope_type: 'default', rope_theta: 1e6 } } },
      /rope_parameters\.full_attention: rotations that differ/,
    ],
    [
      'two bases of the rotations, of which old and new Transformers would take one each',
      { rope_theta: 1e4, rope_parameters: { rope_type: 'default', rope_theta: 1e6 } },
      /rope_theta is 10000 and 1000000/,
    ],
    ['layer types of another number of layers', { layer_types: ['full_attention'] }, /names 1 layers of 24/],
    [
      'sliding layers without a window',
      { num_hidden_layers: 1, layer_types: ['sliding_attention'] },
      /"sliding_attention" without a window/,
    ],
    ['other layer types', { num_hidden_layers: 1, layer_types: ['chunked_attention'] }, /layer type "chunked_attention"/],
    [
      'a classifier',
      { architectures: ['Qwen2ForSequenceClassification'] },
      /architectures Qwen2ForSequenceClassification: only Qwen2ForCausalLM/,
    ],
    ['a model without a head', { architectures: ['Qwen2Model'] }, /architectures Qwen2Model/],
    ['quantised weights', { quantization_config: { quant_method: 'awq', bits: 4 } }, /quantization_config: quantised weights are not read/],
    ['compressed weights', { compression_config: { format: 'pack-quantized' } }, /compression_config/],
    [
      'an end token beyond the vocabulary',
      { eos_token_id: [151645, 151936] },
      /eos_token_id 151936 is none of the vocabulary's 151936 tokens/,
    ],
    ['an end token below 0', { eos_token_id: -1 }, /eos_token_id -1 is none/],
    ['a padding token beyond the vocabulary', { pad_token_id: 151936 }, /pad_token_id 151936 is none/],
    ['projections without biases', { attention_bias: false }, /attention_bias is false, computed is true/],
    ['biases in the inner layers', { mlp_bias: true }, /mlp_bias is true/],
    ['positions of pictures', { use_mrope: true }, /use_mrope is true/],
    ['attention to what comes after', { is_causal: false }, /is_causal is false/],
    ['code of its own', { auto_map: { AutoModel: 'modeling.X' } }, /auto_map/],
    [
      'YaRN by two factors',
      {
        rope_parameters: { rope_type: 'yarn', factor: 2, original_max_position_embeddings: 32768 },
        rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 32768 },
      },
      /differ in factor: 2 and 4/,
    ],
    ['a billion layers', { num_hidden_layers: 1e9 }, /num_hidden_layers/],
    ['heads that do not divide the width', { num_attention_heads: 13, num_key_value_heads: 13 }, /head size/],
  ])('refuses %s', (_, change, message) => {
    expect(() => parseConfig({ ...published, ...change })).toThrow(message);
  });

  test.each([null, [], 'qwen2', 3])('refuses %j', (json) => {
    expect(() => parseConfig(json)).toThrow(/config\.json is not the configuration/);
  });
});

test('the names and shapes of weights are those of a checkpoint that Transformers wrote', () => {
  for (const name of ['xs_tied', 'xs_untied']) {
    const file = readFileSync(fixtureFolder(name, 'model.safetensors'));
    const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE())).toString()) as Record<string, { shape: number[] }>;
    const { __metadata__: _, ...records } = header as Record<string, { shape: number[] }>;
    const written = Object.entries(records).map(([weight, { shape }]) => [weight, shape]);
    expect([...weightShapes(parseConfig(readFixture(name, 'config.json')))].sort()).toEqual(written.sort());
  }
});
