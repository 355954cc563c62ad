/** What is committed runs on any machine: no machine's paths, no registry's host, nothing large. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root, trackedFiles } from './sources.js';

const MEGABYTE = 2 ** 20;
const LARGEST = 5 * MEGABYTE;

/** A path of one machine, where a word begins: `/home/ann/x`, `C:\Users\ann`, `file:///tmp/x`. Inside base64 or a URL's path it is something else. */
const MACHINE_PATH =
  /(?:(?<![\w+/=.:~@-])|(?<=file:\/\/))\/(?:work|home|root|Users|tmp|private|mnt|workspace)\/[\w.-]+|\b[A-Z]:\\\\?Users\\/;
const REGISTRY = /\b(?:registry\.npmjs\.org|registry\.yarnpkg\.com|registry\.npmmirror\.com|files\.pythonhosted\.org|pypi\.org\/simple)\b/;

/** Other people's text, kept as it was published. */
const QUOTED = /^datasets\/(?:benchmarks|corpora|tokenizers)\//;

function offences(path: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const found = MACHINE_PATH.exec(line) ?? REGISTRY.exec(line);
    return found ? [`${path}:${index + 1}: ${found[0]}`] : [];
  });
}

describe.skipIf(!existsSync(join(root, '.git')))('the tracked files', () => {
  const files = trackedFiles();

  it('hold no machine’s paths and no registry hosts', () => {
    const texts = files.filter((path) => !QUOTED.test(path) && path !== 'test/layout/tracked-files.test.ts');
    const found = texts.flatMap((path) => {
      const bytes = readFileSync(join(root, path));
      return bytes.subarray(0, 8000).includes(0) ? [] : offences(path, bytes.toString('utf8'));
    });
    expect(found).toEqual([]);
  });

  it('are no larger than 5 MB', () => {
    const large = files.map((path) => ({ path, size: statSync(join(root, path)).size })).filter(({ size }) => size > LARGEST);
    expect(large).toEqual([]);
  });

  it('hold nothing that is built', () => {
    expect(files.filter((path) => /^(?:dist|book|runs|node_modules)\/|\.generated\.ts$|\.tgz$/.test(path))).toEqual([]);
  });

  it('differ in more than case, so that they can be checked out everywhere', () => {
    const folded = files.map((path) => path.toLowerCase());
    expect(files.filter((path, index) => folded.indexOf(path.toLowerCase()) !== index)).toEqual([]);
  });
});

describe('the check itself', () => {
  it.each([
    'see /home/ann/project',
    '"/tmp/x1/file.ts"',
    ['at file:///work', 'main/dist/a.js'].join('/'), // in two pieces: this file is checked as well
    'C:\\Users\\ann',
    'https://registry.npmjs.org/x',
  ])('sees %s', (line) => {
    expect(offences('a.md', line)).toHaveLength(1);
  });

  it.each(['https://example.org/home/page', 'a/home/b', '../tmp/x', 'base64+/tmp/abc', 'the npm registry'])('lets %s be', (line) => {
    expect(offences('a.md', line)).toEqual([]);
  });
});
