/**
 * Files that are replaced as a whole, one or several together, so that a kill at any moment leaves the old or the new, never a mixture.
 *
 * One file: a temporary name, flushed, then renamed. Several of a folder: written into a folder within it, flushed, and that folder renamed to `.saved`. From
 * then on the new files count: what is outdated is taken away and they are renamed into place, by whoever reads or writes next if a kill comes
 * between. The file without which nobody reads the folder goes first and comes last, so that other programs find nothing there rather than half.
 */
import { type FileHandle, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeFolder } from './make-folder.js';

export { writeFile } from 'node:fs/promises';

/** Writes to a temporary name, flushes and renames: a reader never sees half a file. */
export async function replaceFile(path: string, text: string | Uint8Array): Promise<void> {
  const temporary = temporaryFor(path);
  try {
    await writeFile(temporary, text, { flush: true });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
  await removeLeftovers(dirname(path), new RegExp(`^${escaped(basename(path))}\\.(\\d+)\\.tmp$`));
}

/** The same for a file of any size: `write` puts its bytes one part after the other. */
export async function replaceByParts(path: string, write: (put: (bytes: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> {
  const temporary = temporaryFor(path);
  const file = await open(temporary, 'w');
  try {
    await write((bytes) => writeFully(file, bytes));
    await file.sync();
    await file.close();
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Bytes that one call writes at most: Linux moves less than 2 GiB at once. */
const AT_ONCE = 16 * 1024 * 1024;

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, Math.min(AT_ONCE, bytes.length - done));
    done += bytesWritten;
  }
}

/** The name under which this process writes a file before it takes its place. */
const temporaryFor = (path: string): string => `${path}.${process.pid}.tmp`;

/** Makes what was renamed in a folder outlast a power failure, where the system can: Windows cannot open folders. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => null);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

export interface ReplaceFilesOptions {
  /** The file without which nobody reads the folder, such as `config.json`; it is among those written. */
  readonly marker: string;
  /** Whether a file of this name belongs to what is replaced, so that it goes unless it is written anew. */
  readonly outdated: (name: string) => boolean;
  /** Writes the new files into an empty folder; where it fails, nothing has changed. */
  readonly write: (into: string) => Promise<void>;
}

const COMMITTED = '.saved';
const PLAN = 'plan.json';

interface Plan {
  /** The process that moves the files. */
  readonly pid: number;
  readonly marker: string;
  readonly files: readonly string[];
  readonly outdated: readonly string[];
}

/** Replaces files of a folder, which is made where it is missing, as one; others in it stay. */
export async function replaceFiles(folder: string, { marker, outdated, write }: ReplaceFilesOptions): Promise<void> {
  await makeFolder(folder);
  await finishReplacing(folder);
  await removeLeftovers(folder, /^\.saving-(\d+)-/);
  const staged = await mkdtemp(join(folder, `.saving-${process.pid}-`));
  try {
    await write(staged);
    const files = await readdir(staged);
    if (!files.includes(marker)) throw new Error(`${folder}: ${marker} is not among the files to write (${files.join(', ')})`);
    for (const name of files) await syncFile(join(staged, name));
    const there = await readdir(folder, { withFileTypes: true });
    const gone = there.map(({ name }) => name).filter((name) => outdated(name) && !files.includes(name));
    const inTheWay = there.find((each) => each.isDirectory() && (files.includes(each.name) || gone.includes(each.name)));
    if (inTheWay)
      throw new Error(
        `${join(folder, inTheWay.name)} is a folder where a file is to be: nothing was saved; move it away or save elsewhere`,
      );
    const plan: Plan = { pid: process.pid, marker, files, outdated: gone };
    await writeFile(join(staged, PLAN), JSON.stringify(plan), { flush: true });
    await syncFolder(staged);
    await commit(staged, folder);
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    throw error;
  }
  await finishReplacing(folder);
}

/** Renaming fails while another replacement of this folder is on its way. */
async function commit(staged: string, folder: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rename(staged, join(folder, COMMITTED));
      return syncFolder(folder);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (attempt === 5 || !['ENOTEMPTY', 'EEXIST', 'EPERM'].includes(code ?? '')) throw error;
      await finishReplacing(folder);
    }
  }
}

