import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { distance } from '../../src/siblings/distance.js';

interface Case {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly ratio: number;
}
const { cases } = JSON.parse(readFileSync(join(__dirname, 'fixtures/difflib.json'), 'utf8')) as { cases: Case[] };

test("distance is 1 - the ratio of Python's difflib without its junk heuristic", () => {
  expect(cases.length).toBeGreaterThan(100);
  for (const { a, b, ratio } of cases) expect(distance(a, b), JSON.stringify({ a, b })).toBeCloseTo(1 - ratio, 12);
});

const tokens = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 25 });

test('distance is 0 exactly for equal sequences, and between 0 and 1', () => {
  fc.assert(
    fc.property(tokens, tokens, (a, b) => {
      const d = distance(a, b);
      expect(d).toBeGreaterThanOrEqual(0);
      expect(d).toBeLessThanOrEqual(1);
      expect(d === 0).toBe(a.join() === b.join());
      expect(distance(a, a)).toBe(0);
    }),
  );
});
