/** What a file of lines may hold, and that reading one stops where it must: no file can take all memory or all time. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadQuestions } from '../../src/benchmarks/load.js';
import { loadCorpus, readCorpus } from '../../src/search/corpus.js';
import { type ReadLinesOptions, readLines } from '../../src/search/lines.js';

const folder = mkdtempSync(join(tmpdir(), 'lines-'));
let files = 0;
const write = (content: string | Buffer, ending = 'jsonl') => {
  const path = join(folder, `${++files}.${ending}`);
  writeFileSync(path, content);
  return path;
};
const all = async (path: string, options?: ReadLinesOptions) => {
  const lines: string[] = [];
  for await (const some of readLines(path, options)) lines.push(...some);
  return lines;
};
const passage = '{"id": "1", "contents": "\\"Title\\"\\ntext"}';
const question = '{"id": "1", "question": "who?", "golden_answers": ["Ada"]}';
const MIB = 2 ** 20;

describe('the lines of a file', () => {
  it('are those between its line feeds, plain and packed, however long and wherever its pieces part', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'grapheme', maxLength: 5 }).map((text) => text.replace(/[\n\ufeff]/g, ''))),
        async (lines) => {
          const text = lines.join('\n');
          expect(await all(write(text))).toEqual(text.split('\n'));
          expect(await all(write(gzipSync(text), 'gz'))).toEqual(text.split('\n'));
        },
      ),
      { numRuns: 30 },
    );
    const long = ['é'.repeat(200_000), '', 'x'.repeat(65_536), 'y'.repeat(70_000), '']; // a stream's pieces are of 65,536 bytes
    expect(await all(write(long.join('\n')))).toEqual(long);
  });

  it('begin after a byte order mark, as questions and passages do, and keep any other', async () => {
    expect(await all(write('\ufeffa\n\ufeffb'))).toEqual(['a', '\ufeffb']);
    expect(await loadCorpus(write(`\ufeff${passage}`))).toEqual([{ id: '1', title: 'Title', text: 'text' }]);
    expect((await loadQuestions(write(`\ufeff${question}`), 'mine')).map(({ id }) => id)).toEqual(['1']);
    await expect(loadCorpus(write(`${passage}\n\ufeff${passage}`))).rejects.toThrow(/:2: not JSON/);
  });

  it('must be UTF-8', async () => {
    await expect(all(write(Buffer.from('a\nMa\xf1ana', 'latin1')))).rejects.toThrow(/\.jsonl:2: not UTF-8/);
    await expect(loadQuestions(write(Buffer.from(`${question}\n\xff`, 'latin1')), 'mine')).rejects.toThrow(/:2: not UTF-8/);
  });

  it('have a longest length, named where it is passed', async () => {
    expect(await all(write(`${'x'.repeat(100)}\ny`), { maxLineBytes: 100 })).toHaveLength(2);
    await expect(all(write(`y\n${'x'.repeat(101)}\ny`), { maxLineBytes: 100 })).rejects.toThrow(
      /:2: a line of more than 100 bytes; raise maxLineBytes if it is meant/,
    );
    const huge = write(`{"id": "1", "contents": "${'x'.repeat(9 * MIB)}"}`);
    await expect(loadCorpus(huge)).rejects.toThrow(/a line of more than 8388608 bytes/);
    await expect(loadQuestions(huge, 'mine')).rejects.toThrow(/a line of more than 8388608 bytes/);
    expect((await loadCorpus(huge, { maxLineBytes: 10 * MIB }))[0].title).toHaveLength(9 * MIB);
  });

  it('have a greatest sum, counted unpacked', async () => {
    const text = `${passage}\n`.repeat(100);
    for (const path of [write(text), write(gzipSync(text), 'jsonl.gz')]) {
      await expect(loadCorpus(path, { maxBytes: 1000 })).rejects.toThrow(/more than 1000 bytes.*raise maxBytes/);
      expect(await loadCorpus(path, { maxBytes: text.length })).toHaveLength(100);
      await expect(loadQuestions(path, 'mine', { maxBytes: 1000 })).rejects.toThrow(/more than 1000 bytes/);
    }
  });

  it('are refused where they unpack to a hundred times their size, as a gzip bomb does', async () => {
    const message = /bytes have unpacked to \d+, more than 100 times as many, as a gzip bomb does; raise maxRatio/;
    for (const bomb of [Buffer.alloc(20 * MIB, '\n'), Buffer.alloc(20 * MIB, `${question}\n`)]) {
      const path = write(gzipSync(bomb), 'jsonl.gz');
      await expect(all(path)).rejects.toThrow(message);
      await expect(loadQuestions(path, 'mine')).rejects.toThrow(message);
    }
    const dense = write(
      gzipSync(
        ' '
          .repeat(1 << 20)
          .concat('\n')
          .repeat(10),
      ),
      'jsonl.gz',
    );
    await expect(loadCorpus(dense)).rejects.toThrow(message);
    expect(await all(dense, { maxRatio: 2000 })).toHaveLength(11);
  }, 60_000);

  it('are read no further once the signal is given', async () => {
    const stop = new AbortController();
    const reason = new Error('Ctrl-C');
    const path = write(`${passage}\n`.repeat(100_000));
    let read = 0;
    await expect(
      (async () => {
        for await (const _ of readCorpus(path, { signal: stop.signal })) if (++read === 10) stop.abort(reason);
      })(),
    ).rejects.toBe(reason);
    expect(read).toBeLessThan(10_000);
    await expect(all(path, { signal: stop.signal })).rejects.toBe(reason);
    await expect(loadQuestions(path, 'mine', { signal: stop.signal })).rejects.toBe(reason);
  });

  it('name the file that is missing, cut or not packed at all', async () => {
    await expect(all(folder)).rejects.toThrow(`${folder}: EISDIR`);
    await expect(all(join(folder, 'missing.jsonl'))).rejects.toThrow(/ENOENT.*missing\.jsonl/);
    await expect(all(write(gzipSync('x'.repeat(1000)).subarray(0, 15), 'gz'))).rejects.toThrow(
      /\.gz: unexpected end of file: no gzip file, or a cut/,
    );
    await expect(loadCorpus(write(gzipSync(passage), 'jsonl'))).rejects.toThrow(/\.jsonl:1: not UTF-8; it looks like gzip: name it \.gz/);
    await expect(all(write('plain', 'gz'))).rejects.toThrow(/\.gz: incorrect header check: no gzip file/);
  });

  it('are not waited for where nobody writes them', async () => {
    const pipe = join(folder, 'pipe.jsonl');
    execFileSync('mkfifo', [pipe]);
    await expect(all(pipe)).rejects.toThrow(`${pipe} is no regular file, expected lines of text`);
    await expect(all(folder)).rejects.toThrow(folder);
  });

  it('need limits that are positive', async () => {
    for (const limit of ['maxLineBytes', 'maxBytes', 'maxRatio'])
      for (const value of [0, -1, Number.NaN])
        await expect(all(write('x'), { [limit]: value })).rejects.toThrow(new RegExp(`${limit}: expected a positive`));
  });
});
