/** A text file that is replaced as a whole, so that a kill at any moment leaves the old text or the new one. */
import { rename, writeFile } from 'node:fs/promises';

/** Writes to a temporary name, flushes and renames: a reader never sees half a file. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text, { flush: true });
  await rename(temporary, path);
}
