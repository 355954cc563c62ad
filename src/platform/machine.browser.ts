/** What a browser tells of the machine it runs on. */

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memory: number;
  readonly free: number;
}

const { hardwareConcurrency = 1, deviceMemory = 4 } = ((globalThis as { navigator?: object }).navigator ?? {}) as {
  /** Processors. */
  readonly hardwareConcurrency?: number;
  /** GiB, rounded down, at most 8; Chromium alone says it. */
  readonly deviceMemory?: number;
};

export const machine = (): Machine => ({
  processor: 'unknown processor (a browser does not say)',
  cores: hardwareConcurrency,
  memory: deviceMemory * 2 ** 30,
  free: deviceMemory * 2 ** 30,
});

export const printedBy = async (_program: string, _args: readonly string[]): Promise<string> => '';
