/** Four sets of tests, from fast to slow; `npm test` runs them all, `npm run test:unit` the first. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const slow = {
  notebooks: 'test/notebooks/**/*.test.ts',
  commands: 'test/{cli/**/*,bench/command}.test.ts',
  package: 'test/package/**/*.test.ts',
};
const project = (name: string, include: string[], minutes: number, exclude: string[] = []) => ({
  extends: true as const,
  test: { name, include, exclude, testTimeout: minutes * 60_000, hookTimeout: minutes * 60_000 },
});

export default defineConfig({
  // TensorFlow.js's own tests of its operations: written for jasmine, in ES modules without file extensions.
  resolve: { alias: [{ find: /^\.\.\/jasmine_util$/, replacement: join(__dirname, 'test/tensors/simd/jasmine.ts') }] },
  test: {
    environment: 'node',
    server: { deps: { inline: [/tfjs-core\/dist\/(?!tf-core)/] } },
    globalSetup: './test/swiftshader.ts',
    pool: 'forks', // native addons (zeromq) and worker threads inside the tests want a process of their own
    maxWorkers: Math.min(availableParallelism(), 8),
    projects: [
      project('unit', ['test/**/*.test.ts'], 1, Object.values(slow)),
      project('commands', [slow.commands], 5),
      project('notebooks', [slow.notebooks], 8),
      project('package', [slow.package], 5),
    ],
  },
});
