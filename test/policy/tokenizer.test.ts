import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../src/policy/tokenizer.js';

const folder = 'datasets/tinypedia/tokenizer';
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const tokenizer = loadTokenizer(folder);

/** Made by test/tinypedia/fixtures/hugging-face.py with Hugging Face's tokenizers 0.23.3. */
const recorded = json('test/tinypedia/fixtures/hugging-face.json') as Record<
  'world' | 'unicode' | 'broken',
  { text: string; ids: number[] }[]
>;

const anyText = fc.string({ unit: 'binary', maxLength: 60 });
const withTags = fc
  .array(fc.oneof(anyText, fc.constantFrom('<think>', '</search>', '<|endoftext|>', ' Ada', ' 1923', '🦊', '東京')))
  .map((parts) => parts.join(''));

describe('a loaded tokenizer', () => {
  it("encodes the classroom's texts and random Unicode as Hugging Face's Rust tokenizers do", () => {
    for (const { text, ids } of [...recorded.world, ...recorded.unicode]) expect(tokenizer.encode(text)).toEqual(ids);
    expect(recorded.world.length + recorded.unicode.length).toBeGreaterThan(200);
  });

  it('decodes ids that cut characters apart as Hugging Face does', () => {
    for (const { ids, text } of recorded.broken) expect(tokenizer.decode(ids)).toBe(text);
  });

  it('gives any text back: emoji, CJK, control characters, tags', () => {
    fc.assert(
      fc.property(withTags, (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { numRuns: 500 },
    );
    expect(tokenizer.decode(tokenizer.encode('\ufeffa <think> 🦊 東京 e\u0301</think>'))).toBe('\ufeffa <think> 🦊 東京 e\u0301</think>');
  });

  it('decodes any ids as the library it stands on', () => {
    const library = new HuggingFaceTokenizer(json(join(folder, 'tokenizer.json')), json(join(folder, 'tokenizer_config.json')));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: tokenizer.size - 1 }), { minLength: 1, maxLength: 30 }), (ids) => {
        expect(tokenizer.decode(ids)).toBe(library.decode(ids));
      }),
      { numRuns: 500 },
    );
  });

  it('streams what it decodes, never ending within a character', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: tokenizer.size + 3 }), { maxLength: 30 }), (ids) => {
        const stream = tokenizer.stream();
        const pieces = ids.map((id) => stream.push(id));
        expect(pieces.join('') + stream.end()).toBe(tokenizer.decode(ids));
      }),
      { numRuns: 500 },
    );
    const stream = tokenizer.stream();
    const pieces = tokenizer.encode('a🦊東').map((id) => stream.push(id));
    expect(pieces.filter((piece) => piece !== '')).toEqual(['a', '🦊', '東']);
    expect(stream.end()).toBe('');
  });

  it('keeps spaces before punctuation and special tokens, adds nothing, and takes an empty text', () => {
    const text = '<question> who is Ada Stone ?</question>';
    expect(tokenizer.encode(text)).toHaveLength(7);
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect([tokenizer.encode(''), tokenizer.decode([])]).toEqual([[], '']);
  });

  it('leaves out ids that have no token, such as those of a padded embedding table', () => {
    const [ada] = tokenizer.encode(' Ada');
    expect(tokenizer.decode([ada, tokenizer.size + 5, ada])).toBe(' Ada Ada');
  });

  it('hands out arrays of its own, so that a changed one spoils no later text', () => {
    const first = tokenizer.encode(' Ada Stone');
    const copy = [...first];
    first.push(1);
    expect(tokenizer.encode(' Ada Stone')).toEqual(copy);
    tokenizer.encode(' Ada Stone').reverse();
    expect(tokenizer.encode(' Ada Stone')).toEqual(copy);
  });

  it('gives the same ids with a full cache, a tiny one and none', () => {
    const none = loadTokenizer(folder, { cacheSize: 0 });
    const tiny = loadTokenizer(folder, { cacheSize: 2 });
    for (const { text, ids } of [...recorded.world, ...recorded.world]) expect([none.encode(text), tiny.encode(text)]).toEqual([ids, ids]);
  });
});

