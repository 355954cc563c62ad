/** Names of stages, and one way from a run's seed to every draw. */
import { expect, test } from 'vitest';
import { type Drawn, isCheckpointName, stageSeed, stagesOf, stepCheckpoint } from '../../src/evolution/stages.js';

test('a run of two rounds is the base policy and two stages a round', () => {
  expect(stagesOf(2)).toEqual([
    { name: '0-base', kind: 'base', round: 0 },
    { name: '1-grpo', kind: 'grpo', round: 1 },
    { name: '1-ofsd', kind: 'ofsd', round: 1 },
    { name: '2-grpo', kind: 'grpo', round: 2 },
    { name: '2-ofsd', kind: 'ofsd', round: 2 },
  ]);
});

test.each([-1, 1.5, Number.NaN, '2'])('there is no run of %o rounds', (rounds) => {
  expect(() => stagesOf(rounds as number)).toThrow(/^stagesOf: rounds: expected a whole number from 0, got /);
});

test('folders of stages and steps are known by their names, and no others', () => {
  for (const { name } of stagesOf(12)) expect([name, stepCheckpoint(name, 31)].map(isCheckpointName)).toEqual([true, true]);
  for (const name of ['base', 'x1-grpo', '1-sft', '1-grpo-step-', '1-grpo-step-2x', '1-grpo.bak', 'mine'])
    expect(isCheckpointName(name)).toBe(false);
});

test('every part of a run has a seed of its own, the same whenever it is asked for', () => {
  const parts: Drawn[] = ['evaluation', ...[1, 2, 3].flatMap((round): Drawn[] => [`${round}-grpo`, `${round}-pairs`, `${round}-ofsd`])];
  const seeds = [0, 1, 2, 2 ** 53 - 1].flatMap((seed) => parts.map((part) => stageSeed(seed, part)));
  expect(new Set(seeds).size).toBe(seeds.length);
  for (const seed of seeds) expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31).toBe(true);
  expect(stageSeed(1, '1-grpo')).toBe(stageSeed(1, '1-grpo'));
});

test.each([-1, 0.5, Number.NaN, 2 ** 53, '1'])('a seed of %s is refused', (seed) => {
  expect(() => stageSeed(seed as number, '1-grpo')).toThrow(/seed: expected an integer from 0 to 9007199254740991, got/);
});

test.each(['grpo', '0-grpo', '1-siblings', '1-grpo-step-2', 'x1-grpo', 'evaluations', 'an evaluation', '1-base'])(
  'a part called %s is refused',
  (name) => {
    expect(() => stageSeed(1, name as Drawn)).toThrow(`got '${name}'`);
  },
);
