/** This project's end of the messages: `job.py` in TypeScript. */
import { createInterface } from 'node:readline';
import type { Check, Memory, Message, Profile } from '../messages.js';
import { profileKernels } from './profile.js';

export class Job {
  readonly #lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  #started = 0;
  #profiled: ((repetitions: number) => Profile) | null = null;

  /** The next message; null at the end of the input. */
  async read(): Promise<Message | null> {
    const { done, value } = await this.#lines.next();
    return done ? null : (JSON.parse(value) as Message);
  }

  send(message: object): void {
    process.stdout.write(`${JSON.stringify(message)}\n`);
  }

  checked(check: Check): void {
    this.send({ check });
  }

  /** Waits to be asked for a repetition and starts the clock; false when the work is dropped. */
  async again(): Promise<boolean> {
    const message = await this.read();
    if (message?.do !== 'run') return false;
    this.#profiled = message.profile ? profileKernels() : null;
    this.#started = performance.now();
    return true;
  }

  done(repetitions = 1): void {
    const seconds = (performance.now() - this.#started) / 1000 / repetitions;
    const profile = this.#profiled?.(repetitions);
    this.send({ seconds, ...memory(), profile });
  }
}

export const memory = (): Memory => ({ rss: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 });
