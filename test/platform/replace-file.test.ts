/** Killed at every one of its file operations in turn, a replacement leaves the old files or the new. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { finishReplacing, openWhole, replaceFile, replaceFiles } from '../../src/platform/replace-file.js';

/** How many more operations that change something there are before the process is killed: none works after that. */
const life = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const mortal = <F extends (...given: never[]) => unknown>(work: F) =>
    (async (...given: never[]) => {
      if (life.left-- <= 0) throw new Error('killed');
      return work(...given);
    }) as unknown as F;
  return { ...real, mkdtemp: mortal(real.mkdtemp), rename: mortal(real.rename), rm: mortal(real.rm), writeFile: mortal(real.writeFile) };
});

/** Linux gives process ids up to 4,194,304. */
const DEAD = 2 ** 30;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'search-e1-replace-'));
});
afterEach(() => {
  life.left = Number.POSITIVE_INFINITY;
  rmSync(folder, { recursive: true });
});

const put = (name: string, text: string) => writeFileSync(join(folder, name), text);
const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const visible = () =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => !name.startsWith('.'))
      .map((name) => [name, read(name)]),
  );
const OLD = { 'config.json': 'old', 'both.bin': 'old', 'shard-2.bin': 'old', 'notes.txt': 'mine' };
const NEW = { 'config.json': 'new', 'both.bin': 'new', 'index.json': 'new', 'notes.txt': 'mine' };
const replacement = {
  marker: 'config.json',
  outdated: (name: string) => name.endsWith('.bin'),
  write: async (into: string) => {
    for (const name of ['both.bin', 'config.json', 'index.json']) writeFileSync(join(into, name), 'new');
  },
};

describe('files of a folder that are replaced together', () => {
  test('are the old or the new after a kill at any operation, and other programs never find a mixture under the marker', async () => {
    const outcomes = new Set<string>();
    let kills = 0;
    for (let whole = false; !whole; kills++) {
      rmSync(folder, { recursive: true });
      mkdirSync(folder);
      for (const [name, text] of Object.entries(OLD)) put(name, text);
      life.left = kills;
      whole = await replaceFiles(folder, replacement).then(
        () => true,
        () => false,
      );
      life.left = Number.POSITIVE_INFINITY;
      const found = visible();
      if (found['config.json']) expect([OLD, NEW]).toContainEqual(found);
      await finishReplacing(folder);
      expect([OLD, NEW]).toContainEqual(visible());
      outcomes.add(read('config.json'));
      if (whole) expect(visible()).toEqual(NEW);
    }
    expect([...outcomes].sort()).toEqual(['new', 'old']);
    expect(kills).toBeGreaterThan(8);
    await replaceFiles(folder, replacement);
    expect(readdirSync(folder).sort()).toEqual(Object.keys(NEW).sort());
  });

  test('stay as they are where writing fails, and nothing is left beside them', async () => {
    for (const [name, text] of Object.entries(OLD)) put(name, text);
    const write = async (into: string) => {
      writeFileSync(join(into, 'both.bin'), 'new');
      throw new Error('no space left');
    };
    await expect(replaceFiles(folder, { ...replacement, write })).rejects.toThrow('no space left');
    expect(readdirSync(folder).sort()).toEqual(Object.keys(OLD).sort());
    await expect(replaceFiles(folder, { ...replacement, write: async () => undefined })).rejects.toThrow(/config\.json is not among/);
    expect(visible()).toEqual(OLD);
  });

  test.each(['both.bin', 'shard-2.bin'])('stay as they are where a folder has the name of a file, %s', async (name) => {
    const kept = { ...OLD, [name]: undefined };
    for (const [each, text] of Object.entries(kept)) if (text) put(each, text);
    mkdirSync(join(folder, name));
    await expect(replaceFiles(folder, replacement)).rejects.toThrow(`${join(folder, name)} is a folder where a file is to be`);
    expect(readdirSync(folder).sort()).toEqual(Object.keys(OLD).sort());
    for (const [each, text] of Object.entries(kept)) if (text) expect(read(each)).toBe(text);
  });

  test('wait for the process that is moving them, and are moved for one that is dead', async () => {
    const plan = (pid: number) => {
      mkdirSync(join(folder, '.saved'));
      put('.saved/config.json', 'new');
      put('.saved/plan.json', JSON.stringify({ pid, marker: 'config.json', files: ['config.json'], outdated: ['config.json'] }));
    };
    put('config.json', 'old');
    plan(process.ppid);
    setTimeout(() => rmSync(join(folder, '.saved'), { recursive: true }), 60);
    await finishReplacing(folder);
    expect(visible()).toEqual({ 'config.json': 'old' });
    plan(DEAD);
    await Promise.all([finishReplacing(folder), finishReplacing(folder)]);
    expect(readdirSync(folder)).toEqual(['config.json']);
    expect(read('config.json')).toBe('new');
  });

  test('never lead out of the folder, whoever wrote it', async () => {
    const inside = join(folder, 'inside');
    mkdirSync(join(inside, '.saved'), { recursive: true });
    put('precious', 'mine');
    for (const outdated of ['../../precious', '..', 'a\\b', 3]) {
      writeFileSync(
        join(inside, '.saved', 'plan.json'),
        JSON.stringify({ pid: DEAD, marker: 'config.json', files: ['config.json'], outdated: [outdated] }),
      );
      await expect(finishReplacing(inside)).rejects.toThrow(/does not say which files were saved/);
    }
    expect(read('precious')).toBe('mine');
  });

  test('are read again where they were replaced while they were opened', async () => {
    for (const [name, text] of Object.entries(OLD)) put(name, text);
    const closed: string[] = [];
    let opened = 0;
    const got = await openWhole(folder, ['config.json'], {
      open: async () => {
        const first = read('config.json');
        if (opened++ === 0) await replaceFiles(folder, replacement);
        return `${first} ${read('both.bin')}`;
      },
      close: async (each) => void closed.push(each),
    });
    expect([got, closed]).toEqual(['new new', ['old new']]);
    await expect(
      openWhole(folder, ['config.json'], { open: () => Promise.reject(new Error('broken')), close: async () => undefined }),
    ).rejects.toThrow('broken');
  });
});

describe('a text file that is replaced', () => {
  test('is the old or the new after a kill, and takes away what dead processes left, not what living ones write', async () => {
    put('state.json', 'old');
    for (const pid of [DEAD, process.ppid]) put(`state.json.${pid}.tmp`, 'half');
    put(`other.json.${DEAD}.tmp`, 'half');
    for (const left of [0, 1]) {
      life.left = left;
      await expect(replaceFile(join(folder, 'state.json'), 'new')).rejects.toThrow('killed');
      expect(read('state.json')).toBe('old');
    }
    life.left = Number.POSITIVE_INFINITY;
    await replaceFile(join(folder, 'state.json'), 'new');
    expect(read('state.json')).toBe('new');
    expect(existsSync(join(folder, `state.json.${DEAD}.tmp`))).toBe(false);
    expect(existsSync(join(folder, `state.json.${process.ppid}.tmp`))).toBe(true);
    expect(existsSync(join(folder, `other.json.${DEAD}.tmp`))).toBe(true);
  });
});
