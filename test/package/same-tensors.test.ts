/** The TensorFlow.js of `search-e1/tensors` is the one that the package computes with, by either module system. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test.each([
  ['commonjs', "const { startBackend, tf } = require('search-e1/tensors'); const core = require('@tensorflow/tfjs-core');"],
  ['module', "import { startBackend, tf } from 'search-e1/tensors'; import * as core from '@tensorflow/tfjs-core';"],
])('of a %s program', (type, opening) => {
  const program = `${opening}
    startBackend({ backend: 'simd', threads: 1 }).then(() => console.log(tf.getBackend(), tf.engine() === core.engine(), tf.add(1, 2).dataSync()[0]));`;
  const { stdout, stderr } = spawnSync(process.execPath, [`--input-type=${type}`, '-e', program], {
    cwd: join(__dirname, '../..'),
    encoding: 'utf8',
  });
  expect([stderr, stdout]).toEqual(['', 'simd true 3\n']);
});
