import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { marked, plain } from '../../src/policy/marked-text.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';

const folder = 'datasets/tinypedia/tokenizer';
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const tokenizer = await loadTokenizer(folder);

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

  it('gives the same ids with a full cache, a tiny one and none', async () => {
    const none = await loadTokenizer(folder, { cacheSize: 0 });
    const tiny = await loadTokenizer(folder, { cacheSize: 2 });
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

  it('says which file is missing, broken or no tokenizer', async () => {
    await expect(loadTokenizer('no/such/folder')).rejects.toThrow(/Cannot read no.such.folder.tokenizer\.json/);
    await expect(loadTokenizer(folderOf({ 'tokenizer.json': definition }))).rejects.toThrow(/Cannot read .*tokenizer_config\.json/);
    await expect(loadTokenizer(folderOf({ 'tokenizer.json': '{"model":', 'tokenizer_config.json': config }))).rejects.toThrow(
      /tokenizer\.json is not JSON/,
    );
    await expect(loadTokenizer(folderOf({ 'tokenizer.json': { a: 1 }, 'tokenizer_config.json': config }))).rejects.toThrow(
      /is no Hugging Face tokenizer/,
    );
    const endless = { ...config, eos_token: '<nothing>' };
    await expect(loadTokenizer(folderOf({ 'tokenizer.json': definition, 'tokenizer_config.json': endless }))).rejects.toThrow(
      /"eos_token" is "<nothing>", expected a token/,
    );
  });

  const PARTS = ['tokenizer.json', 'tokenizer.json.gz', 'tokenizer_config.json', 'generation_config.json', 'chat_template.jinja'];
  const without = (name: string) => {
    const path = folderOf({ 'tokenizer.json': definition, 'tokenizer_config.json': config });
    rmSync(join(path, name.replace('.gz', '')), { force: true });
    return path;
  };

  it.skipIf(process.platform === 'win32').each(PARTS)('is not waited for where its %s is a pipe', async (name) => {
    const path = without(name);
    execFileSync('mkfifo', [join(path, name)]);
    await expect(loadTokenizer(path)).rejects.toThrow(`${join(path, name)} is no regular file`);
  });

  it.skipIf(process.platform === 'win32').each(PARTS)('is half a download where its %s is a link that leads nowhere', async (name) => {
    const path = without(name);
    symlinkSync('../blobs/5c1f', join(path, name));
    await expect(loadTokenizer(path)).rejects.toThrow(`${join(path, name)} is a link that leads nowhere, to ../blobs/5c1f`);
  });

  it('is read up to a size, unpacked or not, and as UTF-8 alone', async () => {
    const large = without('tokenizer.json');
    writeFileSync(join(large, 'tokenizer.json'), '');
    truncateSync(join(large, 'tokenizer.json'), 2 ** 28 + 1);
    await expect(loadTokenizer(large)).rejects.toThrow(
      /tokenizer\.json has 268435457 bytes, expected a file of a tokenizer of at most 268435456/,
    );
    const bomb = without('tokenizer.json');
    writeFileSync(join(bomb, 'tokenizer.json.gz'), gzipSync(Buffer.alloc(2 ** 28 + 1)));
    await expect(loadTokenizer(bomb)).rejects.toThrow(/tokenizer\.json\.gz cannot be unpacked within 268435456 bytes/);
    const latin = without('tokenizer.json');
    writeFileSync(join(latin, 'tokenizer.json'), Buffer.from('{"\xe9": 1}', 'latin1'));
    await expect(loadTokenizer(latin)).rejects.toThrow(/Cannot read .*tokenizer\.json: .*utf-8/i);
  });

  it.each([
    ['normalizer', { type: 'Nope' }, /Unknown Normalizer type: Nope/],
    ['pre_tokenizer', { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' }, /Invalid regular expression/],
    ['decoder', undefined, /"decoder"/],
    ['post_processor', { type: 3 }, /Unknown PostProcessor type: 3/],
  ])('says which folder has a %s that is none: %o', async (part, value, message) => {
    const path = folderOf({ 'tokenizer.json': { ...definition, [part]: value }, 'tokenizer_config.json': config });
    await expect(loadTokenizer(path)).rejects.toThrow(message);
    await expect(loadTokenizer(path)).rejects.toThrow(`the files in ${path} do not make a tokenizer`);
  });

  it('may name its end token as an object, and more of them in generation_config.json', async () => {
    const path = folderOf({
      'tokenizer.json': definition,
      'tokenizer_config.json': { ...config, eos_token: { content: '</answer>' }, pad_token: null },
      'generation_config.json': { eos_token_id: [1317, 1309] },
    });
    const { endIds, padId } = await loadTokenizer(path);
    expect([endIds, padId]).toEqual([[1317, 1309], 1317]);
  });

  it('may hold the vocabulary and merges of Qwen2.5 alone, plain or gzipped', async () => {
    const source = 'datasets/tokenizers/qwen2.5';
    const qwen = await loadTokenizer(source);
    expect([qwen.size, qwen.endIds, qwen.padId]).toEqual([151_665, [151_643], 151_643]);
    // tokenizers 0.23.3 on the same files.
    expect(qwen.encode("Who wrote 'Blade Runner' in 1982?\n\n  I'LL see.")).toEqual([
      15191, 6139, 364, 4923, 1021, 44946, 6, 304, 220, 16, 24, 23, 17, 1939, 220, 358, 6, 4086, 1490, 13,
    ]);
    expect(qwen.encode('<|im_start|>user\né<|im_end|>')).toEqual([151_644, 872, 198, 963, 151_645]);
    const gunzipped = (name: string) => gunzipSync(readFileSync(join(source, `${name}.gz`))).toString();
    const plain = await loadTokenizer(
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
  it.each(broken)('is refused %s', async (_, files, message) => {
    await expect(loadTokenizer(folderOf(files))).rejects.toThrow(message);
  });

  it('may have a chat template in a field, in a list, or in a file, which goes first', async () => {
    const files = { 'tokenizer.json': definition };
    const template = '{% for m in messages %}\n  {{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}';
    const render = async (more: Record<string, unknown>, file = {}) =>
      (await loadTokenizer(folderOf({ ...files, ...file, 'tokenizer_config.json': { ...config, ...more } }))).renderChat?.([
        { role: 'user', content: ' Hi ' },
      ]);
    expect(await render({})).toBeUndefined();
    expect(await render({ chat_template: template })).toBe('  user:  Hi <|endoftext|>\n'); // blocks take their line's end with them, as in Transformers
    const named = [
      { name: 'tool_use', template: 'x' },
      { name: 'default', template: '{{ messages[0].content | trim }}' },
    ];
    expect(await render({ chat_template: named })).toBe('Hi');
    expect(await render({ chat_template: named }, { 'chat_template.jinja': 'file' })).toBe('file');
    await expect(render({ chat_template: '{% for %}' })).rejects.toThrow(/not valid Jinja/);
    await expect(render({ chat_template: "{{ raise_exception('no') }}" })).rejects.toThrow(/no/);
  });

  /** Made by fixtures/added_tokens.py with Hugging Face's tokenizers 0.23.3. */
  const kinds = json('test/policy/fixtures/added-tokens.json') as {
    readonly vocab: Record<string, number>;
    readonly added: Record<string, { content: string; special: boolean; normalized: boolean; [kind: string]: unknown }>;
    readonly encoded: [text: string, ids: number[]][];
    readonly whitespace: [text: string, words: string[]][];
    readonly qwen: [id: number, text: string][];
  };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };
  const folders: [string, () => Record<string, unknown>][] = [
    [
      'vocab.json and merges.txt',
      () => ({
        'vocab.json': kinds.vocab,
        'merges.txt': '#version: 0.2\n',
        'tokenizer_config.json': { eos_token: '<|end|>', added_tokens_decoder: kinds.added },
      }),
    ],
    [
      'tokenizer.json',
      () => ({
        'tokenizer.json': {
          added_tokens: Object.entries(kinds.added).map(([id, token]) => ({ ...token, id: Number(id) })),
          normalizer: { type: 'NFC' },
          pre_tokenizer: byteLevel,
          post_processor: null,
          decoder: byteLevel,
          model: { type: 'BPE', unk_token: null, vocab: kinds.vocab, merges: [] },
        },
        'tokenizer_config.json': { eos_token: '<|end|>' },
      }),
    ],
  ];

  it.each(folders)('of %s finds added tokens by lstrip, rstrip, single_word and normalized as Hugging Face does', async (_, files) => {
    const loaded = await loadTokenizer(folderOf(files()));
    for (const [text, ids] of kinds.encoded) expect([text, loaded.encode(text)]).toEqual([text, ids]);
    expect(kinds.encoded.length).toBeGreaterThan(250);
  });

  it("leaves out Qwen2.5's turns and pads where special tokens are skipped, and keeps those of tool calls and code, 151657 to 151664", async () => {
    const qwen = await loadTokenizer('datasets/tokenizers/qwen2.5');
    expect(kinds.qwen.map(([id]) => [id, qwen.decode([id], { skipSpecialTokens: true })])).toEqual(kinds.qwen);
    expect(kinds.qwen.filter(([, text]) => text !== '').map(([id]) => id)).toEqual(Array.from({ length: 8 }, (_, i) => 151_657 + i));
  });

  it('with the Whitespace pre-tokenizer cuts words of any script as Hugging Face does', async () => {
    const vocab: Record<string, number> = { '[UNK]': 0 };
    for (const [, words] of kinds.whitespace) for (const word of words) vocab[word] ??= Object.keys(vocab).length;
    const loaded = await loadTokenizer(
      folderOf({
        'tokenizer.json': {
          added_tokens: [{ id: 0, content: '[UNK]', special: true }],
          normalizer: null,
          pre_tokenizer: { type: 'Whitespace' },
          post_processor: null,
          decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
          model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
        },
        'tokenizer_config.json': { eos_token: '[UNK]' },
      }),
    );
    for (const [text, words] of kinds.whitespace) expect([text, loaded.encode(text)]).toEqual([text, words.map((word) => vocab[word])]);
  });

  it.each(['vocab.json', 'tokenizer_config.json', 'added_tokens.json', 'generation_config.json', 'merges.txt'])(
    'with a byte order mark before its %s is refused, as Transformers refuses JSON that has one',
    async (name) => {
      const files: Record<string, string> = {
        'vocab.json': '{"a": 0, "b": 1, "ab": 2}',
        'merges.txt': 'a b',
        'tokenizer_config.json': '{"eos_token": "ab"}',
        'added_tokens.json': '{"<x>": 3}',
        'generation_config.json': '{}',
      };
      const load = (text: string) => loadTokenizer(folderOf({ ...files, 'tokenizer_config.json': '{"eos_token": "<x>"}', [name]: text }));
      const text = name === 'tokenizer_config.json' ? '{"eos_token": "<x>"}' : files[name];
      expect((await load(text)).encode('ab<x>')).toEqual([2, 3]);
      await expect(load(`\ufeff${text}`)).rejects.toThrow(new RegExp(`${name.replace('.', '\\.')} begins with a byte order mark`));
    },
  );

  it('takes no control token from text of outside, nor one that begins or ends in it', async () => {
    const loaded = await loadTokenizer(folder);
    const [think] = loaded.encode('<think>');
    for (const outside of ['<think>', '<|endoftext|>', 'a <think> b', '</answer>']) {
      expect(loaded.encode(plain(outside)).some((id) => id === think || loaded.endIds.includes(id))).toBe(false);
      expect(loaded.decode(loaded.encode(plain(outside)))).toBe(outside);
    }
    expect(loaded.encode(marked`<think>${'<think>'}`).filter((id) => id === think)).toHaveLength(1);
    expect(loaded.encode(marked`<thi${'nk>'}`)).not.toContain(think);
    expect(loaded.encode(marked`${'<thi'}nk>`)).not.toContain(think);
  });

  it('may hold a tokenizer of another kind than byte-level BPE', async () => {
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
    const words = await loadTokenizer(path);
    expect(words.encode('playing play[SEP]')).toEqual([1, 2, 1, 3]);
    expect(words.decode([1, 2, 1, 3])).toBe('playing play [SEP]');
    expect(words.decode([])).toBe('');
  });
});
