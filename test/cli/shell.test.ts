/** What is printed to be run is one command with the arguments that were meant, whatever is in them. */
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shellCommand } from '../../src/cli/shell.js';

test('plain arguments stay as they are', () => {
  expect(shellCommand('evolve', '--name', 'seed-1', '--rounds', 2)).toBe('npx search-e1 evolve --name seed-1 --rounds 2');
});

test.skipIf(process.platform === 'win32')('a shell takes every argument back as it was given', () => {
  const taken = (args: readonly string[]): string[] => {
    const command = shellCommand(...args).replace('npx search-e1', "printf '%s\\0'");
    return execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8' }).split('\0').slice(0, -1);
  };
  const hostile = ['runs/my run', "it's", '$(id)', '`id`', 'a;b', '*', '~', '"', '\\', '', '#', 'Größe', '!x', 'a\nb', '{a,b}', '>x'];
  expect(taken(hostile)).toEqual(hostile);
  const text = fc.string({ unit: 'binary-ascii' }).filter((each) => !each.includes('\0'));
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), (args) => {
      expect(taken(args)).toEqual(args);
    }),
    { numRuns: 40 },
  );
});
