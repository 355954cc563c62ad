/** A pattern from a file, held to a time: some take longer than the age of the universe. In a browser `timed-match.browser.ts` takes this file's place. */
import { createContext, Script } from 'node:vm';

const MATCH = new Script('pattern.exec(text)');

/** @throws Error where it takes longer than `milliseconds` */
export const timedMatch = (pattern: RegExp, text: string, milliseconds: number): RegExpExecArray | null =>
  MATCH.runInContext(createContext({ pattern, text }), { timeout: milliseconds });
