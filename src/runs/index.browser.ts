/**
 * A browser tab has no disk for a run. `evolve` works without one, or on whatever keeps what `Run` asks for.
 *
 * @module
 */
import { noDisk } from '../platform/no-disk.js';

export const policySum = async (folder: string): Promise<string> => noDisk(`the checksum of ${folder}`);

export const RunFolder = {
  open: async (path: string): Promise<never> => noDisk(`RunFolder.open('${path}')`),
};
