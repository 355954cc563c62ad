import { describe, expect, test } from 'vitest';
import { markdown, recordTables } from '../../bench/table.js';
import { sample } from './sample.js';

const text = recordTables(sample);
const cells = (start: string): string[] => {
  const line = text.split('\n').find((row) => row.startsWith(`| ${start}`)) as string;
  return line.split('|').map((cell) => cell.trim());
};

describe('the table', () => {
  test('has the medians, the median ratio of the rounds with its spread, the goal and the shares of the peaks', () => {
    // ratios of the rounds: 1/2, 2/4, 1.5/2; the middle one is 0.5
    expect(cells('a step')).toEqual([
      '',
      'a step',
      '1',
      '2.00 s',
      '1.50 s',
      '**0.50**',
      '0.50 – 0.75',
      '0.6 ✗',
      '20 %',
      '13 %',
      'PyTorch',
      '',
    ]);
    expect(cells('tokens').slice(5, 10)).toEqual(['**3.00**', '3.00 – 3.00', '2 ✓', '10 %', '2 %']);
  });

  test('says operation by operation where the time went, with shares of the time and of the peak', () => {
    const profile = {
      seconds: 2,
      operations: [
        { name: 'Rotary', calls: 8, seconds: 0.4, flops: 0 },
        { name: 'Linear', calls: 40, seconds: 1.2, flops: 30e9 }, // 25 GFLOP/s, half of 50
        { name: 'Add', calls: 5, seconds: 0.015, flops: 0 },
        { name: 'Neg', calls: 2, seconds: 0.005, flops: 0 },
      ],
    };
    const profiled = {
      ...sample,
      results: [{ ...sample.results[0], backend: 'simd', profile }],
      peaks: [{ ...sample.peaks[0], backend: 'simd' }],
    };
    const [, table] = recordTables(profiled).split('where the time goes');
    const rows = table.split('\n').filter((line) => /^\| [^-]/.test(line));
    expect(rows.map((row) => row.split('|').map((cell) => cell.trim()))).toEqual([
      ['', 'Linear', '40', '1.20 s', '60 %', '25.0', '50 %', ''],
      ['', 'Rotary', '8', '400 ms', '20 %', '–', '–', ''],
      ['', '2 others', '7', '20.0 ms', '1 %', '–', '–', ''],
      ['', 'JavaScript between them', '–', '380 ms', '19 %', '–', '–', ''],
      ['', 'together', '55', '2.00 s', '100 %', '15.0', '30 %', ''],
    ]);
    expect(recordTables(profiled, { profiles: false })).not.toContain('where the time goes');
  });

  test('has columns for each backend where several were measured', () => {
    const [simd] = sample.peaks;
    const [training, , small, large] = sample.results;
    const on = <T extends object>(backend: string, of: T) => ({ ...of, backend });
    const several = recordTables({
      ...sample,
      peaks: [on('simd', simd), on('tensorflow', { ...simd, ours: 80 })],
      results: [
        on('simd', training),
        on('tensorflow', { ...training, goal: 0.9, ours: [1, 2, 1] }),
        on('simd', small),
        on('simd', large),
        on('tensorflow', { ...small, ours: [0.5] }),
        on('tensorflow', { ...large, ours: [5] }),
      ],
      memory: sample.memory.slice(0, 1).map((memory) => on('tensorflow', memory)),
      refused: [on('tensorflow', { name: 'lora', threads: 1, reason: 'wrong' })],
    });
    const rows = several.split('\n').filter((line) => /^\| (work|a step)/.test(line));
    expect(rows.map((row) => row.split('|').map((cell) => cell.trim()))).toEqual([
      // biome-ignore format: a table
      ['', 'work', 'threads', 'simd', 'times as fast', 'goal', 'of peak', 'tensorflow', 'times as fast', 'goal', 'of peak', 'peer', 'of peak', 'beside', ''],
      // biome-ignore format: a table
      ['', 'a step', '1', '2.00 s', '**0.50** (0.50 – 0.75)', '0.6 ✗', '20 %', '1.00 s', '**1.00** (1.00 – 1.50)', '0.9 ✓', '25 %', '1.50 s', '13 %', 'PyTorch', ''],
    ]);
    expect(several).toContain('grows to 1.50 x, simd, 1 thread');
    expect(several).toContain('grows to 1.00 x, tensorflow, 1 thread'); // 10e9 in 5 s beside 1e9 in 0.5 s
    expect(several).toContain('Memory over 1000 training steps, tensorflow, 1 thread');
    expect(several).toContain('not timed: lora, tensorflow, 1 thread: wrong');
  });

  test('says by how much an operation becomes dearer over the sweep', () => {
    expect(cells('large')[5]).toBe('1.50 x'); // 10e9 in 15 s beside 1e9 in 1 s
    expect(text).toContain('grows to 1.50 x, 1 thread (goal: at most 1.33 x ✗)');
  });

  test('says what a training step keeps, and whether it grows', () => {
    expect(text).toContain(
      '1 thread: at most 300 MB above the start (goal: below 500 MB ✓), 0 MB more over the second half (goal: flat ✓); PyTorch 700 MB.',
    );
    expect(text).toContain(
      '2 threads: at most 600 MB above the start (goal: below 500 MB ✗), 200 MB more over the second half (goal: flat ✗).',
    );
  });

  test('names what was not timed, the versions and the peaks', () => {
    expect(text).toContain('not timed: lora, 2 threads: loss: ours 2, the peer 1');
    expect(text).toContain('node 20.20.2, torch 2.13.0');
    expect(text).toContain('Peak of an fp32 matMul, 2 threads: ours 90 GFLOP/s, torch 200 GFLOP/s');
  });

  test('claims nothing where ours ran alone, was interrupted, tiny, or had to share the machine', () => {
    const alone = recordTables({
      ...sample,
      size: 'small',
      complete: false,
      machine: { ...sample.machine, load: 5 },
      peaks: sample.peaks.map((peak) => ({ ...peak, theirs: null })),
      results: sample.results.map((result) => ({ ...result, theirs: [] })),
    });
    expect(alone).toContain('no peers: nothing was compared or checked');
    expect(alone).toContain('tiny shapes, whose speed says nothing; interrupted; busy with other work: load 5.0');
    expect(alone).not.toMatch(/[✓✗]/);
  });

  test('has columns of one width', () => {
    const lines = markdown([
      ['a', 'bb'],
      ['ccccc', 'd'],
    ]).split('\n');
    expect(lines).toEqual(['| a     | bb  |', '| ----- | --- |', '| ccccc | d   |']);
  });
});
