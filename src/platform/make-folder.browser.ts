import { noDisk } from './no-disk.js';

export const makeFolder = async (path: string): Promise<void> => noDisk(`making the folder ${path}`);
