import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startBackend } from '../../../src/tensors/backend.js';

beforeAll(() => {
  vi.spyOn(WebAssembly as { validate(bytes: Uint8Array): boolean }, 'validate').mockReturnValue(false);
});

afterAll(() => {
  vi.restoreAllMocks();
});

test('where WebAssembly has no SIMD or no shared memory, auto goes on to the next backend and says why', async () => {
  const { name, notes } = await startBackend();
  expect(['tensorflow', 'cpu']).toContain(name);
  if (name === 'cpu')
    expect(notes.join('\n')).toMatch(/^simd: this version of Node, or this browser, runs no SIMD WebAssembly on shared memory$/m);
  await expect(startBackend({ backend: 'simd' })).rejects.toThrow(/no SIMD WebAssembly/);
});
