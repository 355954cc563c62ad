/** A record with figures that can be worked out in the head. */
import type { BenchRecord } from '../../bench/record.js';

const swept = (name: string, flops: number, ours: readonly number[]) => ({
  name: `sweep: ${name}`,
  title: name,
  peer: 'PyTorch',
  goal: null,
  threads: 1,
  flops,
  ours,
  theirs: [],
  error: null,
});

export const sample: BenchRecord = {
  date: '2026-11-20T08:00:00.000Z',
  commit: 'abc',
  machine: { cpu: 'Intel(R) Xeon(R) Processor', cores: 2, memory: 8e9, platform: 'linux x64', load: 0.1 },
  versions: { node: '20.20.2', torch: '2.13.0' },
  size: 'full',
  rounds: 3,
  peaks: [
    { threads: 1, ours: 50, theirs: 100, backends: ['simd', 'torch'] },
    { threads: 2, ours: 90, theirs: 200, backends: ['simd', 'torch'] },
  ],
  results: [
    // 20e9 operations in 2 s: 10 GFLOP/s, a fifth of 50; in 1 s: 20 GFLOP/s, a fifth of 100
    {
      name: 'training',
      title: 'a step',
      peer: 'PyTorch',
      goal: 0.6,
      threads: 1,
      flops: 20e9,
      ours: [2, 4, 2],
      theirs: [1, 2, 1.5],
      error: 1e-7,
    },
    {
      name: 'sampling',
      title: 'tokens',
      peer: 'Transformers',
      goal: 2,
      threads: 2,
      flops: 9e9,
      ours: [1, 1, 1],
      theirs: [3, 3, 3],
      error: 1e-7,
    },
    swept('small', 1e9, [1, 1, 1]),
    swept('large', 10e9, [15, 15, 15]),
  ],
  memory: [
    { threads: 1, steps: 1000, ours: { peak: 300e6, rss: [100e6, 200e6, 290e6, 290e6, 290e6, 290e6] }, theirs: { peak: 700e6, rss: [] } },
    { threads: 2, steps: 1000, ours: { peak: 600e6, rss: [100e6, 200e6, 300e6, 400e6, 500e6, 600e6] }, theirs: null },
  ],
  refused: [{ name: 'lora', threads: 2, reason: 'loss: ours 2, the peer 1' }],
  complete: true,
};
