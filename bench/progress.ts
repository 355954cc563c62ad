/** One line on stderr: what is measured, and about how long it will take still. */

export interface Progress {
  /** `what` is being measured; the rest takes about `left` seconds. */
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
      if (stream.isTTY) {
        clear();
        stream.write(`${what}; ${duration(left)} left`.slice(0, (stream.columns || 80) - 1));
        drawn = true;
      } else if (what !== last) {
        stream.write(`${what}; ${duration(left)} left\n`);
      }
      last = what;
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
