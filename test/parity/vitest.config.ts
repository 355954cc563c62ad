/** The comparisons with Python, which `npm run test:parity` runs: apart from the tests, as they need an environment of some gigabytes. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: __dirname,
    include: ['**/*.parity.ts'],
    environment: 'node',
    pool: 'forks',
    maxWorkers: 1, // Python takes the cores in between
    testTimeout: 15 * 60_000,
    hookTimeout: 15 * 60_000,
  },
});
