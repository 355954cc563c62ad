/** One line on stderr: what is measured, and about how long the rest will take. */

/** Repetitions of one work that lie ahead. */
export interface Ahead {
  /** Useful floating-point operations of one repetition. */
  readonly flops: number;
  readonly repetitions: number;
}

/** Operations a second before anything was measured: a guess for the first line. */
const FIRST_GUESS = 5e9;

/** Seconds that are left: a work's repetitions take what its earlier ones took; one not begun yet takes as long an operation as those before it. */
export class TimeLeft {
  readonly #done = new Map<string, { count: number; seconds: number }>();

  constructor(private readonly ahead: ReadonlyMap<string, Ahead>) {}

  /** A repetition of a work took so long. */
  repeated(name: string, seconds: number): void {
    const before = this.#done.get(name) ?? { count: 0, seconds: 0 };
    this.#done.set(name, { count: before.count + 1, seconds: before.seconds + seconds });
  }

  get seconds(): number {
    const measured = [...this.#done].reduce((sum, [name, { count }]) => sum + count * (this.ahead.get(name)?.flops ?? 0), 0);
    const spent = [...this.#done.values()].reduce((sum, { seconds }) => sum + seconds, 0);
    const rate = spent > 0 && measured > 0 ? measured / spent : FIRST_GUESS;
    return [...this.ahead].reduce((sum, [name, { flops, repetitions }]) => {
      const { count, seconds } = this.#done.get(name) ?? { count: 0, seconds: 0 };
      const each = count > 0 ? seconds / count : flops / rate;
      return sum + each * Math.max(0, repetitions - count);
    }, 0);
  }
}

export interface Progress {
  /** `what` is being measured; the rest takes about `left` seconds. Drawn in place on a terminal. */
  step(what: string, left: number): void;
  say(text: string): void;
  end(): void;
}

export function progressOn(stream: NodeJS.WriteStream): Progress {
  let drawn = false;
  let last = '';
  const clear = () => {
    if (drawn) stream.write('\r\x1b[2K');
    drawn = false;
  };
  return {
    step(what, left) {
      const line = `${what}; ${duration(left)} left`;
      if (stream.isTTY) {
        clear();
        stream.write(line.slice(0, (stream.columns || 80) - 1));
        drawn = true;
      } else if (what.split(':')[0] !== last) {
        stream.write(`${line}\n`); // a line a work is enough for a log
        last = what.split(':')[0];
      }
    },
    say(text) {
      clear();
      stream.write(`${text}\n`);
    },
    end: clear,
  };
}

/** In words that promise no more than is known. */
export function duration(seconds: number): string {
  if (seconds < 90) return `about ${Math.max(5, Math.ceil(seconds / 5) * 5)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}
