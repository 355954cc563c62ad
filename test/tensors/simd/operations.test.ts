/** The tests that TensorFlow.js ships for its operations, run on the simd backend: our kernels, and the stock ones over shared memory. */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import '@tensorflow/tfjs'; // its tests write `x.add(y)`; tfjs-core alone has only `tf.add(x, y)`
import './jasmine.js';

/** Of the browser's canvas. */
const BROWSER = /^(to|from)_pixels/;

const operations = join(dirname(createRequire(__filename).resolve('@tensorflow/tfjs-core')), 'ops');
for (const file of readdirSync(operations)) {
  if (file.endsWith('_test.js') && !BROWSER.test(file)) await import(join(operations, file));
}
