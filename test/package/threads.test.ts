/** The built package starts its worker threads without a file of their own, and they keep no process alive. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test.each([
  ['commonjs', "const { startBackend, measureMatMul } = require('search-e1/tensors');"],
  ['module', "import { startBackend, measureMatMul } from 'search-e1/tensors';"],
])('a %s program with three threads multiplies and ends by itself', (type, opening) => {
  const program = `${opening}
    startBackend({ backend: 'simd', threads: 3 }).then(async ({ description }) => {
      console.log(description, (await measureMatMul(256)) > 0);
      setTimeout(() => undefined, 1000); // a thread that fails would warn
    });`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [`--input-type=${type}`, '-e', program], {
    cwd: join(__dirname, '../..'),
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(stderr).toBe('');
  expect(stdout).toMatch(/3 threads true/);
  expect(status).toBe(0);
});
