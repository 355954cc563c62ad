/** What GRPO refuses to be told. */
import { expect, test } from 'vitest';
import { checkGrpoSettings, classroomGrpo } from '../../src/grpo/settings.js';

test('the classroom is told what GRPO takes', () => {
  expect(() => checkGrpoSettings(classroomGrpo)).not.toThrow();
});

test('the least of everything is taken', () => {
  const least = { steps: 0, questionsPerStep: 1, groupSize: 2, miniBatches: 1, warmUpSteps: 0, seed: -1, beta: 0, clipLow: 0, clipHigh: 0 };
  expect(() => checkGrpoSettings({ ...classroomGrpo, ...least, maxCompletionLength: 1, biasCorrectedKl: true })).not.toThrow();
  const { aggregation: _a, deviation: _d, deviationOver: _o, deviationEpsilon: _e, ...required } = classroomGrpo;
  expect(() => checkGrpoSettings(required)).not.toThrow();
});

test.each([
  [{ steps: -1 }, RangeError, /^steps: expected a whole number from 0, got -1$/],
  [{ steps: 1.5 }, RangeError, /^steps: .* got 1.5$/],
  [{ steps: '20' }, TypeError, /^steps: .* got "20"$/],
  [{ questionsPerStep: 0 }, RangeError, /^questionsPerStep: expected a whole number from 1, got 0$/],
  [{ questionsPerStep: 1.5 }, RangeError, /^questionsPerStep/],
  [{ groupSize: 1 }, RangeError, /^groupSize: expected a whole number from 2, got 1$/],
  [{ groupSize: 2.5 }, RangeError, /^groupSize/],
  [{ miniBatches: 0 }, RangeError, /^miniBatches: expected a whole number from 1, got 0$/],
  [{ miniBatches: 1.5 }, RangeError, /^miniBatches/],
  [{ temperature: 0 }, RangeError, /^temperature: expected a number above 0, got 0$/],
  [{ warmUpSteps: -1 }, RangeError, /^warmUpSteps: expected a whole number from 0, got -1$/],
  [{ warmUpSteps: 0.285 }, RangeError, /^warmUpSteps/],
  [{ seed: 0.5 }, RangeError, /^seed: expected a whole number, got 0.5$/],
  [{ seed: undefined }, TypeError, /^seed: expected a whole number, got undefined$/],
  [{ optimizer: { learningRate: -1 } }, RangeError, /^optimizer.learningRate: expected a number from 0, got -1$/],
  [{ optimizer: { learningRate: 'a' } }, TypeError, /^optimizer.learningRate: expected a number from 0, got "a"$/],
  [{ clipLow: -0.2 }, RangeError, /^clipLow/],
  [{ clipHigh: -0.2 }, RangeError, /^clipHigh/],
  [{ beta: Number.NaN }, RangeError, /^beta: expected a number from 0, got NaN$/],
  [{ aggregation: 'dr_grpo' }, TypeError, /^maxCompletionLength/],
  [{ deviation: 'std' }, TypeError, /^deviation/],
])('%j is refused by name', (change, type, message) => {
  const told = () => checkGrpoSettings({ ...classroomGrpo, ...change } as never);
  expect(told).toThrow(type);
  expect(told).toThrow(message);
});

test('a setting that there is not is not passed over', () => {
  for (const name of ['clip', 'learningRate', 'toString'])
    expect(() => checkGrpoSettings({ ...classroomGrpo, [name]: 0.1 } as never)).toThrow(
      new RegExp(`^${name} is no setting of GRPO, which has steps, questionsPerStep, groupSize, .*, optimizer, seed$`),
    );
});
