/** Sums of what is on the disk: SHA-256 of bytes, of a folder's own files, and of the files that a policy is made of. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fileSum, folderSums, hashOf, policySum } from '../../src/runs/checksums.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

// FIPS 180-4's own examples.
const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const put = (name: string, text: string) => writeFileSync(join(folder, name), text);

test('of a file it is SHA-256 of its bytes, or of the first of them, and goes on from there', async () => {
  put('a', 'abcdef');
  expect(await fileSum(join(folder, 'a'), 3)).toBe(ABC);
  expect(await fileSum(join(folder, 'a'), 0)).toBe(NOTHING);
  expect(await fileSum(join(folder, 'a'))).toBe(createHash('sha256').update('abcdef').digest('hex'));
  expect((await hashOf(join(folder, 'a'), 3)).update('def').digest('hex')).toBe(await fileSum(join(folder, 'a')));
});

test('of a folder it is that of each of its own files, in their order; of none there is none', async () => {
  put('b', 'abc');
  put('a', '');
  mkdirSync(join(folder, 'c'));
  expect(Object.entries(await folderSums(folder))).toEqual([
    ['a', NOTHING],
    ['b', ABC],
  ]);
  expect(await folderSums(join(folder, 'nowhere'))).toEqual({});
});

test('of a policy it is over the names and sums of config, weights and tokenizer, and of nothing else', async () => {
  put('tokenizer.json', 'abc');
  put('config.json', 'abc');
  put('model.safetensors', '');
  const sum = createHash('sha256').update(`config.json ${ABC}\nmodel.safetensors ${NOTHING}\ntokenizer.json ${ABC}\n`).digest('hex');
  expect(await policySum(folder)).toBe(sum);
  for (const name of ['optimizer.safetensors', 'optimizer.safetensors.index.json', 'trainer_state.json', 'README.md', 'a config.json'])
    put(name, 'other');
  expect(await policySum(folder)).toBe(sum);
});

test.each([
  'config.json',
  'model.safetensors',
  'model.safetensors.index.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
])('another %s is another policy', async (name) => {
  put('config.json', '{}');
  const before = await policySum(folder);
  put(name, '{"other": 1}');
  expect(await policySum(folder)).not.toBe(before);
});
