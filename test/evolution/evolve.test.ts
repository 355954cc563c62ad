/** Two rounds of the loop on a tiny policy: what every stage draws, reads, trains and leaves. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Engine, Loss, Snapshot } from '../../src/engines/engine.js';
import { type EvolutionEvent, evolve } from '../../src/evolution/evolve.js';
import { makePairs } from '../../src/evolution/pairs.js';
import type { EvolutionSettings } from '../../src/evolution/settings.js';
import { stageSeed } from '../../src/evolution/stages.js';
import { grpo } from '../../src/grpo/grpo.js';
import type { GrpoDatum } from '../../src/grpo/loss.js';
import { ofsd } from '../../src/ofsd/ofsd.js';
import { RunFolder } from '../../src/runs/run-folder.js';
import { startBackend } from '../../src/tensors/backend.js';
import { taughtEngine, tinyEnvironment, tinyQuestions, weightsOf } from '../rollout/tiny-policy.js';
import { tinyEvolution } from './tiny-run.js';

const settings: EvolutionSettings = {
  ...tinyEvolution,
  rounds: 2,
  grpo: { ...tinyEvolution.grpo, steps: 2, temperature: 0.8, beta: 0.1 },
  siblings: { questions: 5, attempts: 6, prefer: 'wrong' },
  ofsd: { ...tinyEvolution.ofsd, rank: 4, alpha: 12, epochs: 1 },
};

type Event<K extends EvolutionEvent['kind']> = Extract<EvolutionEvent, { kind: K }>;

/** What an engine was asked to do, in order, each with the stage that it was in. */
async function spied(change: Partial<EvolutionSettings> = {}, evaluation = tinyQuestions.slice(0, 3)) {
  const engine = await taughtEngine();
  let stage = '';
  const asked: { stage: string; what: string; temperature?: number; seed?: number; rank?: number; alpha?: number }[] = [];
  const references: { stage: string; told: readonly number[]; own: readonly number[]; atStart: readonly number[] }[] = [];
  let start: Snapshot | undefined;
  const spy: Engine = {
    ...engine,
    sample(prompts, options) {
      asked.push({ stage, what: 'sample', temperature: options.temperature, seed: options.seed });
      return engine.sample(prompts, options);
    },
    resetOptimizer() {
      asked.push({ stage, what: 'reset' });
      engine.resetOptimizer();
    },
    addAdapter(options) {
      asked.push({ stage, what: 'adapter', ...options });
      engine.addAdapter(options);
    },
    async forwardBackward(loss: Loss, options) {
      asked.push({ stage, what: loss.name });
      if (loss.name === 'grpo') {
        const data = loss.data as readonly GrpoDatum[];
        const atStart = await engine.forward(data, start, settings.grpo.temperature);
        references.push({
          stage,
          told: data.flatMap(({ referenceLogProbs }) => Array.from(referenceLogProbs ?? [])),
          own: data.flatMap(({ oldLogProbs }) => Array.from(oldLogProbs ?? [])),
          atStart: atStart.flatMap((values) => [...values]),
        });
      }
      return engine.forwardBackward(loss, options);
    },
  };
  const events: EvolutionEvent[] = [];
  await evolve(
    spy,
    tinyEnvironment,
    tinyQuestions,
    { ...settings, ...change },
    {
      evaluation,
      onEvent(event) {
        events.push(event);
        if (event.kind !== 'stage') return;
        stage = event.stage;
        start?.dispose();
        start = engine.snapshot();
      },
    },
  );
  start?.dispose();
  const of = <K extends EvolutionEvent['kind']>(kind: K) => events.filter((event): event is Event<K> => event.kind === kind);
  return { engine, asked, references, events, of };
}

beforeAll(async () => {
  await startBackend({ backend: 'simd' });
});

