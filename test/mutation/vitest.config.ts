/** The tests that `run.mjs` holds a folder's mutants to. */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: join(__dirname, '..', '..'),
  test: {
    environment: 'node',
    include: [`test/${process.env.SEARCH_E1_MUTATED_FOLDER}/**/*.test.ts`],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
