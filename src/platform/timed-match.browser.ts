/** A browser cannot end a match: a pattern that takes too long holds up the worker that asked, which the page can end. */
export const timedMatch = (pattern: RegExp, text: string, _milliseconds: number): RegExpExecArray | null => pattern.exec(text);
