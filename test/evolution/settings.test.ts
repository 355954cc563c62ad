/** The door of a run: every setting is honoured or refused. */
import { describe, expect, test } from 'vitest';
import { checkTrainingQuestions, decideGate, type MadePairs } from '../../src/evolution/pairs.js';
import { checkEvolutionSettings, classroomEvolution, type EvolutionSettings } from '../../src/evolution/settings.js';
import type { Pair } from '../../src/siblings/siblings.js';
import { tinyQuestions } from '../rollout/tiny-policy.js';
import { tinyEvolution } from './tiny-run.js';

const { grpo, siblings, ofsd } = classroomEvolution;

test('the classroom’s settings are let in, with a gate and without', () => {
  checkEvolutionSettings(classroomEvolution);
  checkEvolutionSettings(tinyEvolution);
  checkEvolutionSettings({
    ...classroomEvolution,
    rounds: 1,
    seed: 0,
    gate: null,
    siblings: { questions: 1, attempts: 2, prefer: 'correct' },
  });
  checkEvolutionSettings({
    ...classroomEvolution,
    siblings: { ...siblings, prefer: 'only-correct' },
    ofsd: { ...ofsd, privileged: 'none' },
  });
  checkEvolutionSettings({
    ...classroomEvolution,
    ofsd: { ...ofsd, clamp: Number.POSITIVE_INFINITY, warmUpSteps: 0, epochs: 1, batchSize: 1, rank: 1 },
  });
  checkEvolutionSettings({ ...classroomEvolution, ofsd: { ...ofsd, optimizer: { ...ofsd.optimizer, learningRate: 0 } } });
});

test.each<[Record<string, unknown>, string]>([
  [{ rounds: 0 }, 'rounds: expected an integer of at least 1, got 0'],
  [{ rounds: 1.5 }, 'rounds: expected an integer of at least 1, got 1.5'],
  [{ seed: -1 }, 'seed: expected an integer of at least 0, got -1'],
  [{ seed: 2 ** 60 }, 'seed: expected an integer'],
  [{ grpo: { ...grpo, seed: 7 } }, 'grpo.seed: a run has one seed, and its stages draw from that; leave grpo.seed out, got 7'],
  [{ ofsd: { ...ofsd, seed: 7 } }, 'ofsd.seed: a run has one seed'],
  [{ siblings: { ...siblings, attempts: 1 } }, 'siblings.attempts: expected an integer of at least 2, got 1'],
  [{ siblings: { ...siblings, questions: 0 } }, 'siblings.questions: expected an integer of at least 1, got 0'],
  [{ siblings: { ...siblings, prefer: 'right' } }, `siblings.prefer: expected 'wrong', 'correct' or 'only-correct', got "right"`],
  [{ gate: {} }, 'gate.teacherGain: expected a finite number, got undefined; gate: null distils always'],
  [{ gate: undefined }, 'gate.teacherGain: expected a finite number'],
  [{ gate: { teacherGain: 0, searchGap: Number.NaN } }, 'gate.searchGap: expected a finite number, got NaN'],
  [{ ofsd: { ...ofsd, clamp: 0 } }, 'ofsd.clamp: expected nats above 0, or Infinity for none, got 0'],
  [{ ofsd: { ...ofsd, clamp: Number.NaN } }, 'ofsd.clamp'],
  [{ ofsd: { ...ofsd, rank: 0 } }, 'ofsd.rank: expected an integer of at least 1, got 0'],
  [{ ofsd: { ...ofsd, epochs: 0.5 } }, 'ofsd.epochs: expected an integer of at least 1, got 0.5'],
  [{ ofsd: { ...ofsd, batchSize: 0 } }, 'ofsd.batchSize: expected'],
  [{ ofsd: { ...ofsd, warmUpSteps: -1 } }, 'ofsd.warmUpSteps: expected an integer of at least 0, got -1'],
  [{ ofsd: { ...ofsd, alpha: 0 } }, 'ofsd.alpha: expected a number above 0, got 0'],
  [{ ofsd: { ...ofsd, alpha: Number.POSITIVE_INFINITY } }, 'ofsd.alpha'],
  [{ ofsd: { ...ofsd, privileged: 'answer' } }, `ofsd.privileged: expected 'reference' or 'none', got "answer"`],
  [{ ofsd: { ...ofsd, optimizer: { learningRate: -1 } } }, 'ofsd.optimizer.learningRate: expected a number of at least 0, got -1'],
  [{ ofsd: { ...ofsd, optimizer: { learningRate: Number.POSITIVE_INFINITY } } }, 'ofsd.optimizer.learningRate'],
  [{ ofsd: { ...ofsd, optimizer: undefined } }, 'ofsd.optimizer.learningRate'],
])('%j is refused', (change, message) => {
  expect(() => checkEvolutionSettings({ ...classroomEvolution, ...change } as EvolutionSettings)).toThrow(message);
});