describe('a folder to load from', () => {
  const made: string[] = [];
  afterAll(() => {
    for (const path of made) rmSync(path, { recursive: true });
  });
  const folderOf = (files: Record<string, unknown>): string => {
    const path = mkdtempSync(join(tmpdir(), 'search-e1-tokenizer-'));
    made.push(path);
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(path, name), typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const definition = json(join(folder, 'tokenizer.json'));
  const config = json(join(folder, 'tokenizer_config.json'));

  it('says which file is missing, broken or no tokenizer', () => {
    expect(() => loadTokenizer('no/such/folder')).toThrow(/Cannot read no.such.folder.tokenizer\.json/);
    expect(() => loadTokenizer(folderOf({ 'tokenizer.json': definition }))).toThrow(/Cannot read .*tokenizer_config\.json/);
    expect(() => loadTokenizer(folderOf({ 'tokenizer.json': '{"model":', 'tokenizer_config.json': config }))).toThrow(
      /tokenizer\.json is not JSON/,
    );
    expect(() => loadTokenizer(folderOf({ 'tokenizer.json': { a: 1 }, 'tokenizer_config.json': config }))).toThrow(
      /is no Hugging Face tokenizer/,
    );
    const endless = { ...config, eos_token: '<nothing>' };
    expect(() => loadTokenizer(folderOf({ 'tokenizer.json': definition, 'tokenizer_config.json': endless }))).toThrow(
      /"eos_token" is "<nothing>", expected a token/,
    );
  });

  it.each([
    ['normalizer', { type: 'Nope' }, /Unknown Normalizer type: Nope/],
    ['pre_tokenizer', { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' }, /Invalid regular expression/],
    ['decoder', undefined, /"decoder"/],
    ['post_processor', { type: 3 }, /Unknown PostProcessor type: 3/],
  ])('says which folder has a %s that is none: %o', (part, value, message) => {
    const path = folderOf({ 'tokenizer.json': { ...definition, [part]: value }, 'tokenizer_config.json': config });
    expect(() => loadTokenizer(path)).toThrow(message);
    expect(() => loadTokenizer(path)).toThrow(`the files in ${path} do not make a tokenizer`);
  });

  it('may name its end token as an object, and more of them in generation_config.json', () => {
    const path = folderOf({
      'tokenizer.json': definition,
      'tokenizer_config.json': { ...config, eos_token: { content: '</answer>' }, pad_token: null },
      'generation_config.json': { eos_token_id: [1317, 1309] },
    });
    const { endIds, padId } = loadTokenizer(path);
    expect([endIds, padId]).toEqual([[1317, 1309], 1317]);
  });

  it('may hold the vocabulary and merges of Qwen2.5 alone, plain or gzipped', () => {
    const source = 'datasets/tokenizers/qwen2.5';
    const qwen = loadTokenizer(source);
    expect([qwen.size, qwen.endIds, qwen.padId]).toEqual([151_665, [151_643], 151_643]);
    // tokenizers 0.23.3 on the same files.
    expect(qwen.encode("Who wrote 'Blade Runner' in 1982?\n\n  I'LL see.")).toEqual([
      15191, 6139, 364, 4923, 1021, 44946, 6, 304, 220, 16, 24, 23, 17, 1939, 220, 358, 6, 4086, 1490, 13,
    ]);
    expect(qwen.encode('<|im_start|>user\né<|im_end|>')).toEqual([151_644, 872, 198, 963, 151_645]);
    const gunzipped = (name: string) => gunzipSync(readFileSync(join(source, `${name}.gz`))).toString();
    const plain = loadTokenizer(
      folderOf({
        'vocab.json': gunzipped('vocab.json'),
        'merges.txt': gunzipped('merges.txt').replaceAll('\n', '\r\n'),
        'tokenizer_config.json': {
          eos_token: '<|im_end|>',
          added_tokens_decoder: { 151643: { content: '<|endoftext|>', special: true }, 151645: { content: '<|im_end|>', special: true } },
        },
        'config.json': { eos_token_id: [151_643] },
      }),
    );
    expect(plain.endIds).toEqual([151_645, 151_643]);
    expect(plain.encode('Who wrote it?<|im_end|>')).toEqual(qwen.encode('Who wrote it?<|im_end|>'));
  });

  const vocab = { a: 0, b: 1, ab: 2 };
  const broken: [string, Record<string, unknown>, RegExp][] = [
    ['with a vocabulary that is a list', { 'vocab.json': ['a'], 'merges.txt': '' }, /vocab\.json should hold a JSON object/],
    ['with ids that are none', { 'vocab.json': { a: -1, b: 'x' }, 'merges.txt': '' }, /vocab\.json[\s\S]*vocab\.a[\s\S]*vocab\.b/],
    ['without merges', { 'vocab.json': vocab }, /Cannot read .*merges\.txt/],
    ['with a merge of three', { 'vocab.json': vocab, 'merges.txt': '#version: 0.2\na b\na b a\n' }, /merges\.txt[\s\S]*line 3/],
    ['with a merge of what is unknown', { 'vocab.json': vocab, 'merges.txt': 'a c\nb a' }, /merge 0: "c" and "ac"[\s\S]*merge 1: "ba"/],
    ['with two tokens of one id', { 'vocab.json': { a: 0, b: 0 }, 'merges.txt': '' }, /"b" and "a" both have id 0/],
    [
      'with an added token in the place of another',
      { 'vocab.json': vocab, 'merges.txt': '', 'added_tokens.json': { '<x>': 1 } },
      /"<x>" and "b" both have id 1/,
    ],
    [
      'with hostile names',
      { 'vocab.json': '{"__proto__": 0, "constructor": 1}', 'merges.txt': 'toString valueOf', 'added_tokens.json': {} },
      /merge 0: "toString" and "valueOf"/,
    ],
    [
      'whose tokenizer.json has merges of nothing',
      {
        'tokenizer.json': { ...definition, model: { ...definition.model, merges: [['x', 'yyyyyyyyy'], 3] } },
        'tokenizer_config.json': config,
      },
      /tokenizer\.json does not make a tokenizer:\n {2}model\.merges\.1/,
    ],
    [
      'whose tokenizer.json adds a token without an id',
      { 'tokenizer.json': { ...definition, added_tokens: [{ content: '<x>' }] }, 'tokenizer_config.json': config },
      /added_tokens\.0\.id/,
    ],
    [
      'whose end tokens are no ids',
      { 'tokenizer.json': definition, 'tokenizer_config.json': config, 'generation_config.json': { eos_token_id: 'stop' } },
      /generation_config\.json[\s\S]*eos_token_id/,
    ],
  ];
  it.each(broken)('is refused %s', (_, files, message) => {
    expect(() => loadTokenizer(folderOf(files))).toThrow(message);
  });

  it('may have a chat template in a field, in a list, or in a file, which goes first', () => {
    const files = { 'tokenizer.json': definition };
    const template = '{% for m in messages %}\n  {{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}';
    const render = (more: Record<string, unknown>, file = {}) =>
      loadTokenizer(folderOf({ ...files, ...file, 'tokenizer_config.json': { ...config, ...more } })).renderChat?.([
        { role: 'user', content: ' Hi ' },
      ]);
    expect(render({})).toBeUndefined();
    expect(render({ chat_template: template })).toBe('  user:  Hi <|endoftext|>\n'); // blocks take their line's end with them, as in Transformers
    const named = [
      { name: 'tool_use', template: 'x' },
      { name: 'default', template: '{{ messages[0].content | trim }}' },
    ];
    expect(render({ chat_template: named })).toBe('Hi');
    expect(render({ chat_template: named }, { 'chat_template.jinja': 'file' })).toBe('file');
    expect(() => render({ chat_template: '{% for %}' })).toThrow(/not valid Jinja/);
    expect(() => render({ chat_template: "{{ raise_exception('no') }}" })).toThrow(/no/);
  });

  it('may hold a tokenizer of another kind than byte-level BPE', () => {
    const pieces = { '[UNK]': 0, play: 1, '##ing': 2, '[SEP]': 3 };
    const path = folderOf({
      'tokenizer.json': {
        added_tokens: [{ id: 3, content: '[SEP]', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
        normalizer: null,
        pre_tokenizer: { type: 'Whitespace' },
        post_processor: null,
        decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
        model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: pieces },
      },
      'tokenizer_config.json': { eos_token: '[SEP]' },
    });
    const words = loadTokenizer(path);
    expect(words.encode('playing play[SEP]')).toEqual([1, 2, 1, 3]);
    expect(words.decode([1, 2, 1, 3])).toBe('playing play [SEP]');
    expect(words.decode([])).toBe('');
  });
});