const underWay = new Map<string, Promise<void>>();

/** Moves what a process that was killed had written whole into its place; waits for one that lives. Call before reading such a folder. */
export function finishReplacing(folder: string): Promise<void> {
  const at = resolve(folder);
  let work = underWay.get(at);
  if (!work) {
    work = finish(at).finally(() => underWay.delete(at));
    underWay.set(at, work);
  }
  return work;
}

async function finish(folder: string): Promise<void> {
  const committed = join(folder, COMMITTED);
  if (!(await stat(committed).catch(() => null))) return;
  let plan = await readPlan(committed);
  for (let waited = 0; plan && plan.pid !== process.pid && isAlive(plan.pid) && waited < 200; waited++) {
    await new Promise((done) => setTimeout(done, 25));
    plan = await readPlan(committed);
  }
  if (plan) {
    if (plan.pid !== process.pid) await replaceFile(join(committed, PLAN), JSON.stringify({ ...plan, pid: process.pid }));
    const { marker, files, outdated } = plan;
    if (await stat(join(committed, marker)).catch(() => null)) await rm(join(folder, marker), { force: true });
    for (const name of outdated) if (name !== marker) await rm(join(folder, name), { force: true });
    await syncFolder(folder);
    for (const name of [...files.filter((each) => each !== marker), marker]) {
      await rename(join(committed, name), join(folder, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error; // moved before the kill
      });
    }
    await syncFolder(folder);
  }
  await rm(committed, { recursive: true, force: true });
}

/** Null where all is moved already. The folder may be a stranger's: names lead nowhere else. */
async function readPlan(committed: string): Promise<Plan | null> {
  const path = join(committed, PLAN);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return null;
  const plan = parsed(text);
  const plain = (name: unknown) => typeof name === 'string' && /^[^\\/]+$/.test(name) && name !== '.' && name !== '..';
  const { pid, marker, files, outdated } = plan ?? {};
  if (!Number.isInteger(pid) || !Array.isArray(files) || !Array.isArray(outdated) || ![marker, ...files, ...outdated].every(plain))
    throw new Error(`${path} does not say which files were saved: remove ${committed} to go on with those beside it`);
  return plan as Plan;
}

function parsed(text: string): Partial<Plan> | null {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Opens files that belong together: anew where they were replaced meanwhile.
 *
 * @param markers the files without which nobody reads the folder
 */
export async function openWhole<T>(
  folder: string,
  markers: readonly string[],
  { open, close }: { readonly open: () => Promise<T>; readonly close: (opened: T) => Promise<void> },
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    await finishReplacing(folder);
    const before = await identity(folder, markers);
    let opened: T;
    try {
      opened = await open();
    } catch (error) {
      if (attempt === 10 || (await identity(folder, markers)) === before) throw error;
      continue;
    }
    if ((await identity(folder, markers)) === before) return opened;
    await close(opened);
    if (attempt === 10) throw new Error(`${folder} is replaced over and over while it is read: try again when that has ended`);
  }
}

async function identity(folder: string, markers: readonly string[]): Promise<string> {
  const each = await Promise.all(markers.map((name) => stat(join(folder, name)).catch(() => null)));
  return each.map((found) => (found ? `${found.ino} ${found.mtimeMs} ${found.size}` : 'none')).join();
}

/** Removes what processes that were killed left behind; the pattern's first group is the process. */
async function removeLeftovers(folder: string, pattern: RegExp): Promise<void> {
  for (const name of await readdir(folder)) {
    const pid = Number(pattern.exec(name)?.[1]);
    if (pid > 0 && pid !== process.pid && !isAlive(pid)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // another user's
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.sync();
  await file.close();
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
