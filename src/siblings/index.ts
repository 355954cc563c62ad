/**
 * Siblings: among a policy's own attempts at a question, the correct one with the fewest searches is the reference, the most different other one the student.
 *
 * @module
 */
export { distance } from './distance.js';
export { choosePair, type NoPair, type Pair, type Pairing, pairSiblings, type SiblingOptions } from './siblings.js';
