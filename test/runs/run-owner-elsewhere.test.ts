/** Owners where the machine is another: a file system without hard links, macOS and Windows, a process that comes between. What the system says is played here. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { RunOwner } from '../../src/runs/run-owner.js';

const system = vi.hoisted(() => ({
  /** Error code of a hard link; none where it works. */
  link: null as string | null,
  /** Error code of writing, once, a file that must not be there yet. */
  write: null as string | null,
  /** Done once, right after an owner's file has been linked. */
  afterLink: null as (() => void) | null,
  /** What the program that is asked for a process's start prints; null where it fails. */
  started: null as string | null,
  asked: [] as unknown[],
}));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const failing = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));
  return {
    ...real,
    link: async (from: string, to: string): Promise<void> => {
      if (system.link) await failing(system.link);
      await real.link(from, to);
      system.afterLink?.();
      system.afterLink = null;
    },
    writeFile: async (path: string, text: string, options: { flag?: string }): Promise<void> => {
      const { write } = system;
      if (write && options.flag === 'wx') {
        system.write = null;
        await failing(write);
      }
      await real.writeFile(path, text, options);
    },
  };
});
vi.mock('node:child_process', async (original) => ({
  ...(await original<typeof import('node:child_process')>()),
  execFile: Object.assign(() => undefined, {
    [Symbol.for('nodejs.util.promisify.custom')]: async (...call: unknown[]) => {
      system.asked.push(call);
      if (system.started === null) throw new Error('no such program');
      return { stdout: system.started, stderr: '' };
    },
  }),
}));

let folder: string;
const { platform } = process;
const on = (name: NodeJS.Platform) => Object.defineProperty(process, 'platform', { value: name });
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
  Object.assign(system, { link: null, write: null, afterLink: null, started: null, asked: [] });
});
afterEach(() => {
  on(platform);
  rmSync(folder, { recursive: true, force: true });
});

const files = () => readdirSync(folder).sort();
const ownerFile = (number: number) => join(folder, `owner-${number}.json`);
const read = (number: number) => JSON.parse(readFileSync(ownerFile(number), 'utf8'));
const write = (number: number, owner: object) => writeFileSync(ownerFile(number), JSON.stringify(owner));

