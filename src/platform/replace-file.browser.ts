/** A browser tab writes nothing, and what it reads is replaced by nobody but its server. */
import { noDisk } from './no-disk.js';

export interface ReplaceFilesOptions {
  readonly marker: string;
  readonly outdated: (name: string) => boolean;
  readonly write: (into: string) => Promise<void>;
}

export const replaceFile = async (path: string, _text: string | Uint8Array): Promise<void> => noDisk(`writing ${path}`);

export const replaceByParts = async (path: string, _write: (put: (bytes: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> =>
  noDisk(`writing ${path}`);

export const writeFile = async (path: string, _text: string | Uint8Array): Promise<void> => noDisk(`writing ${path}`);

export const replaceFiles = async (folder: string, _options: ReplaceFilesOptions): Promise<void> => noDisk(`writing ${folder}`);

export const finishReplacing = async (_folder: string): Promise<void> => undefined;

export const openWhole = <T>(
  _folder: string,
  _markers: readonly string[],
  { open }: { readonly open: () => Promise<T>; readonly close: (opened: T) => Promise<void> },
): Promise<T> => open();
