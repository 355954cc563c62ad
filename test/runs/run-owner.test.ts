/** One process at a time owns a run, and one that was killed owns nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'tsdown';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { packageRoot } from '../../src/platform/datasets.js';
import { RunOwner } from '../../src/runs/run-owner.js';

let folder: string;
let out: string;
const children: ChildProcess[] = [];
beforeAll(async () => {
  const cache = join(packageRoot(), 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  out = mkdtempSync(join(cache, 'owner-'));
  await build({
    config: false,
    entry: [join(__dirname, 'owning.ts')],
    outDir: out,
    format: 'cjs',
    platform: 'node',
    dts: false,
    logLevel: 'error',
    report: false,
  });
});
afterAll(() => rmSync(out, { recursive: true, force: true }));
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A process that tries to take the folder: what it says first, `owns` or why not. */
async function another(): Promise<{ readonly child: ChildProcess; readonly said: string }> {
  const [script] = readdirSync(out);
  const child = spawn(process.execPath, [join(out, script), folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [said] = (await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')) as [string];
  return { child, said };
}
const files = () => readdirSync(folder).sort();
const content = () => JSON.parse(readFileSync(join(folder, files()[0]), 'utf8'));

test('a living owner is named to who comes second, and gives way once it has given back', async () => {
  const owner = await RunOwner.take(folder);
  expect((await another()).said).toContain(`is being worked on by process ${process.pid} on`);
  await owner.release();
  expect((await another()).said).toBe('owns');
});

test('of several processes that come at once exactly one owns', async () => {
  for (const _ of [1, 2]) {
    const all = await Promise.all(Array.from({ length: 6 }, another)); // the second time over the file of a killed owner
    expect(all.map(({ said }) => said).filter((said) => said === 'owns')).toHaveLength(1);
    const ended = all.map(({ child }) => (child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null));
    for (const { child } of all) child.kill('SIGKILL');
    await Promise.all(ended);
    expect(files()).toHaveLength(1);
  }
});

test('a process that was killed owns nothing, even before its parent has heard of it', async () => {
  const { child, said } = await another();
  expect(said).toBe('owns');
  await expect(RunOwner.take(folder)).rejects.toThrow(`process ${child.pid}`);
  child.kill('SIGKILL');
  for (let tries = 0; tries < 100; tries++)
    if (
      (await RunOwner.take(folder).then(
        (o) => o.release(),
        () => null,
      )) === undefined
    )
      break;
  await (await RunOwner.take(folder)).release();
});

test('a process that was given the id of the owner later is not taken for it', async () => {
  await (await RunOwner.take(folder)).release();
  const { released: _, ...owner } = content();
  const { child } = await another();
  child.kill('SIGKILL');
  await once(child, 'exit');
  const [file] = files();
  // The parent of this process lives, and was not started then.
  writeFileSync(join(folder, file), JSON.stringify({ ...owner, pid: process.ppid, started: owner.started === null ? null : '1' }));
  if (owner.started !== null) await (await RunOwner.take(folder)).release();
});

test('an owner on another machine lives as long as it touches its file', async () => {
  const owner = await RunOwner.take(folder);
  const [file] = files();
  const elsewhere = { ...content(), machine: 'another', host: 'elsewhere', pid: 1 };
  writeFileSync(join(folder, file), JSON.stringify(elsewhere));
  await expect(RunOwner.take(folder)).rejects.toThrow(/process 1 on elsewhere.*delete .*owner-1\.json/);
  const long = new Date(Date.now() - 3_600_000);
  utimesSync(join(folder, file), long, long);
  const next = await RunOwner.take(folder);
  await expect(owner.assertHeld()).rejects.toThrow(/not written to from here any more/);
  await next.assertHeld();
  await next.release();
});

test('an owner file that a loss of power left empty belongs to nobody', async () => {
  writeFileSync(join(folder, 'owner-7.json'), '');
  const owner = await RunOwner.take(folder);
  expect(files()).toEqual(['owner-8.json']);
  await owner.release();
  expect(content().released).toBe(true);
});