/** The same process may open a run again, and does so twice. */
async function oneOfTwo(): Promise<void> {
  const owners = await Promise.all([RunOwner.take(folder), RunOwner.take(folder)]);
  expect(files()).toHaveLength(1);
  const held = await Promise.allSettled(owners.map((owner) => owner.assertHeld()));
  expect(held.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  for (const owner of owners) await owner.release();
  expect(files()).toHaveLength(1);
}

describe('without hard links', () => {
  beforeEach(() => {
    system.link = 'EPERM';
  });

  test('the file is written instead, and only where none is', async () => {
    system.write = 'EEXIST'; // another was faster, and is gone
    const owner = await RunOwner.take(folder);
    expect(files()).toEqual(['owner-1.json']);
    expect(read(1)).toMatchObject({ pid: process.pid, host: hostname() });
    await owner.release();
  });

  test('one of two openings at once owns', oneOfTwo);

  test('a disk that cannot be written to is told of, and nothing stays behind', async () => {
    system.write = 'ENOSPC';
    await expect(RunOwner.take(folder)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(files()).toEqual([]);
  });
});

test('with hard links, too, one of two openings at once owns', oneOfTwo);

test('who finds, after it took a number, that another went past it gives way and takes its own file away', async () => {
  const first = await RunOwner.take(folder);
  const living = { ...read(1), pid: process.ppid, started: null };
  rmSync(ownerFile(1));
  system.afterLink = () => write(2, living);
  await expect(RunOwner.take(folder)).rejects.toThrow(`process ${process.ppid} on`);
  expect(files()).toEqual(['owner-2.json']);
  await first.release();
});

describe('an owner that lost its folder', () => {
  test('to another process is told which', async () => {
    const owner = await RunOwner.take(folder);
    write(2, { ...read(1), pid: 4_000_000, host: 'elsewhere' });
    await expect(owner.assertHeld()).rejects.toThrow('process 4000000 on elsewhere has taken it over');
    await owner.release();
    expect(read(2)).toMatchObject({ pid: 4_000_000 });
    expect(read(1)).not.toHaveProperty('released'); // what is not held is not given back
  });

  test('to this one, or whose file is gone, is told that', async () => {
    const owner = await RunOwner.take(folder);
    const next = await RunOwner.take(folder);
    await expect(owner.assertHeld()).rejects.toThrow('it was opened again or its owner file is gone');
    await owner.release();
    await next.assertHeld();
    rmSync(ownerFile(2));
    await expect(next.assertHeld()).rejects.toThrow('it was opened again or its owner file is gone');
    await next.release();
    expect(files()).toEqual([]);
  });

  test('to an older number is not told a name that does not own it', async () => {
    const owner = await RunOwner.take(folder);
    const next = await RunOwner.take(folder);
    rmSync(ownerFile(2));
    write(1, { pid: 4_000_000, host: 'elsewhere', machine: 'another', started: null });
    await expect(next.assertHeld()).rejects.toThrow('its owner file is gone');
    rmSync(folder, { recursive: true });
    await Promise.all([owner.release(), next.release()]);
    expect(existsSync(folder)).toBe(false);
  });
});

test('what was given back is free, though its process lives', async () => {
  await (await RunOwner.take(folder)).release();
  write(1, { ...read(1), pid: process.ppid, started: null, released: true });
  await (await RunOwner.take(folder)).release();
  expect(files()).toEqual(['owner-2.json']);
});

test.runIf(process.platform === 'linux')('the owner whose process started is told from one whose process only bears its id', async () => {
  const owner = await RunOwner.take(folder);
  const [line] = readFileSync(`/proc/${process.ppid}/stat`, 'utf8').split('\n');
  const started = line.slice(line.lastIndexOf(')') + 2).split(' ')[19]; // proc(5), field 22
  write(1, { ...read(1), pid: process.ppid, started });
  await expect(RunOwner.take(folder)).rejects.toThrow(`process ${process.ppid}`);
  write(1, { ...read(1), started: `${Number(started) + 1}` });
  await (await RunOwner.take(folder)).release();
  await owner.release();
});

test.runIf(process.platform === 'linux')('a process that has ended, while its parent has not asked, owns nothing', async () => {
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 20'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [pid] = (await once(createInterface(parent.stdout), 'line')) as [string];
    while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await new Promise((resolve) => setTimeout(resolve, 5));
    await (await RunOwner.take(folder)).release();
    const { released: _, ...owner } = read(1);
    write(1, { ...owner, pid: Number(pid), started: null });
    await (await RunOwner.take(folder)).release();
    expect(files()).toEqual(['owner-2.json']);
  } finally {
    parent.kill('SIGKILL');
  }
});

describe.each([
  ['darwin', ['ps', ['-o', 'lstart=', '-p', String(process.pid)]]],
  ['win32', ['powershell', ['-NoProfile', '-Command', `(Get-Process -Id ${process.pid}).StartTime.ToFileTimeUtc()`]]],
] as const)('on %s', (name, question) => {
  beforeEach(() => {
    on(name);
    system.started = '  Mon Nov 30 07:00:00 2026 \n';
  });

  test('a process’s start is what the system’s own program says, and the machine is the host', async () => {
    const owner = await RunOwner.take(folder);
    expect(system.asked).toEqual([[...question, { timeout: 10_000 }]]);
    expect(read(1)).toMatchObject({ started: 'Mon Nov 30 07:00:00 2026', machine: hostname() });
    await owner.release();
  });

  test('a living process that started then is the owner, one that started otherwise is not', async () => {
    const owner = await RunOwner.take(folder);
    write(1, { ...read(1), pid: process.ppid });
    await expect(RunOwner.take(folder)).rejects.toThrow(`process ${process.ppid}`);
    write(1, { ...read(1), started: 'Sun Nov 29 07:00:00 2026' });
    await (await RunOwner.take(folder)).release();
    await owner.release();
  });

  test.each([null, ' \n'])('where the system does not say (%j), a living process is the owner', async (started) => {
    system.started = started;
    const owner = await RunOwner.take(folder);
    expect(read(1).started).toBeNull();
    write(1, { ...read(1), pid: process.ppid, started: 'Sun Nov 29 07:00:00 2026' });
    await expect(RunOwner.take(folder)).rejects.toThrow(`process ${process.ppid}`);
    await owner.release();
  });
});