describe('two rounds', () => {
  let run: Awaited<ReturnType<typeof spied>>;
  // Once, within the first test: what fails before any of them fails none, for who counts mutants.
  beforeEach(async () => {
    run ??= await spied();
  });
  afterAll(() => run.engine.dispose());

  test('go through their stages in order, and each is evaluated: greedily, and sampled at temperature 1 on the same draws', () => {
    const stages = ['0-base', '1-grpo', '1-ofsd', '2-grpo', '2-ofsd'];
    expect(run.of('stage').map(({ stage }) => stage)).toEqual(stages);
    expect(run.of('evaluation').map(({ stage }) => stage)).toEqual(stages);
    for (const stage of stages) {
      const samples = run.asked.filter((each) => each.stage === stage && each.what === 'sample').slice(-2);
      expect(samples.map(({ temperature }) => temperature)).toEqual([0, 1]);
      expect(samples[1].seed).toBe(stageSeed(settings.seed, 'evaluation'));
    }
    for (const { evaluation } of run.of('evaluation'))
      for (const records of [evaluation.greedy, evaluation.sampled])
        expect(records.map(({ questionId }) => questionId)).toEqual(['q0', 'q1', 'q2']);
  });

  test('sample rollouts, siblings and the teacher check at GRPO’s temperature, and nothing twice from one seed', () => {
    const trained = run.asked.filter(({ what, stage }) => what === 'sample' && stage !== '0-base');
    const own = ['1-grpo', '1-ofsd', '2-grpo', '2-ofsd'].map((stage) => trained.filter((each) => each.stage === stage).slice(0, -2));
    expect(own.map((samples) => samples.length)).toEqual([2, 3, 2, 3]); // steps; attempts, student, teacher
    for (const { temperature } of own.flat()) expect(temperature).toBe(0.8);
    for (const [, student, teacher] of [own[1], own[3]]) expect(student.seed).toBe(teacher.seed);
    const seeds = own.flatMap((samples, i) => (i % 2 ? samples.slice(0, 2) : samples)).map(({ seed }) => seed);
    expect(new Set(seeds).size).toBe(8);
  });

  test('ask other questions in other rounds', () => {
    const questions = (stage: string) =>
      run
        .of('grpo')
        .filter((event) => event.stage === stage)
        .map(({ groups }) => groups.map(({ question }) => question.id).join());
    expect(questions('1-grpo')).not.toEqual(questions('2-grpo'));
  });

  test('compare GRPO with the policy that its stage began with, in both rounds and through all its steps', () => {
    for (const stage of ['1-grpo', '2-grpo']) {
      const mine = run.references.filter((each) => each.stage === stage);
      expect(mine.length).toBeGreaterThan(2);
      for (const { told, atStart } of mine) {
        expect(told.length).toBeGreaterThan(0);
        for (const [i, p] of told.entries()) expect(Math.abs(p - atStart[i])).toBeLessThan(1e-4);
      }
      const { told, own } = mine[mine.length - 1];
      expect(told.some((p, i) => Math.abs(p - own[i]) > 1e-3)).toBe(true); // the policy has moved on from it
    }
  });

  test('forget the optimiser before each stage, and begin each adapter with its own draw, at the rank and alpha that are set', () => {
    for (const stage of ['1-grpo', '2-grpo']) {
      const mine = run.asked.filter((each) => each.stage === stage);
      expect(mine.findIndex(({ what }) => what === 'reset')).toBe(0);
    }
    expect(run.asked.filter(({ what }) => what === 'adapter')).toMatchObject([
      { stage: '1-ofsd', rank: 4, alpha: 12, seed: stageSeed(settings.seed, '1-ofsd') },
      { stage: '2-ofsd', rank: 4, alpha: 12, seed: stageSeed(settings.seed, '2-ofsd') },
    ]);
  });

  test('prefer wrong students where there are any', () => {
    for (const { pairing, gate } of run.of('pairs')) {
      expect(pairing.pairs.length).toBeGreaterThan(0);
      expect(pairing.pairs.some(({ student }) => student.reward === 0)).toBe(true);
      expect(gate).toMatchObject({ open: true, searchGap: pairing.searchGap / pairing.pairs.length });
    }
  });

  test('say how far they are: episodes of every stage, steps of their totals', () => {
    for (const stage of run.of('stage').map(({ stage }) => stage)) {
      const rollouts = run.of('rollouts').filter((event) => event.stage === stage);
      expect(rollouts.some(({ finished, total }) => finished === total)).toBe(true);
    }
    expect(run.of('rollouts').find(({ stage }) => stage === '1-ofsd')?.total).toBe(5 * 6);
    expect(run.of('grpo').map(({ stage, metrics, total }) => [stage, metrics.step, total])).toEqual(
      ['1-grpo', '2-grpo'].flatMap((stage) => [1, 2].map((step) => [stage, step, 2])),
    );
    const steps = run.of('ofsd').filter(({ stage }) => stage === '1-ofsd');
    expect(steps.map(({ metrics }) => metrics.step)).toEqual(Array.from({ length: steps[0].total }, (_, i) => i + 1));
  });

  test('are what their parts are when called one by one with stageSeed, bit for bit', async () => {
    const engine = await taughtEngine();
    try {
      for (const round of [1, 2]) {
        engine.resetOptimizer();
        await grpo(engine, tinyEnvironment, tinyQuestions, { ...settings.grpo, seed: stageSeed(settings.seed, `${round}-grpo`) });
        const { pairing } = await makePairs(engine, tinyEnvironment, tinyQuestions, settings.siblings, {
          seed: stageSeed(settings.seed, `${round}-pairs`),
          temperature: settings.grpo.temperature,
        });
        const seed = stageSeed(settings.seed, `${round}-ofsd`);
        await ofsd(engine, tinyEnvironment.protocol, pairing.pairs, { ...settings.ofsd, seed });
      }
      expect(await weightsOf(engine)).toEqual(await weightsOf(run.engine));
    } finally {
      engine.dispose();
    }
  });
});

