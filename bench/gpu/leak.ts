/** Memory over many GRPO steps: live tensors, bytes on the device, JavaScript's heap and the process's resident size, twenty times on the way. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as tf from '@tensorflow/tfjs-core';
import type { Work } from './shapes.js';
import { oneStep, openEngine } from './speed.js';

export interface MemoryTrace {
  readonly steps: number;
  readonly samples: readonly {
    readonly step: number;
    readonly tensors: number;
    readonly bytes: number;
    /** Allocated on a WebGPU device, free buffers kept for reuse included. */
    readonly allocated: number | null;
    /** What JavaScript holds after its garbage was collected, the values of arrays outside its heap included. */
    readonly heap: number;
    readonly resident: number;
  }[];
}

/** Bytes that hold one or two of a step’s sequences, so that gradients are summed over micro-batches. */
const BUDGET = 900_000;

/** A sample without what is only waiting to be collected. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

/** The first sample is taken after a tenth of the steps: pools are full by then. */
export async function traceMemory(work: Work, steps: number, say: (text: string) => void, seconds: number): Promise<MemoryTrace> {
  const until = performance.now() + 1000 * seconds;
  const { engine, prompts } = openEngine(work, { memoryBudget: BUDGET, gradientCheckpointing: true });
  const every = Math.max(1, Math.floor(steps / 20));
  const samples: MemoryTrace['samples'][number][] = [];
  for (let step = 1; step <= steps && performance.now() < until; step++) {
    await oneStep(engine, work, prompts);
    if (step % every || step < steps / 10) continue;
    const { numTensors: tensors, numBytes: bytes, ...rest } = tf.memory();
    const allocated = (rest as { numBytesAllocatedInGPU?: number }).numBytesAllocatedInGPU ?? null;
    collectGarbage();
    const { heapUsed, arrayBuffers, rss: resident } = process.memoryUsage();
    const heap = heapUsed + arrayBuffers;
    samples.push({ step, tensors, bytes, allocated, heap, resident });
    const mib = (n: number) => `${(n / 2 ** 20).toFixed(1)} MiB`;
    const onDevice = allocated === null ? '' : `, ${mib(allocated)} allocated`;
    say(`step ${step}: ${tensors} tensors, ${mib(bytes)}${onDevice}, heap ${mib(heap)}, resident ${mib(resident)}`);
  }
  engine.dispose();
  return { steps, samples };
}
