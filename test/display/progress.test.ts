import { afterEach, describe, expect, it, vi } from 'vitest';
import { duration, progress, tracked } from '../../src/display/progress.js';

afterEach(() => vi.restoreAllMocks());

function written(): string[] {
  const lines: string[] = [];
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  return lines;
}

describe('progress outside of a notebook', () => {
  it('tells how much is done and how long it takes, on stderr', () => {
    const lines = written();
    const line = progress({ label: 'GRPO', total: 4, interval: 0 });
    line.update(2, 'reward 0.5');
    line.finish();
    line.update(3);
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain('GRPO: 0 of 4 steps, time left unknown');
    expect(lines[1]).toMatch(/GRPO: 2 of 4 steps, .* s left · reward 0.5/);
    expect(lines[2]).toMatch(/GRPO: 2 of 4 steps, in .* s · reward 0.5\n/);
  });

  it('lets no label or note steer the terminal or begin a line', () => {
    const lines = written();
    const line = progress({ label: 'a\u001b[2J', total: 1, unit: 'b\u009b', interval: 0 });
    line.finish('c\r\nd\u202e');
    expect(lines[0]).toContain('a\\x1b[2J: 0 of 1 b\\x9b');
    expect(lines[1]).toMatch(/ · c d\\u202e\n$/);
  });

  it('gives a loop its items and ends its line when the loop breaks', () => {
    const lines = written();
    const seen: string[] = [];
    for (const item of tracked(['a', 'b', 'c'], { label: 'Reading', unit: 'files', interval: 0 })) {
      seen.push(item);
      if (item === 'b') break;
    }
    expect(seen).toEqual(['a', 'b']);
    expect(lines.at(-1)).toMatch(/Reading: 1 of 3 files, in /);
  });
});

it('writes durations for people', () => {
  expect([0.04, 9.94, 9.96, 59.4, 59.6, 185, 3599.6, 7800].map(duration)).toEqual([
    '0.0 s',
    '9.9 s',
    '10 s',
    '59 s',
    '1 min 0 s',
    '3 min 5 s',
    '1 h 0 min',
    '2 h 10 min',
  ]);
});
