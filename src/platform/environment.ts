/** Environment variables; none in a browser tab. Read each time: they may change. */
export const environment = (): Record<string, string | undefined> => globalThis.process?.env ?? {};
