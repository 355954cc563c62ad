/**
 * A run on a disk: written whole, resumed to the same numbers, checked by its sums, one owner at a time.
 *
 * @module
 */
export { policySum } from './checksums.js';
export { type OpenRunOptions, RunFolder, type RunState } from './run-folder.js';
