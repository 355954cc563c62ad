import { expect, it } from 'vitest';
import { reportProgress } from '../../src/notebooks/report-progress.js';

it.each([true, false])('lets no name or line of a notebook steer the terminal (a terminal: %s)', (isTTY) => {
  let written = '';
  const report = reportProgress({ isTTY, columns: 200, write: (text: string) => (written += text) } as unknown as NodeJS.WriteStream);
  const cell = {
    notebook: 'a\u001b[2Jb',
    cell: 0,
    cells: 1,
    label: "console.log('\u001b]0;title\u0007\u202e')",
    seconds: 1,
    notebooks: 1,
    doneInAll: 1,
    cellsInAll: 1,
  };
  report({ ...cell, state: 'running' });
  report({ ...cell, state: 'done' });
  expect(written).toContain("a\\x1b[2Jb 1/1  1.0 s  console.log('\\x1b]0;title\\x07\\u202e')\n");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  expect(written.replaceAll('\r\u001b[K', '')).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
});
