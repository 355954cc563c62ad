/** Batches as GRPO makes them, for properties. */
import fc from 'fast-check';
import type { Scored } from '../../src/engines/engine.js';
import { random } from '../../src/random.js';

/** Groups of siblings: each goes its own way from some token of one before it on, or begins anew. */
export const batches = fc
  .record({
    seed: fc.nat(1000),
    siblings: fc.array(fc.record({ length: fc.integer({ min: 2, max: 60 }), parting: fc.nat(60), from: fc.nat(20) }), {
      minLength: 1,
      maxLength: 7,
    }),
  })
  .map(({ seed, siblings }) => {
    const source = random(seed, 'siblings');
    const data: Scored[] = [];
    for (const { length, parting, from } of siblings) {
      const other = data[from % (data.length + 1)]; // undefined: begins anew
      const common = other?.tokens.slice(0, Math.min(parting, length)) ?? [];
      const tokens = [...common, ...Array.from({ length: length - common.length }, () => source.integer(256))];
      const scored = tokens.flatMap((_, t) => (t > 0 && source.uniform() < 0.4 ? [t] : []));
      data.push({ tokens, scored: scored.length ? scored : [tokens.length - 1] });
    }
    return data;
  });
