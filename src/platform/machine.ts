/** What this machine is: processor, memory, NVIDIA's cards. In a browser `machine.browser.ts` takes this file's place. */
import { execFile } from 'node:child_process';
import { cpus, freemem, totalmem } from 'node:os';

/** The processor's name; how many there are; bytes of memory (what a container allows where it is less than the machine has) and of those free. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memory: number;
  readonly free: number;
}

export const machine = (): Machine => ({
  processor: cpus()[0]?.model.trim() || 'unknown processor',
  cores: cpus().length,
  memory: Math.min(process.constrainedMemory?.() || totalmem(), totalmem()),
  free: freemem(),
});

/** What a program prints; empty where there is none, it fails, or does not answer within five seconds. */
export const printedBy = (program: string, args: readonly string[]): Promise<string> =>
  new Promise((done) => {
    execFile(program, args, { timeout: 5000 }, (error, stdout) => done(error ? '' : stdout));
  });
