/**
 * One owner of a run: the process that writes to it.
 *
 * The owner is a file, `owner-<n>.json`, that names a process by its id and the moment it was started, so that a process that was killed owns nothing and
 * one that was given its id later does not seem to be it. Who takes a run over adds the file of the next number, which only one process can, and takes
 * the earlier ones away. The highest number always stays: it is what late-comers with an old view of the folder find themselves behind.
 */
import { execFile } from 'node:child_process';
import { link, readdir, readFile, readlink, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { replaceFile } from '../platform/replace-file.js';

interface Owner {
  readonly pid: number;
  /** When the process was started, as its system says it; null where it does not. */
  readonly started: string | null;
  /** The machine since it was started, and on Linux the container: where the process's id means something. */
  readonly machine: string;
  readonly host: string;
  /** Given back. */
  readonly released?: boolean;
}

/** An owner on another machine shows that it lives by touching its file. */
const HEARTBEAT_MS = 10_000;
const SILENT_MS = 120_000;

export class RunOwner {
  readonly #timer: NodeJS.Timeout;

  private constructor(
    private readonly folder: string,
    private readonly number: number,
    private readonly owner: Owner,
  ) {
    this.#timer = setInterval(() => void utimes(this.#path, new Date(), new Date()).catch(() => undefined), HEARTBEAT_MS);
    this.#timer.unref();
  }

  /**
   * Takes a folder over from nobody, from a process that is gone, or from an earlier opening in this process.
   *
   * @throws Error when another process owns it
   */
  static async take(folder: string): Promise<RunOwner> {
    const owner = await thisProcess();
    for (;;) {
      const last = Math.max(0, ...(await numbers(folder)));
      const before = last ? await readOwner(folder, last) : null;
      if (before && !isThis(before, owner) && (await isAlive(before, owner, pathOf(folder, last))))
        throw new Error(refusal(folder, before, last));
      if (!(await addFile(pathOf(folder, last + 1), `${JSON.stringify(owner)}\n`))) continue; // another was faster: look at it
      const now = await numbers(folder);
      if (Math.max(...now) !== last + 1) {
        await rm(pathOf(folder, last + 1), { force: true });
        continue;
      }
      for (const earlier of now) if (earlier <= last) await rm(pathOf(folder, earlier), { force: true });
      return new RunOwner(folder, last + 1, owner);
    }
  }

  /** @throws Error when the run was taken over, as after a long suspension, or opened again in this process */
  async assertHeld(): Promise<void> {
    const last = Math.max(0, ...(await numbers(this.folder)));
    if (last === this.number) return;
    const by = last > this.number ? await readOwner(this.folder, last) : null;
    const who =
      by && !isThis(by, this.owner) ? `process ${by.pid} on ${by.host} has taken it over` : 'it was opened again or its owner file is gone';
    throw new Error(`${this.folder} is not written to from here any more: ${who}`);
  }

  /** Gives the folder back. Without it the end of the process does. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    if (Math.max(0, ...(await numbers(this.folder).catch(() => []))) !== this.number) return;
    await replaceFile(this.#path, `${JSON.stringify({ ...this.owner, released: true })}\n`);
  }

  get #path(): string {
    return pathOf(this.folder, this.number);
  }
}

const pathOf = (folder: string, number: number): string => join(folder, `owner-${number}.json`);
const isThis = (a: Owner, b: Owner): boolean => a.pid === b.pid && a.machine === b.machine && a.started === b.started;

function refusal(folder: string, { pid, host }: Owner, number: number): string {
  return `${folder} is being worked on by process ${pid} on ${host}: wait until it is done or stop it. If there is no such process, delete ${pathOf(folder, number)}`;
}

async function numbers(folder: string): Promise<number[]> {
  return (await readdir(folder)).flatMap((name) => {
    const number = /^owner-(\d+)\.json$/.exec(name)?.[1];
    return number ? [Number(number)] : [];
  });
}

/** null for a file that is gone or says nothing, as after a loss of power. */
async function readOwner(folder: string, number: number): Promise<Owner | null> {
  const text = await readFile(pathOf(folder, number), 'utf8').catch(() => '');
  try {
    const owner = JSON.parse(text) as Owner;
    return Number.isSafeInteger(owner?.pid) ? owner : null;
  } catch {
    return null;
  }
}

/** Adds a file that is whole as soon as it is there; false where one of that name is. */
async function addFile(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${process.pid}-${process.hrtime.bigint()}.tmp`;
  await writeFile(temporary, text, { flush: true });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    // A file system without hard links.
    return await writeFile(path, text, { flag: 'wx', flush: true }).then(
      () => true,
      (failed: NodeJS.ErrnoException) => {
        if (failed.code === 'EEXIST') return false;
        throw failed;
      },
    );
  } finally {
    await rm(temporary, { force: true });
  }
}

async function isAlive(owner: Owner, here: Owner, path: string): Promise<boolean> {
  if (owner.released) return false;
  if (owner.machine !== here.machine) {
    const touched = await stat(path).catch(() => null);
    return touched !== null && Date.now() - touched.mtimeMs < SILENT_MS;
  }
  try {
    process.kill(owner.pid, 0); // signal 0 asks whether there is such a process
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const started = await startOf(owner.pid);
  if (started === 'ended') return false;
  return started === null || owner.started === null || started === owner.started;
}

async function thisProcess(): Promise<Owner> {
  return { pid: process.pid, started: await startOf(process.pid), machine: await machine(), host: hostname() };
}

async function machine(): Promise<string> {
  if (process.platform !== 'linux') return hostname();
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => hostname());
  return `${boot.trim()} ${await readlink('/proc/self/ns/pid').catch(() => '')}`.trim();
}

/** When a process was started; `ended` where it has ended and only its parent has not heard of it; null where the system does not say. */
async function startOf(pid: number): Promise<string | null> {
  if (process.platform === 'linux') {
    const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
    if (line === null) return null;
    const [state, ...rest] = line.slice(line.lastIndexOf(')') + 2).split(' '); // what stands before is the name, which may hold anything
    return /[ZXx]/.test(state) ? 'ended' : (rest[18] ?? null); // proc(5): field 3 is the state, field 22 the start in clock ticks
  }
  const [command, ...args] =
    process.platform === 'win32'
      ? ['powershell', '-NoProfile', '-Command', `(Get-Process -Id ${pid}).StartTime.ToFileTimeUtc()`]
      : ['ps', '-o', 'lstart=', '-p', String(pid)];
  const said = await promisify(execFile)(command, args, { timeout: 10_000 }).catch(() => null);
  return said?.stdout.trim() || null;
}
