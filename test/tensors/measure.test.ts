/** Measurements: that they count what they say; no time is asserted. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { backendNames, startBackend } from '../../src/tensors/backend.js';
import { inspectBackends, parseCards } from '../../src/tensors/inspect.js';
import { measureBandwidth, measureMatMul, secondsPerCall } from '../../src/tensors/measure.js';

describe('measuring', () => {
  beforeAll(async () => {
    await startBackend({ backend: 'cpu' });
  });

  test('calls as often as asked, once before the clock starts, and leaves nothing over', async () => {
    const before = tf.memory().numTensors;
    let calls = 0;
    const seconds = await secondsPerCall(
      () => {
        calls++;
        return tf.ones([3]);
      },
      { seconds: 60, rounds: 2, most: 4 },
    );
    expect(calls).toBe(1 + 1 + 4 + 4); // to warm up, to find how many, and two rounds of the most
    expect(seconds).toBeGreaterThan(0);
    expect(await measureMatMul(16)).toBeGreaterThan(0);
    expect(await measureBandwidth(1)).toBeGreaterThan(0);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('reads what nvidia-smi prints', () => {
    expect(parseCards('NVIDIA H200, 580.159.04, 143771, 143000\n')).toEqual([
      { name: 'NVIDIA H200', driver: '580.159.04', memory: 143_771 * 2 ** 20, free: 143_000 * 2 ** 20 },
    ]);
    expect(parseCards('No devices were found\n')).toEqual([]);
  });
});

describe('inspectBackends', () => {
  test('looks at every backend, says why one does not start, and ends on the one that auto takes', async () => {
    process.env.SEARCH_E1_BACKEND = 'cpu';
    try {
      const { backends, chosen, why } = await inspectBackends();
      expect(backends.map(({ name }) => name)).toEqual(backendNames);
      for (const { report, speed, memory, reason } of backends) {
        expect(report ? speed?.gigaflops : 1).toBeGreaterThan(0);
        expect(report !== undefined || reason !== undefined).toBe(true);
        if (report?.device === 'cpu') expect(memory).toBeGreaterThan(0);
      }
      expect({ chosen, why }).toEqual({ chosen: 'cpu', why: 'SEARCH_E1_BACKEND says so' });
      expect(process.env.SEARCH_E1_BACKEND).toBe('cpu');
      expect(tf.getBackend()).toBe('cpu');
    } finally {
      delete process.env.SEARCH_E1_BACKEND;
    }
  });
});
