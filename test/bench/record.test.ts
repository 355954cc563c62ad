import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { newestRecord, recordName, writeRecord } from '../../bench/record.js';
import { recordTables, withTable } from '../../bench/table.js';
import { sample } from './sample.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-records-'));
const root = join(__dirname, '..', '..');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a record', () => {
  test('is named by its day, processor and threads', () => {
    expect(recordName(sample)).toBe('2026-11-20-intel-xeon-processor-1+2.json');
  });

  test('comes back as it was written, the newest first', () => {
    expect(newestRecord(join(folder, 'none'))).toBeNull();
    const older = { ...sample, date: '2026-11-19T08:00:00.000Z' };
    expect(basename(writeRecord(folder, sample))).toBe(recordName(sample));
    writeRecord(folder, older);
    expect(newestRecord(folder)).toEqual(sample);
  });
});

describe("README's table", () => {
  test('is the newest record, or says that there is none', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    expect(withTable(readme, newestRecord(join(root, 'bench', 'records')))).toBe(readme);
  });

  test('takes the place of the one before it, and nothing else', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const filled = withTable(readme, sample);
    expect(filled).toContain(recordTables(sample));
    expect(withTable(withTable(filled, { ...sample, results: [] }), sample)).toBe(filled);
    expect(withTable(filled, null)).toBe(withTable(readme, null));
    expect(() => withTable('# no marks', sample)).toThrow('no place');
  });
});
