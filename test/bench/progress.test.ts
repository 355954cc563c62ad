import { describe, expect, test } from 'vitest';
import { duration, progressOn, TimeLeft } from '../../bench/progress.js';

describe('the time left', () => {
  const ahead = new Map([
    ['a', { flops: 1e9, repetitions: 4 }],
    ['b', { flops: 2e9, repetitions: 3 }],
  ]);

  test('is what a work took so far, for those of its repetitions that are left, and by operations for the works behind it', () => {
    const left = new TimeLeft(ahead);
    left.repeated('a', 10);
    left.repeated('a', 20); // 15 s for 1e9 operations
    expect(left.seconds).toBeCloseTo(2 * 15 + 3 * 30);
    left.repeated('b', 1);
    expect(left.seconds).toBeCloseTo(2 * 15 + 2 * 1);
  });

  test('falls to nothing and not below', () => {
    const left = new TimeLeft(ahead);
    for (let i = 0; i < 6; i++) left.repeated('a', 1);
    for (let i = 0; i < 3; i++) left.repeated('b', 1);
    expect(left.seconds).toBe(0);
  });

  test('is said in round figures', () => {
    expect([0, 12, 89, 100, 3600].map(duration)).toEqual(['about 5 s', 'about 15 s', 'about 90 s', 'about 2 min', 'about 60 min']);
  });
});

test('a log gets a line a work, a terminal one line in place', () => {
  const lines = (isTTY: boolean) => {
    let text = '';
    const progress = progressOn({ isTTY, columns: 80, write: (more: string) => (text += more) } as unknown as NodeJS.WriteStream);
    for (const round of [1, 2]) progress.step(`training: round ${round}`, 10);
    progress.step('lora: round 1', 10);
    progress.end();
    return text;
  };
  expect(lines(false)).toBe('training: round 1; about 10 s left\nlora: round 1; about 10 s left\n');
  expect(lines(true)).not.toContain('\n');
  expect(lines(true).endsWith('\r\x1b[2K')).toBe(true);
});
