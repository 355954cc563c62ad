/**
 * Seeded randomness: the only source of chance in the project.
 *
 * A generator is named by a seed and a path of keys, so that the draw for "GRPO step 3, question 7, sibling 2" is the same
 * whatever else was drawn before it, in whatever order and batch. xoroshiro128+ from pure-rand underneath.
 */

import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { described } from './arguments.js';

/** Seeded chance: a generator, and others below it by name. */
export interface Random {
  /** Uniform in [0, 1), 24 bits: every value is exact in float32. */
  uniform(): number;
  /** Uniform integer in [0, `bound`). */
  integer(bound: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** One element, uniformly. */
  pick<T>(items: readonly T[]): T;
  /** A shuffled copy (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[];
  /** An independent generator for a named part of the work; does not advance this one. */
  fork(...keys: readonly (string | number)[]): Random;
}

/**
 * A generator for `seed`, an integer, and any path of keys below it.
 *
 * @example
 * ```ts
 * import { random } from 'search-e1';
 *
 * const draw = random(7, 'GRPO', 3); // of seed 7, the third step's
 * draw.uniform() === random(7, 'GRPO', 3).uniform(); // true
 * draw.integer(6) < 6; // true
 * ```
 */
export function random(seed: number, ...keys: readonly (string | number)[]): Random {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`random: expected an integer as the seed, got ${described(seed)}`);
  const generator = xoroshiro128plus(hash(seed, keys));
  const uniform = () => (generator.next() >>> 8) / 0x1000000;
  const integer = (bound: number) => {
    if (!Number.isInteger(bound) || bound < 1) throw new RangeError(`integer(bound): expected a positive integer, got ${bound}`);
    return uniformInt(generator, 0, bound - 1);
  };
  return {
    uniform,
    integer,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    pick: (items) => items[integer(items.length)],
    shuffle: (items) => {
      const copy = [...items];
      for (let i = copy.length - 1; i > 0; i--) {
        const j = integer(i + 1);
        [copy[i], copy[j]] = [copy[j], copy[i]];
      }
      return copy;
    },
    fork: (...more) => random(seed, ...keys, ...more),
  };
}

/** FNV-1a over the seed and the keys, finished as in murmur3 so that neighbouring seeds share no bits. */
function hash(seed: number, keys: readonly (string | number)[]): number {
  let h = 0x811c9dc5;
  for (const char of JSON.stringify([seed, ...keys])) {
    h = Math.imul(h ^ (char.codePointAt(0) ?? 0), 0x01000193);
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}
