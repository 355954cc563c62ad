/** A side of the bench: a process that prepares works and repeats them when asked. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Check, Hello, Message, Timing } from './messages.js';

export interface Command {
  readonly name: 'ours' | 'peer';
  readonly program: string;
  readonly args: readonly string[];
  readonly threads: number;
  /** Ours: the backend that is to compute; without it the environment or the package chooses. */
  readonly backend?: string;
}

/** Kept of what a side prints: enough for the reason of a failure. */
const KEPT_CHARACTERS = 4000;

export class Side {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;
  #printed = '';

  /** Starts the process. */
  constructor(private readonly command: Command) {
    const threads = String(command.threads);
    this.#child = spawn(command.program, [...command.args], {
      env: {
        ...process.env,
        OMP_NUM_THREADS: threads,
        MKL_NUM_THREADS: threads,
        SEARCH_E1_THREADS: threads,
        TF_NUM_INTRAOP_THREADS: threads, // whatever this process was told
        ...(command.backend && { SEARCH_E1_BACKEND: command.backend }),
        TRL_EXPERIMENTAL_SILENCE: '1',
      },
      detached: process.platform !== 'win32', // Ctrl-C is the bench's to answer; a side ends when its input does
    });
    this.#child.on('error', (error) => {
      this.#printed += error.message;
    });
    this.#child.stdin.on('error', () => {}); // a side that died is noticed at its missing answer
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#printed = (this.#printed + text).slice(-KEPT_CHARACTERS);
    });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Waits until the process is ready. */
  async hello(): Promise<Hello> {
    return (await this.#answer()) as unknown as Hello;
  }

  async make(message: Omit<Extract<Message, { do: 'make' }>, 'do'>): Promise<void> {
    await this.#ask({ do: 'make', ...message });
  }

  async matMul(n: number): Promise<number> {
    return (await this.#ask({ do: 'matMul', n })).gflops as number;
  }

  async prepare(message: Omit<Extract<Message, { do: 'prepare' }>, 'do'>): Promise<Check> {
    return (await this.#ask({ do: 'prepare', ...message })).check as Check;
  }

  async run(message: Omit<Extract<Message, { do: 'run' }>, 'do'> = {}): Promise<Timing> {
    return (await this.#ask({ do: 'run', ...message })) as unknown as Timing;
  }

  async drop(): Promise<void> {
    await this.#ask({ do: 'drop' });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }

  async #ask(message: Message): Promise<Record<string, unknown>> {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
    return this.#answer();
  }

  async #answer(): Promise<Record<string, unknown>> {
    const { done, value } = await this.#answers.next();
    if (done) throw new Error(`${this.command.name} ended; it last printed:\n${this.#printed.trim() || '(nothing)'}`);
    const answer = JSON.parse(value) as Record<string, unknown>;
    if (typeof answer.error === 'string') throw new Error(`${this.command.name}: ${answer.error}\n${this.#printed.trim()}`);
    return answer;
  }
}
