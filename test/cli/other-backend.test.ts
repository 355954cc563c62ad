/** Going on with a run on another backend than before. */
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { warnOfOtherBackend } from '../../src/cli/open-policy.js';
import type { ComputedOn } from '../../src/tensors/backend.js';

const simd: ComputedOn = { name: 'simd', description: 'SIMD kernels, 2 threads', kernels: 'relaxed-simd', compute: 'float32' };
const webgpu: ComputedOn = { name: 'webgpu', description: 'WebGPU (Dawn) on one card', kernels: 'wgsl', compute: 'float32' };

function warning(before: ComputedOn, now: ComputedOn): string {
  const stderr = new PassThrough();
  warnOfOtherBackend({ stdout: new PassThrough(), stderr, signal: new AbortController().signal }, before, now);
  return String(stderr.read() ?? '');
}

test('the number of threads of simd changes no bit, and nothing is said', () => {
  expect(warning(simd, { ...simd, description: 'SIMD kernels, one thread' })).toBe('');
});

test('another backend, build, card or precision is said, each as it was and is', () => {
  expect(warning(simd, webgpu)).toBe(
    'warning: the numbers will not be those of an uninterrupted run: backend was simd, is webgpu; kernels was relaxed-simd, is wgsl\n',
  );
  expect(warning(simd, { ...simd, kernels: 'simd' })).toContain('kernels was relaxed-simd, is simd');
  expect(warning(webgpu, { ...webgpu, description: 'WebGPU (Dawn) on another' })).toContain('was WebGPU (Dawn) on one card, is WebGPU');
  expect(warning(webgpu, { ...webgpu, compute: 'float16' })).toContain('compute was float32, is float16');
});