test('a gate that is shut distils nothing, says why, and the loop goes on from GRPO’s policy with a fresh optimiser', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
  const shut = { ...settings, gate: { teacherGain: 1, searchGap: 0 } };
  const engine = await taughtEngine();
  const alone = await taughtEngine();
  try {
    const run = await RunFolder.open(join(folder, 'run'), shut);
    const events: EvolutionEvent[] = [];
    await evolve(engine, tinyEnvironment, tinyQuestions, shut, { run, onEvent: (event) => void events.push(event) });
    expect(events.filter(({ kind }) => kind === 'ofsd')).toEqual([]);
    const reason = expect.stringContaining('the difference is not above 1');
    expect(events.filter(({ kind }) => kind === 'pairs')).toMatchObject([
      { gate: { open: false, reason } },
      { gate: { open: false, reason } },
    ]);
    expect((await run.metrics()).filter(({ pairs }) => pairs)).toMatchObject([{ gate: { open: false } }, { gate: { open: false } }]);
    expect(run.state.finished).toEqual(['0-base', '1-grpo', '1-ofsd', '2-grpo', '2-ofsd']);
    await alone.load(run.checkpoint('1-grpo'));
    alone.resetOptimizer();
    await grpo(alone, tinyEnvironment, tinyQuestions, { ...settings.grpo, seed: stageSeed(settings.seed, '2-grpo') });
    expect(await weightsOf(engine)).toEqual(await weightsOf(alone));
    await run.close();
  } finally {
    engine.dispose();
    alone.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('which sibling is preferred, and what the teacher reads, is as set', async () => {
  const rounds = { rounds: 1, grpo: { ...settings.grpo, steps: 1 } };
  const correct = await spied({ ...rounds, siblings: { ...settings.siblings, prefer: 'only-correct' } }, []);
  const [{ pairing }] = correct.of('pairs');
  expect(pairing.pairs.length).toBeGreaterThan(0);
  expect(pairing.pairs.every(({ student }) => student.reward === 1)).toBe(true);
  correct.engine.dispose();
  const none = await spied({ ...rounds, ofsd: { ...settings.ofsd, privileged: 'none' } }, []);
  const [{ teacher }] = none.of('pairs');
  expect(teacher?.teacher).toBe(teacher?.student); // it is its student
  expect(Math.abs(none.of('ofsd')[0].metrics.kl_unclamped)).toBeLessThan(1e-6);
  none.engine.dispose();
});

test('without a pull towards the reference none is kept', async () => {
  for (const [beta, kept] of [
    [0, 0],
    [0.1, 1],
  ]) {
    const engine = await taughtEngine();
    let snapshots = 0;
    const spy: Engine = {
      ...engine,
      snapshot() {
        snapshots++;
        return engine.snapshot();
      },
    };
    await evolve(spy, tinyEnvironment, tinyQuestions, { ...settings, rounds: 1, grpo: { ...settings.grpo, steps: 1, beta } });
    expect(snapshots, `beta ${beta}`).toBe(kept);
    engine.dispose();
  }
});

test('an abort ends a run where it is: between stages, in the attempts, in self-distillation and in an evaluation', async () => {
  const at: [string, (event: EvolutionEvent) => boolean][] = [
    ['after a stage', ({ kind, stage }) => kind === 'evaluation' && stage === '0-base'],
    ['in attempts', ({ kind, stage }) => kind === 'rollouts' && stage === '1-ofsd'],
    ['in self-distillation', ({ kind }) => kind === 'ofsd'],
    ['in an evaluation', ({ kind, stage }) => kind === 'rollouts' && stage === '0-base'],
  ];
  for (const [where, is] of at) {
    const engine = await taughtEngine();
    const abort = new AbortController();
    const after: string[] = [];
    const onEvent = (event: EvolutionEvent) => {
      if (abort.signal.aborted) after.push(`${event.kind} ${event.stage}`);
      else if (is(event)) abort.abort(new Error('enough'));
    };
    const rounds = { ...settings, rounds: 1 };
    const options = { evaluation: tinyQuestions.slice(0, 3), signal: abort.signal, onEvent };
    await expect(evolve(engine, tinyEnvironment, tinyQuestions, rounds, options), where).rejects.toThrow('enough');
    expect(
      after.filter((event) => !event.startsWith('rollouts')),
      where,
    ).toEqual([]);
    engine.dispose();
  }
});

test('settings that cannot be meant, and more siblings than questions, are refused before anything is computed', async () => {
  const engine = {} as Engine;
  const refused = (change: Partial<EvolutionSettings>) => evolve(engine, tinyEnvironment, tinyQuestions, { ...settings, ...change });
  await expect(refused({ rounds: 0 })).rejects.toThrow(/rounds: expected/);
  await expect(refused({ siblings: { ...settings.siblings, questions: 5000 } })).rejects.toThrow(
    'there are 6 training questions, got 5000',
  );
  const pairs = (change: object, temperature?: number) =>
    makePairs(engine, tinyEnvironment, tinyQuestions, { ...settings.siblings, ...change }, { seed: 1, temperature });
  await expect(pairs({ questions: 7 })).rejects.toThrow('there are 6 training questions, got 7');
  await expect(pairs({ attempts: 1 })).rejects.toThrow(/siblings.attempts: expected/);
  await expect(pairs({}, 0)).rejects.toThrow('siblings are sampled at a temperature above 0, got 0');
});
