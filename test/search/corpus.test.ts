import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { datasetPath } from '../../src/platform/datasets.js';
import { loadCorpus, readCorpus, splitContents } from '../../src/search/corpus.js';

describe('a corpus file', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'corpus-'));
  });
  const write = (name: string, content: string | Buffer) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const lines = '{"id": "1", "contents": "\\"Łódź\\"\\nA city.\\nIn Poland."}\r\n\n{"id": 2, "contents": "Plain title\\ntext"}';

  it('gives the same passages plain and gzipped, with or without a last line feed', async () => {
    const expected = [
      { id: '1', title: 'Łódź', text: 'A city.\nIn Poland.' },
      { id: '2', title: 'Plain title', text: 'text' },
    ];
    expect(await loadCorpus(write('a.jsonl', lines))).toEqual(expected);
    expect(await loadCorpus(write('a.jsonl.gz', gzipSync(`${lines}\n`)))).toEqual(expected);
  });

  it('names the line that is no passage', async () => {
    await expect(loadCorpus(write('b.jsonl', `${lines}\n{"id": "3"}`))).rejects.toThrow(/b\.jsonl:4: contents: .*expected \{"id"/);
    await expect(loadCorpus(write('c.jsonl', `${lines}\nnonsense`))).rejects.toThrow(/c\.jsonl:4: not JSON/);
  });

  it('must hold a passage, each of several', async () => {
    await expect(loadCorpus(write('d.jsonl', '\n'))).rejects.toThrow(/d\.jsonl: no passages in the file/);
    await expect(loadCorpus(write('a.jsonl', lines), write('d.jsonl', ''))).rejects.toThrow(/d\.jsonl: no passages/);
    expect(await loadCorpus(write('a.jsonl', lines), write('a.jsonl.gz', gzipSync(lines)))).toHaveLength(4);
  });

  it('has ids that are kept apart: whole numbers beyond 2^53 would fall together', async () => {
    const line = (id: string) => `{"id": ${id}, "contents": "text"}`;
    for (const id of ['12345678901234567891', '1.5', 'null'])
      await expect(loadCorpus(write('e.jsonl', line(id)))).rejects.toThrow(/e\.jsonl:1: id/);
    expect((await loadCorpus(write('e.jsonl', line('9007199254740991'))))[0].id).toBe('9007199254740991');
  });

  it('is named by its path, one at least', async () => {
    for (const given of [[], [{}]] as never[][])
      await expect(loadCorpus(...(given as unknown as [string]))).rejects.toThrow(/expected the path of a file, got none/);
    for (const given of [undefined, '', 3] as never[]) await expect(loadCorpus(given)).rejects.toThrow(/loadCorpus: expected a path/);
    await expect(loadCorpus(['a.jsonl'] as never)).rejects.toThrow(TypeError);
  });

  it('reports a missing file and a cut archive to the reader', async () => {
    await expect(loadCorpus(join(folder, 'missing.jsonl.gz'))).rejects.toThrow(/ENOENT/);
    const whole = readFileSync(datasetPath('corpora', 'musique.jsonl.gz'));
    await expect(loadCorpus(write('cut.jsonl.gz', whole.subarray(0, whole.length / 2)))).rejects.toThrow(/unexpected end of file/);
  });

  it('may be left before its end', async () => {
    for await (const passage of readCorpus(datasetPath('corpora', 'musique.jsonl.gz'))) {
      expect(passage.id).toBe('musique-migres-00000');
      expect(passage.title).toBe('Port Blair');
      break;
    }
  });

  it('keeps quotes inside a title', () => {
    expect(splitContents('""Weird Al" Yankovic"\nA singer.')).toEqual({ title: '"Weird Al" Yankovic', text: 'A singer.' });
    expect(splitContents('No text')).toEqual({ title: 'No text', text: '' });
  });
});

describe('the shipped corpora', () => {
  it.each([
    ['hotpotqa', 11_073],
    ['2wikimultihopqa', 7_005],
    ['musique', 5_854],
  ])('%s has %i passages with a title and a text', async (name, count) => {
    const passages = await loadCorpus(datasetPath('corpora', `${name}.jsonl.gz`));
    expect(passages).toHaveLength(count);
    expect(passages.filter((p) => p.title === '' || p.text === '')).toEqual([]);
  });
});

describe('a path into the shipped data', () => {
  it('says what is missing and where the list of files is', () => {
    expect(() => datasetPath('benchmarks', 'nothing.jsonl')).toThrow(/nothing\.jsonl.*datasets\/README\.md/);
  });
});
