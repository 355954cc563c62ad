/** The book's progress for people: a line for every cell, with the time it took and the time left. */
import { printableLine } from '../display/printable.js';
import { duration } from '../display/progress.js';
import type { Book, BookProgress } from './book.js';

/**
 * A listener for `buildBook` that writes to `stream`: on a terminal the running cells stay on one line that is written over, elsewhere every
 * finished cell leaves a line.
 */
export function reportProgress(stream: NodeJS.WriteStream = process.stderr): (progress: BookProgress) => void {
  const started = performance.now();
  const running = new Map<string, string>();
  const erase = stream.isTTY ? '\r\x1b[K' : '';
  return ({ notebook: name, cell, cells, state, label: line, seconds, doneInAll, cellsInAll }) => {
    // Names of files and lines of notebooks are whoever's wrote them.
    const [notebook, label] = [printableLine(name), printableLine(line)];
    const place = `${notebook} ${String(cell + 1).padStart(String(cells).length)}/${cells}`;
    if (state === 'running') running.set(notebook, `${place} ${label}`);
    else if (state !== 'output') {
      running.delete(notebook);
      const elapsed = (performance.now() - started) / 1000;
      const left = doneInAll < cellsInAll ? ` · about ${duration((elapsed / doneInAll) * (cellsInAll - doneInAll))} left` : '';
      stream.write(`${erase}${place}  ${state === 'skipped' ? 'skipped' : duration(seconds)}  ${label}${left}\n`);
    }
    if (stream.isTTY) stream.write(`${erase}${[...running.values()].join(' | ').slice(0, (stream.columns || 80) - 1)}`);
  };
}

/** Where to look, and what failed. */
export function describeBook({ index, chapters }: Book): string {
  const width = Math.max(...chapters.map(({ page }) => page.length));
  const lines = chapters.map(
    ({ page, title, seconds, failure }) => `${failure ? '✗' : '✓'} ${page.padEnd(width)}  ${title} (${duration(seconds)})`,
  );
  const failures = chapters.flatMap(({ failure }) => (failure ? ['', failure] : []));
  return [...lines, ...failures, '', `Open ${index} in a browser.`].join('\n');
}