test('more questions than there are cannot be attempted each once', () => {
  checkTrainingQuestions({ questions: 6 }, tinyQuestions);
  expect(() => checkTrainingQuestions({ questions: 7 }, tinyQuestions)).toThrow('there are 6 training questions, got 7');
});

describe('the gate', () => {
  /** Four pairs whose students searched `gap` times more than their references, all together. */
  const made = (gap: number, student: number, teacher: number): MadePairs => ({
    pairing: {
      pairs: Array.from({ length: 4 }, () => ({}) as Pair),
      skipped: { 'no correct attempt': 0, 'nothing different': 0 },
      searchGap: gap,
    },
    teacher: { questions: 4, student, teacher },
  });
  const gate = { teacherGain: 0.25, searchGap: 0.5 };

  test('opens where the teacher gains and the students search more than their references, both by more than is asked', () => {
    expect(decideGate(made(3, 0.25, 0.75), gate)).toEqual({
      open: true,
      searchGap: 0.75,
      teacherGain: 0.5,
      reason: "the teacher's exact match is 0.750, its student's 0.250; students search 0.750 times a pair more than their references",
    });
  });

  test('is shut at the bound itself and below, and says what it measured', () => {
    expect(decideGate(made(3, 0.5, 0.75), gate)).toMatchObject({
      open: false,
      reason: "the teacher's exact match is 0.750, its student's 0.500: the difference is not above 0.25",
    });
    expect(decideGate(made(2, 0.25, 0.75), gate)).toMatchObject({
      open: false,
      reason: 'students search 0.500 times a pair more than their references: that is not above 0.5',
    });
    expect(decideGate(made(8, 0.5, 0), classroomEvolution.gate)).toMatchObject({ open: false, teacherGain: -0.5 });
    expect(decideGate(made(-4, 0, 1), classroomEvolution.gate)).toMatchObject({ open: false, searchGap: -1 });
  });

  test('of the classroom lets two measured rounds through that helped and shuts out two that harmed (Tinypedia 2: seed, GRPO rate, gain and gap)', () => {
    const open = (student: number, teacher: number, gap: number) =>
      decideGate(made(4 * gap, student, teacher), classroomEvolution.gate).open;
    expect(open(0.596, 0.872, -0.418)).toBe(true); // seed 11, 1e-4: greedy .530 -> .554, searches 2.91 -> 1.84
    expect(open(0.608, 0.892, -0.46)).toBe(true); // seed 12, 1e-4: .540 -> .553, 2.67 -> 1.82
    expect(open(0.655, 0.889, -0.215)).toBe(false); // seed 11, 4e-4, step 8: .506 -> .460
    expect(open(0.714, 0.858, 0.214)).toBe(false); // seed 12, 4e-4: .520 -> .457
  });

  test('that is not set is open, but nothing is distilled from no pair', () => {
    expect(decideGate(made(-9, 1, 0), null)).toEqual({ open: true, searchGap: -2.25, teacherGain: -1, reason: 'no gate is set' });
    const { pairing, teacher } = made(0, 0, 0);
    const empty = { ...pairing, pairs: [] };
    for (const set of [null, gate])
      for (const none of [
        { pairing: empty, teacher: null },
        { pairing: empty, teacher },
        { pairing, teacher: null },
      ])
        expect(decideGate(none, set)).toEqual({ open: false, searchGap: null, teacherGain: null, reason: 'no pairs' });
  });
});
