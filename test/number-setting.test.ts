import { expect, test } from 'vitest';
import { checkChoice, checkNumber, shown } from '../src/number-setting.js';

test.each([
  [0, { min: 0 }],
  [1, { max: 1 }],
  [0.5, { above: 0, below: 1 }],
  [3, { integer: true, min: 3, max: 3 }],
  [-1e9, {}],
] as const)('%d is within %j', (value, range) => {
  expect(() => checkNumber('rate', value, range)).not.toThrow();
});

test.each([
  [-1, { min: 0 }, 'rate: expected a number from 0, got -1'],
  [2, { max: 1 }, 'rate: expected a number to 1, got 2'],
  [0, { above: 0 }, 'rate: expected a number above 0, got 0'],
  [1, { min: 0, below: 1 }, 'rate: expected a number from 0 below 1, got 1'],
  [1.5, { integer: true, min: 1 }, 'rate: expected a whole number from 1, got 1.5'],
  [Number.NaN, {}, 'rate: expected a number, got NaN'],
  [Number.POSITIVE_INFINITY, { min: 0 }, 'rate: expected a number from 0, got Infinity'],
] as const)('%d is out of range of %j', (value, range, message) => {
  expect(() => checkNumber('rate', value, range)).toThrow(new RangeError(message));
});

test('what is no number is of the wrong type, and named in short', () => {
  expect(() => checkNumber('rate', 'a', { min: 0 })).toThrow(new TypeError('rate: expected a number from 0, got "a"'));
  expect(() => checkNumber('rate', undefined)).toThrow(new TypeError('rate: expected a number, got undefined'));
  expect([null, [1, 2], { a: 1 }, Object.create(null), () => 1, true, 10n].map(shown)).toEqual([
    'null',
    'an array of 2',
    'a Object',
    'a bare object',
    'a function',
    'true',
    '10',
  ]);
  expect(shown('x'.repeat(50))).toBe(`"${'x'.repeat(40)}…"`);
  expect(shown('x'.repeat(40))).toBe(`"${'x'.repeat(40)}"`);
});

test('a choice is one of those there are', () => {
  expect(() => checkChoice('deviation', 'sample', ['sample', 'none'])).not.toThrow();
  expect(() => checkChoice('deviation', 'all', ['sample', 'none'])).toThrow(
    new TypeError(`deviation: expected 'sample' or 'none', got "all"`),
  );
});
