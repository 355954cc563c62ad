import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/**
 * Makes a folder and those above it that are missing. Node's own way asks for ever where a file system makes no folders, such as `/proc`.
 *
 * @throws Error naming the folder that cannot be made
 */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    const found = await stat(at).catch(() => null);
    if (found?.isDirectory()) break;
    if (found) throw new Error(`${path} cannot be made: ${at} is a file`);
    missing.unshift(at);
    if (at === dirname(at)) break;
  }
  for (const folder of missing)
    await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return; // another process was faster
      if (error.code === undefined) throw error;
      throw new Error(`${path} cannot be made: ${error.message}; choose another folder`, { cause: error });
    });
}
