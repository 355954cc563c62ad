/** One line of progress with the time left, replaced in place: below a cell in a notebook, on stderr elsewhere. */
import { checkOptions, checkText, described } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import { escapeHtml, liveOutput } from './bundle.js';
import { printableLine } from './printable.js';

/** What is counted. */
export interface ProgressOptions {
  /** What is being done, such as `GRPO`. */
  readonly label: string;
  /** Steps to be done. */
  readonly total: number;
  /** What a step is, in the plural; default `steps`. */
  readonly unit?: string;
  /** Milliseconds between two updates of the line, at least; default 100, and 5000 where stderr is no terminal. */
  readonly interval?: number;
}

/** A bar with time left, or lines of text where none can be drawn. */
export interface Progress {
  /** `done` steps are done; `note` says how it stands, such as `reward 0.31`. */
  update(done: number, note?: string): void;
  /** The last word: the line stays as it is. */
  finish(note?: string): void;
}

const OPTIONS: readonly (keyof ProgressOptions)[] = ['label', 'total', 'unit', 'interval'];

/**
 * Begins a bar; it is drawn at most once an interval.
 *
 * @example
 * ```ts
 * import { progress } from 'search-e1/display';
 *
 * const bar = progress({ label: 'GRPO', total: 2, unit: 'steps' });
 * bar.update(1, 'exact match 0.44');
 * bar.finish();
 * ```
 */
export function progress(options: ProgressOptions): Progress {
  checkOptions('progress', options, OPTIONS);
  const { label, total, unit = 'steps', interval } = options;
  checkText('progress', 'label', label);
  checkText('progress', 'unit', unit);
  checkNumber('progress: total', total, { min: 0 });
  if (interval !== undefined) checkNumber('progress: interval', interval, { min: 0 });
  const started = performance.now();
  const notebook = liveOutput();
  const terminal = process.stderr.isTTY === true;
  const pause = interval ?? (notebook || terminal ? 100 : 5000);
  let last = { done: 0, note: '' };
  let shownAt = Number.NEGATIVE_INFINITY;
  let finished = false;

  const line = () => {
    const seconds = (performance.now() - started) / 1000;
    const time = finished
      ? `in ${duration(seconds)}`
      : last.done > 0
        ? `${duration((seconds / last.done) * Math.max(0, total - last.done))} left`
        : 'time left unknown';
    return printableLine(`${label}: ${last.done} of ${total} ${unit}, ${time}${last.note ? ` · ${last.note}` : ''}`);
  };
  const draw = () => {
    shownAt = performance.now();
    const text = line();
    if (notebook) {
      const bar = finished
        ? ''
        : `<progress value="${Number(last.done)}" max="${Number(total)}" style="vertical-align:middle"></progress> `;
      notebook.update({ 'text/plain': text, 'text/html': `<div>${bar}${escapeHtml(text)}</div>` });
    } else
      process.stderr.write(
        terminal ? `\r${[...text].slice(0, (process.stderr.columns || 80) - 1).join('')}\x1b[K${finished ? '\n' : ''}` : `${text}\n`,
      );
  };
  draw();
  return {
    update(done, note = last.note) {
      checkNumber('progress: done', done, { min: 0 });
      if (finished) return;
      last = { done, note };
      if (performance.now() - shownAt >= pause) draw();
    },
    finish(note = last.note) {
      if (finished) return;
      finished = true;
      last = { ...last, note };
      draw();
    },
  };
}

/**
 * The items one by one, with a progress line; the line ends when the loop does, early or not.
 *
 * @example
 * ```ts
 * import { tracked } from 'search-e1/display';
 *
 * let sum = 0;
 * for (const step of tracked([1, 2, 3], { label: 'steps' })) sum += step;
 * sum; // 6
 * ```
 */
export function tracked<T>(items: readonly T[], options: Omit<ProgressOptions, 'total'>): Generator<T, void, void> {
  if (!Array.isArray(items)) throw new TypeError(`tracked: expected a list, got ${described(items)}`);
  checkOptions(
    'tracked',
    options,
    OPTIONS.filter((name) => name !== 'total'),
  );
  return oneByOne(items, options);
}

function* oneByOne<T>(items: readonly T[], options: Omit<ProgressOptions, 'total'>): Generator<T, void, void> {
  const line = progress({ ...options, total: items.length });
  try {
    for (const [index, item] of items.entries()) {
      yield item;
      line.update(index + 1);
    }
  } finally {
    line.finish();
  }
}

/**
 * Seconds for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
 *
 * @example
 * ```ts
 * import { duration } from 'search-e1/display';
 *
 * duration(75); // '1 min 15 s'
 * ```
 */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
