/** Every command from end to end, with budgets of seconds. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { selectHalf } from '../../src/benchmarks/split.js';
import { classroomSpelling } from '../../src/cli/ask.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { searchR1Instruction } from '../../src/rollout/search-r1.js';
import { basePolicyFolder } from '../../src/tinypedia/base-policy.js';
import { json, type Run, searchE1 } from './captured.js';
import { writeTinyModel, writeTinyPolicy } from './tiny-policy.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-commands-'));
const at = (...parts: string[]) => join(folder, ...parts);
const tiny = at('tiny');
const lines = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

beforeAll(() => writeTinyPolicy(tiny));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Small enough for a test, large enough that some attempts of the base policy differ in reward. */
const BUDGET = [
  '--runs',
  at('runs'),
  '--rounds',
  1,
  '--grpo-steps',
  3,
  '--questions-per-step',
  4,
  '--group-size',
  3,
  '--sibling-questions',
  12,
  '--attempts',
  4,
  '--eval-questions',
  1,
];

interface Evolved {
  readonly run: string;
  readonly policy: string;
  readonly stages: readonly { readonly stage: string; readonly greedy: { readonly n: number }; readonly sampled: object }[];
  readonly pairs: readonly { readonly pairs: number }[];
}

describe('search-e1 evolve', () => {
  const record = (name: string) => ({
    metrics: lines(at('runs', name, 'metrics.jsonl')).map(({ seconds_sampling: _, seconds_training: __, ...rest }) => rest),
    trajectories: gunzipSync(readFileSync(at('runs', name, 'trajectories.jsonl.gz'))).toString(),
    weights: readFileSync(at('runs', name, 'checkpoints', '1-ofsd', 'model.safetensors')).toString('base64'),
  });

  it('leaves a policy and its whole record, and shows it before and after', async () => {
    // The time left is shown from the third second on, and a budget as small as this may be through by then: the clock runs a hundred times as fast.
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => 100 * now());
    const { code, stdout, stderr } = await searchE1(['evolve', '--name', 'whole', ...BUDGET]).finally(() => clock.mockRestore());
    expect([code, stderr.match(/FAILED.*/)?.[0]]).toEqual([0, undefined]);
    expect(stderr).toMatch(/^backend: /m);
    expect(stderr).toMatch(/step 3 of 3: reward \d\.\d\d/);
    expect(stderr).toMatch(/left$/m);
    expect(stdout).toMatch(/^0-base .*\n1-grpo .*\n1-ofsd /m);
    expect(stdout).toMatch(/^bamboogle-mini +1 .*→.*→/m);
    expect(stdout).toContain(at('runs', 'whole', 'checkpoints', '1-ofsd'));
    expect(record('whole').metrics.filter(({ stage, step }) => stage === '1-grpo' && step)).toHaveLength(3);
  });

  it('stops at Ctrl-C with what it has, says how to go on, and with --resume ends with the very same record', async () => {
    const stopped = await searchE1(['evolve', '--name', 'stopped', ...BUDGET], { interruptAt: /step 1 of 3: reward/ });
    expect([stopped.code, stopped.stdout]).toEqual([130, '']);
    expect(stopped.stderr).toContain(`Go on with: npx search-e1 evolve --name stopped --runs ${at('runs')} --resume`);
    expect(stopped.stderr).not.toMatch(/^\s+at /m);

    const { stages, pairs, policy } = await json<Evolved>(['evolve', '--name', 'stopped', '--runs', at('runs'), '--resume']);
    expect(stages.map(({ stage, greedy }) => [stage, greedy.n])).toEqual(
      [0, 1, 1].map((round, i) => [`${round}-${['base', 'grpo', 'ofsd'][i]}`, 7]),
    );
    expect(pairs[0].pairs).toBeGreaterThan(0); // else self-distillation was not tried at all
    expect(policy).toBe(at('runs', 'stopped', 'checkpoints', '1-ofsd'));
    expect(record('stopped')).toEqual(record('whole'));
  });

  it('has nothing left to do in a finished run, and shows it again', async () => {
    const { run, stages } = await json<Evolved>(['evolve', '--name', 'whole', '--runs', at('runs'), '--resume']);
    expect([run, stages.length]).toEqual([at('runs', 'whole'), 3]);
  });

  it('touches no run that is there without --resume, and resumes with no other settings', async () => {
    const again = await searchE1(['evolve', '--name', 'whole', ...BUDGET]);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('--resume')]);
    const other = await searchE1(['evolve', '--name', 'whole', '--runs', at('runs'), '--resume', '--seed', 2]);
    expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('--seed 2: the run')]);
  });

  it('extends a finished run by rounds, of which the earlier stay as they were, and shortens none', async () => {
    const before = record('whole');
    const extended = await json<Evolved>(['evolve', '--name', 'whole', '--runs', at('runs'), '--resume', '--rounds', 2]);
    expect(extended.stages.map(({ stage }) => stage)).toEqual(['0-base', '1-grpo', '1-ofsd', '2-grpo', '2-ofsd']);
    const after = record('whole');
    expect(after.metrics.slice(0, before.metrics.length)).toEqual(before.metrics);
    expect(after.trajectories.startsWith(before.trajectories)).toBe(true);
    expect(after.weights).toBe(before.weights);
    const fewer = await searchE1(['evolve', '--name', 'whole', '--runs', at('runs'), '--resume', '--rounds', 1]);
    expect([fewer.code, fewer.stderr]).toEqual([2, expect.stringContaining('it can be given more, not fewer')]);
  });

  it('keeps what was asked beside every attempt, and its report', async () => {
    const [first] = record('stopped')
      .trajectories.split('\n')
      .map((line) => line && JSON.parse(line));
    expect(first.question).toMatchObject({ question: expect.stringMatching(/\?$/), golden_answers: [expect.any(String)] });
    expect(readFileSync(at('runs', 'stopped', 'report.txt'), 'utf8')).toMatch(
      /^greedy: exact match [+−]\d+\.\d \(95 %: [+−]\d+\.\d to [+−]\d+\.\d\) points, searches [+−]\d\.\d\d \(95 %/m,
    );
  });

  it('passes over a torn line of sessions.jsonl, and says so', async () => {
    const file = at('runs', 'stopped', 'sessions.jsonl');
    writeFileSync(file, `${readFileSync(file, 'utf8')}{"date":"2026-`);
    const sessions = readFileSync(file, 'utf8').split('\n').length;
    const { code, stderr } = await searchE1(['evolve', '--name', 'stopped', '--runs', at('runs'), '--resume']);
    expect([code, stderr]).toEqual([0, expect.stringContaining(`sessions.jsonl, line ${sessions}, is not whole and is passed over`)]);
    expect(JSON.parse(readFileSync(file, 'utf8').trim().split('\n').pop() as string)).toHaveProperty('backend');
  });

  it('refuses to go on with another policy at the same path', async () => {
    const policy = at('replaced');
    await writeTinyPolicy(policy);
    const args = ['--policy', policy, '--name', 'replaced', '--runs', at('runs')];
    const small = ['--rounds', 1, '--grpo-steps', 1, '--questions-per-step', 1, '--sibling-questions', 1, '--eval-questions', 0];
    expect((await searchE1(['evolve', ...args, ...small])).code).toBe(0);
    const weights = readFileSync(join(policy, 'model.safetensors'));
    weights[weights.length - 1] ^= 1;
    writeFileSync(join(policy, 'model.safetensors'), weights);
    const { code, stderr } = await searchE1(['evolve', ...args, '--resume']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('was begun with another policy')]);
  });

  it('ends with an error where numbers are no longer finite, and keeps the last step that was', async () => {
    const { code, stdout, stderr } = await searchE1(['evolve', '--name', 'wild', ...BUDGET, '--learning-rate', 1e20]);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/is (NaN|-?Infinity), expected a finite number/);
    expect(stderr).toMatch(/wild holds everything up to the last whole step .*begin a run with a lower learning rate/);
    const { checkpoint, finished } = JSON.parse(readFileSync(at('runs', 'wild', 'state.json'), 'utf8'));
    expect(finished).toEqual(['0-base']);
    const kept = await loadPolicy(at('runs', 'wild', 'checkpoints', checkpoint)); // which looks at every number
    kept.dispose();
  });

  it.each([
    [['--sibling-questions', 5000], /--sibling-questions 5000: expected at most 800/],
    [['--seed', '12345678901234567890'], /--seed.*from 0 to 9007199254740991/],
    [['--gate-search-gap', 'much'], /--gate-search-gap.*finite number/],
    [['--gate-teacher-gain', 2], /--gate-teacher-gain.*from -1 to 1/],
    [['--gate-teacher-gain', '-1.5'], /--gate-teacher-gain.*from -1 to 1/],
    ...(process.platform === 'linux' ? [[['--runs', '/proc/foo'], /\/proc\/foo\S* cannot be made.*choose another folder/] as const] : []),
  ] as const)('is refused with %j', async (flags, message) => {
    const { code, stderr } = await searchE1(['evolve', '--name', 'refused', '--rounds', 1, '--eval-questions', 0, ...flags]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });

  it('trains a checkpoint made elsewhere within little memory, and evaluates nothing where nothing is asked', async () => {
    const others = BUDGET.map((value, i) => (BUDGET[i - 1] === '--grpo-steps' ? 1 : BUDGET[i - 1] === '--eval-questions' ? 0 : value));
    const args = ['evolve', '--policy', tiny, '--name', 'tiny', ...others, '--memory', 0.1];
    const { code, stdout } = await searchE1(args);
    expect([code, stdout]).toEqual([0, expect.stringContaining('Nothing was evaluated')]);
    expect(JSON.parse(readFileSync(at('runs', 'tiny', 'config.json'), 'utf8')).flags.memory).toBe(0.1);
    expect(readdirSync(at('runs', 'tiny', 'checkpoints', '1-ofsd'))).toEqual(
      expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']),
    );
  });
});

interface Evaluated {
  readonly n: number;
  readonly sets: readonly { readonly dataset: string; readonly n: number; readonly exactMatch: { readonly value: number } }[];
  readonly macroMean: { readonly value: number };
  readonly questionMean: { readonly value: number };
}

describe('search-e1 evaluate', () => {
  it('scores the base policy on the seven mini sets, the same whenever it is asked', async () => {
    const { code, stdout, stderr } = await searchE1(['evaluate', '--limit', 3]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^backend: /m);
    for (const row of ['nq-mini +3 ', 'bamboogle-mini +3 ', 'macro mean +21 ', 'question-weighted mean +21 '])
      expect(stdout).toMatch(new RegExp(`^${row}`, 'm'));
    expect(stdout).not.toContain('published');
    expect((await searchE1(['evaluate', '--limit', 3])).stdout).toBe(stdout);
  });

  it('draws other episodes from another seed, and the same from the same', async () => {
    const sample = async (seed: number, name: string) => {
      await json(['evaluate', '--set', 'nq-mini', '--limit', 10, '--temperature', 1, '--seed', seed, '--trajectories', at(name)]);
      return lines(at(name)).map(({ text }) => text);
    };
    const first = await sample(1, 'a.jsonl');
    expect(await sample(1, 'b.jsonl')).toEqual(first);
    expect(await sample(2, 'c.jsonl')).not.toEqual(first);
  });

  it('evaluates a checkpoint made elsewhere, and says of the backend which it was', async () => {
    const result = await json<Evaluated & { agent: string; backend: { name: string } }>([
      'evaluate',
      '--policy',
      tiny,
      '--set',
      'nq-mini',
      '--limit',
      2,
      '--backend',
      'cpu',
    ]);
    expect([result.agent, result.backend.name, result.n]).toEqual([tiny, 'cpu', 2]);
  });

  it('scores the agent without a model on real questions, with the published rows beside', async () => {
    const { code, stdout, stderr } = await searchE1(['evaluate', '--agent', 'lexical', '--limit', 2]);
    expect(code).toBe(0);
    expect(stderr).not.toContain('backend'); // no model, no tensors
    expect(stdout).toContain('held-out half');
    for (const row of ['NQ +2 ', '2Wiki +2 ', 'Search-E1 \\(Qwen2.5-3B-Instruct\\) +47.4 .*derived'])
      expect(stdout).toMatch(new RegExp(`^${row}`, 'm'));
    expect(stdout).toContain('not comparable');
  });

  it('shares each benchmark out to two halves, by the questions’ ids', async () => {
    const asked = async (half: string) => {
      await json(['evaluate', '--agent', 'lexical', '--set', 'bamboogle', '--corpus', corpus, '--half', half, '--trajectories', at(half)]);
      return lines(at(half)).map(({ question }) => question);
    };
    const [development, heldOut, both] = [await asked('development'), await asked('held-out'), await asked('both')];
    expect(both).toHaveLength(75);
    expect(selectHalf(both, 'held-out')).toEqual(heldOut);
    expect(selectHalf(both, 'development')).toEqual(development);
    expect(development.length + heldOut.length).toBe(75);
  });

  it('takes questions and passages of one’s own, and its means are those of its episodes', async () => {
    const result = await json<Evaluated>([
      'evaluate',
      '--agent',
      'lexical',
      '--questions',
      questions,
      '--corpus',
      corpus,
      '--trajectories',
      at('own'),
    ]);
    const matches = lines(at('own')).map(({ answer, question }) => Number(question.golden_answers.includes(answer)));
    expect(matches).toEqual([1, 0]); // the second question's gold answer is in no passage
    expect(result.sets).toMatchObject([{ dataset: 'mine', n: 2, exactMatch: { value: 0.5 } }]);
    expect([result.macroMean.value, result.questionMean.value]).toEqual([0.5, 0.5]);
  });

  it('shows the sets that were finished at Ctrl-C, and how to go on', async () => {
    const { code, stdout, stderr } = await searchE1(['evaluate', '--limit', 2], { interruptAt: /popqa-mini, 2 questions\n/ });
    expect(code).toBe(130);
    expect(stdout).toMatch(/^triviaqa-mini +2 /m);
    expect(stdout).not.toMatch(/^hotpotqa-mini/m);
    expect(stderr).toMatch(/go on with: --set (popqa-mini,)?hotpotqa-mini,2wiki-mini,musique-mini,bamboogle-mini/);
  });
});

describe('search-e1 ask', () => {
  it('lists questions, of which each can be asked', async () => {
    const listed = await json<{ set: string; question: string; goldenAnswers: string[] }[]>(['ask', '--example', '--seed', 3]);
    expect(listed.map(({ set }) => set)).toHaveLength(7);
    expect((await searchE1(['ask', '--example', '--seed', 3])).stdout).toBe(`${listed.map(({ question }) => question).join('\n')}\n`);
    const { question, golden_answers } = (await json<Asked>(['ask', listed[0].question])).question;
    expect([question, golden_answers]).toEqual([listed[0].question, listed[0].goldenAnswers]);
  });

  interface Asked {
    readonly question: { readonly question: string; readonly golden_answers: readonly string[] };
    readonly answer: string | null;
    readonly reward: number | null;
    readonly text: string;
    readonly tokens: readonly number[];
    readonly own: readonly boolean[];
    readonly turns: readonly { readonly kind: string }[];
  }
  const question = 'what is the employer of Hans Berg ?';

  it('shows the episode that --json records, with the passages it found', async () => {
    const asked = await json<Asked>(['ask', question]);
    const { code, stdout, stderr } = await searchE1(['ask', question]);
    expect(code).toBe(0);
    expect(stderr).not.toContain('warning');
    expect(asked.text).toContain('<information> Hans Berg : a person');
    expect(stdout.split('\n\n')[0].replaceAll('\n', '')).toBe(asked.text);
    expect(stdout).toContain(`answer: ${asked.answer}`);
    expect(asked.own).toHaveLength(asked.tokens.length);
    expect(asked.turns[asked.turns.length - 1].kind).toBe('answer');
  });

  it('warns of words and entities that the classroom world does not know, and of nothing else', async () => {
    const { code, stderr, stdout } = await searchE1(['ask', 'Who is the mayor of Berlin?']);
    expect(code).toBe(0);
    expect(stderr).toContain('asked as: who is the mayor of Berlin ?');
    expect(stderr).toContain('does not know "Berlin"');
    expect(stderr).toContain(question.slice(0, 8));
    expect(stdout).toContain('not known here');
    expect((await searchE1(['ask', 'who is the mayor of the town ?'])).stderr).toMatch(/warning/);
    expect((await searchE1(['ask', "What is Hans Berg's employer?"])).stderr).not.toMatch(/warning/);
  });

  it('spells as the classroom does', () => {
    expect(classroomSpelling('  Who is the employer of  Hans Berg?')).toBe('who is the employer of Hans Berg ?');
    expect(classroomSpelling('What is Hans Berg’s employer?')).toBe("what is Hans Berg's employer ?");
    expect(classroomSpelling('Hans Berg was born where ?')).toBe('Hans Berg was born where ?');
  });

  it('searches another corpus, whose text cannot steer the terminal', async () => {
    const hostile = at('hostile.jsonl');
    writeFileSync(
      hostile,
      `${JSON.stringify({ id: 1, contents: 'Hans Berg\na person . employer \u001b]0;title\u0007 \u009b2J Works .' })}\n`,
    );
    const plain = await searchE1(['ask', question, '--corpus', hostile]);
    expect(plain.stdout).toContain('\\x1b]0;title\\x07');
    const asJson = await searchE1(['ask', question, '--corpus', hostile, '--json']);
    expect(JSON.parse(asJson.stdout).text).toContain('\u001b]0;title\u0007');
    for (const steers of ['\u001b', '\u0007', '\u009b']) expect(plain.stdout + asJson.stdout).not.toContain(steers);
  });
});

describe('search-e1 pretrain', () => {
  it('leaves a checkpoint with its record, which can be asked', async () => {
    const out = at('pretrained');
    const result = await json<{ policy: string; final: { step: number } }>(['pretrain', '--out', out, '--steps', 2, '--seed', 5]);
    expect([result.policy, result.final.step]).toEqual([out, 2]);
    expect(JSON.parse(readFileSync(join(out, 'training.json'), 'utf8'))).toMatchObject({ settings: { phases: [{ steps: 2 }], seed: 5 } });
    expect((await searchE1(['ask', '--policy', out, 'what is the employer of Hans Berg ?'])).code).toBe(0);
    const again = await searchE1(['pretrain', '--out', out, '--steps', 2]);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('--force')]);
  });

  it('trains on from a checkpoint, and says when there is none', async () => {
    const [from, out] = [at('first'), at('further')];
    await json(['pretrain', '--out', from, '--steps', 1]);
    await json(['pretrain', '--out', out, '--from', from, '--steps', 1]);
    expect(JSON.parse(readFileSync(join(out, 'training.json'), 'utf8'))).toMatchObject({ from: 'first' });
    expect(readFileSync(join(out, 'model.safetensors')).equals(readFileSync(join(from, 'model.safetensors')))).toBe(false);
    const nowhere = await searchE1(['pretrain', '--out', at('nowhere'), '--from', at('missing'), '--steps', 1]);
    expect([nowhere.code, nowhere.stderr]).toEqual([2, expect.stringContaining('--from')]);
  });

  /** Stopped by Ctrl-C at the second of its four steps. Progress is shown from the fifth second on: the clock runs a thousand times as fast. */
  async function stopped(name: string, ...more: (string | number)[]): Promise<{ readonly out: string; readonly run: Run }> {
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => 1000 * now());
    const args = ['pretrain', '--out', at(name), '--steps', 4, '--seed', 5, ...more];
    const run = await searchE1(args, { interruptAt: /step 2 of 4: loss/ }).finally(() => clock.mockRestore());
    return { out: at(name), run };
  }
  const filesOf = (out: string) =>
    Object.fromEntries(
      readdirSync(out).map((name) => [name, readFileSync(join(out, name), 'latin1').replace(/^ {2}"seconds": \d+,$/m, '')]),
    );

  it('stops at Ctrl-C with what it has, says how to go on, and with --resume ends with the very same files', async () => {
    const { out, run } = await stopped('pretraining');
    expect([run.code, run.stdout]).toEqual([130, '']);
    expect(run.stderr).toContain(
      `${out} holds everything up to the last whole step (2 of 4 steps). Go on with: npx search-e1 pretrain --out ${out} --resume`,
    );
    expect(run.stderr).not.toMatch(/^\s+at /m);

    const resumed = await searchE1(['pretrain', '--out', out, '--resume', '--seed', 5]);
    expect([resumed.code, resumed.stderr]).toEqual([0, expect.stringContaining('2 of 4 steps done before')]);
    expect(resumed.stderr).not.toContain('warning');
    await json(['pretrain', '--out', at('unstopped'), '--steps', 4, '--seed', 5]);
    expect(filesOf(out)).toEqual(filesOf(at('unstopped')));
    const again = await searchE1(['pretrain', '--out', out, '--resume']);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('is finished')]);
  });

  it('touches no run that was stopped without --resume or --force, and resumes with no other settings', async () => {
    const { out } = await stopped('halfway', '--from', tiny);
    const refused = async (...args: (string | number)[]) => {
      const { code, stderr } = await searchE1(['pretrain', '--out', out, ...args]);
      return [code, stderr.trim().split('\n').pop()];
    };
    expect(await refused()).toEqual([2, expect.stringContaining('go on with --resume')]);
    expect(await refused('--resume', '--seed', 6)).toEqual([2, expect.stringContaining('--seed 6: the run in')]);
    expect(await refused('--resume', '--steps', 5)).toEqual([2, expect.stringContaining('--steps 5: the run in')]);
    expect(await refused('--resume', '--learning-rate', 0.1)).toEqual([2, expect.stringContaining('--learning-rate 0.1: the run in')]);
    expect(await refused('--resume', '--from', 'elsewhere')).toEqual([2, expect.stringContaining('--from elsewhere: the run in')]);

    const state = join(out, 'unfinished-pretraining', 'state.json');
    const { name } = JSON.parse(readFileSync(state, 'utf8')).backend;
    writeFileSync(state, readFileSync(state, 'utf8').replace(`"name":"${name}"`, '"name":"abacus"'));
    const { code, stderr } = await searchE1(['pretrain', '--out', out, '--resume', '--from', tiny, '--steps', 4]);
    expect([code, stderr]).toEqual([0, expect.stringContaining(`an uninterrupted run: backend was abacus, is ${name}\n`)]);
  });

  it('puts nothing into a folder that holds anything else, nor with --force', async () => {
    const sources = at('sources');
    mkdirSync(sources);
    writeFileSync(join(sources, 'tokenizer.json'), 'mine');
    writeFileSync(join(sources, 'config.json'), '{}'); // a checkpoint of something else
    for (const more of [[], ['--force'], ['--resume']]) {
      const { code, stderr } = await searchE1(['pretrain', '--out', sources, '--steps', 1, ...more]);
      expect([code, stderr]).toEqual([
        2,
        expect.stringContaining('holds other files than a run of pretrain (config.json, tokenizer.json)'),
      ]);
    }
    expect(readdirSync(sources).sort()).toEqual(['config.json', 'tokenizer.json']);
    expect(readFileSync(join(sources, 'tokenizer.json'), 'utf8')).toBe('mine');
    const file = await searchE1(['pretrain', '--out', join(sources, 'config.json'), '--steps', 1]);
    expect([file.code, file.stderr]).toEqual([2, expect.stringContaining('is a file; a folder was expected')]);
  });

  it('begins anew with --force', async () => {
    const { out } = await stopped('forced', '--from', tiny);
    const { seed } = await json<{ seed: number }>(['pretrain', '--out', out, '--from', tiny, '--steps', 1, '--seed', 7, '--force']);
    expect([seed, readdirSync(out)]).toEqual([7, readdirSync(at('further'))]);
  });
});

describe('search-e1 study', () => {
  const args = [
    'study',
    '--out',
    at('study'),
    '--policy',
    basePolicyFolder(),
    '--arms',
    'ofsd,no-reference',
    '--grpo-steps',
    1,
    '--questions-per-step',
    4,
    '--sibling-questions',
    12,
    '--attempts',
    4,
    '--eval-questions',
    1,
  ];

  const records = () =>
    readdirSync(at('study'))
      .filter((name) => !name.startsWith('owner-'))
      .sort();

  it('leaves a record a seed with what made it, and measures no seed twice where it is to resume', async () => {
    const first = await searchE1([...args, '--seeds', 1]);
    expect([first.code, first.stdout]).toEqual([0, expect.stringContaining('What is claimed')]);
    const record = JSON.parse(readFileSync(at('study', 'seed-1.json'), 'utf8'));
    expect(record).toMatchObject({
      seed: 1,
      versions: { node: process.version },
      backend: { name: expect.any(String) },
      settings: { grpo: { steps: 1 } },
    });
    expect(record.command).toContain('search-e1 study --seeds 1 --arms ofsd,no-reference');
    expect(Date.parse(record.date)).toBeGreaterThan(Date.parse('2026-01-01'));
    expect(Object.keys(record.arms)).toEqual(['ofsd', 'no-reference']);

    const unasked = await searchE1([...args, '--seeds', '1,2']);
    expect([unasked.code, unasked.stderr]).toEqual([2, expect.stringContaining('seed-1.json holds a record: take it with --resume')]);
    expect(records()).toEqual(['seed-1.json']);
    const both = await json<{ records: { seed: number; date: string }[]; claims: unknown[] }>([...args, '--seeds', '1,2', '--resume']);
    expect(both.records.map(({ seed }) => seed)).toEqual([1, 2]);
    expect(both.records[0].date).toBe(record.date);
    expect(both.claims).toHaveLength(5);
    expect(records()).toEqual(['seed-1.json', 'seed-2.json']);
    const { stderr } = await searchE1([...args, '--seeds', '1,2', '--resume']);
    expect(stderr.match(/^seed \d: recorded on .*, not measured now$/gm)).toHaveLength(2);
  });

  it('is, up to its arms, round one of evolve with the same seed', async () => {
    const run = [
      '--name',
      'as-study',
      '--runs',
      at('runs'),
      '--rounds',
      1,
      '--seed',
      1,
      '--no-gate',
      ...args.slice(3, 5),
      ...args.slice(7),
    ];
    const { stages } = await json<Evolved>(['evolve', ...run]);
    const { base, grpo, arms, grpoSteps } = JSON.parse(readFileSync(at('study', 'seed-1.json'), 'utf8'));
    expect(stages.map(({ greedy, sampled }) => ({ greedy, sampled }))).toEqual([
      base,
      grpo,
      { greedy: arms.ofsd.greedy, sampled: arms.ofsd.sampled },
    ]);
    const timeless = (step: object) => Object.fromEntries(Object.entries(step).filter(([name]) => !/^seconds_|^stage$/.test(name)));
    const steps = lines(at('runs', 'as-study', 'metrics.jsonl')).filter(({ step }) => step);
    expect(steps.map(timeless)).toEqual([...grpoSteps, ...arms.ofsd.steps].map(timeless));
  });

  it('shows records without measuring, and says so', async () => {
    const shown = await searchE1(['study', '--show', at('study')]);
    expect([shown.code, shown.stdout]).toEqual([0, expect.stringContaining('Recorded before, not measured now')]);
    expect(shown.stdout).toMatch(/^seed 2: recorded on \d{4}-\d\d-\d\d with search-e1 \S+ on \w+$/m);
    expect(shown.stderr).toBe('');
    const packaged = await json<{ measuredNow: boolean; records: unknown[] }>(['study', '--show', '--seeds', 2]);
    expect([packaged.measuredNow, packaged.records.length]).toEqual([false, 1]);
    const measuring = await searchE1(['study', '--show', '--grpo-steps', 3]);
    expect([measuring.code, measuring.stderr]).toEqual([2, expect.stringContaining('leave --grpo-steps out')]);
  });

  it('mixes no records of other settings', async () => {
    const others = args.map((value, i) => (args[i - 1] === '--grpo-steps' ? 2 : value));
    const { code, stderr } = await searchE1([...others, '--seeds', 1]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('other settings')]);
  });
});

describe('search-e1 notebooks', () => {
  const notebook = (name: string, source: string): string => {
    const cell = { cell_type: 'code', id: 'a', metadata: {}, source, outputs: [], execution_count: null };
    const metadata = { kernelspec: { name: 'search-e1', display_name: 'search-e1', language: 'typescript' } };
    mkdirSync(at('notebooks'), { recursive: true });
    writeFileSync(at('notebooks', name), JSON.stringify({ cells: [cell], metadata, nbformat: 4, nbformat_minor: 5 }));
    return at('notebooks', name);
  };

  it('executes them into a book, and fails where one fails, with its reason', async () => {
    const good = notebook('good.ipynb', "console.log('forty-two');");
    const bad = notebook('bad.ipynb', "throw new Error('on purpose');");
    const { code, stdout, stderr } = await searchE1(['notebooks', good, bad, '--out', at('book'), '--json']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('1 of 2 notebooks failed: bad')]);
    const { chapters } = JSON.parse(stdout) as { chapters: { name: string; failure?: string }[] };
    expect(chapters.map(({ name, failure }) => [name, failure?.includes('on purpose')])).toEqual([
      ['good', undefined],
      ['bad', true],
    ]);
    expect(readFileSync(at('book', 'good.html'), 'utf8')).toContain('forty-two');
  });
});

const corpus = at('passages.jsonl');
writeFileSync(
  corpus,
  `${JSON.stringify({ id: 1, contents: '"Arthur Conan Doyle"\nArthur Conan Doyle was a writer. He was born in Edinburgh in 1859.' })}\n`,
);
const questions = at('mine.jsonl');
writeFileSync(
  questions,
  [
    { id: 'a', question: 'Where was Arthur Conan Doyle born?', golden_answers: ['Edinburgh'] },
    { id: 'b', question: 'Where was Ada Lovelace born?', golden_answers: ['London'] },
  ]
    .map((question) => `${JSON.stringify(question)}\n`)
    .join(''),
);

describe('a model that is not of the classroom', () => {
  const model = at('model');
  const passages = at('some.jsonl');
  beforeAll(async () => {
    await writeTinyModel(model);
    writeFileSync(passages, `${JSON.stringify({ id: '1', contents: '"Blade Runner"\nA film of 1982.' })}\n`);
  });

  it("is asked in Search-R1's words, in its own chat template, with an adapter where there is one", async () => {
    const asked = ['ask', '--model', model, 'Who wrote it', '--corpus', passages, '--seed', 3, '--temperature', 1];
    interface Episode {
      readonly policy: string;
      readonly protocol: string;
      readonly prompt: number[];
      readonly tokens: number[];
      readonly own: boolean[];
      readonly log_probs: number[];
      readonly turns: readonly { readonly kind: string }[];
    }
    const { policy, protocol, prompt, ...episode } = await json<Episode>(asked);
    expect([policy, protocol]).toEqual([model, 'search-r1']);
    expect((await loadTokenizer(model)).decode(prompt)).toBe(
      `<|im_start|>user\n${searchR1Instruction('Who wrote it')}<|im_end|>\n<|im_start|>assistant\n`,
    );
    expect(episode.turns.map(({ kind }) => kind)).toEqual(Array(5).fill('invalid'));
    expect(episode.own).not.toContain(true); // it only ends turns, which Search-R1 does not keep
    const kept = await json<Episode>([...asked, '--protocol', 'classroom']);
    expect(kept.tokens.filter((_, t) => kept.own[t])).toEqual(Array(5).fill(151_645)); // the second end token of generation_config.json
    const adapted = await json<Episode>([...asked, '--protocol', 'classroom', '--adapter', join(model, 'adapter')]);
    expect(adapted.log_probs).not.toEqual(kept.log_probs);
    const { code, stderr } = await searchE1(asked);
    expect(code).toBe(0);
    expect(stderr).toContain('sampling: temperature 1, top_k 20, top_p 0.8, min_p 0, repetition_penalty 1.05\n');
    expect(stderr).toMatch(/model: \d+\.\d million parameters, \d+ MB at \d+ MB\/s read in/);
  });

  it('is sampled as its generation_config.json says, unless an option says otherwise', async () => {
    const asked = ['ask', '--model', model, 'Who wrote it', '--corpus', passages];
    const settings = { temperature: 0.7, top_k: 20, top_p: 0.8, min_p: 0, repetition_penalty: 1.05 };
    expect(await json(asked)).toMatchObject(settings);
    const options = ['--temperature', 0, '--top-k', 0, '--top-p', 1, '--repetition-penalty', 1];
    expect(await json([...asked, ...options])).toMatchObject({ temperature: 0, top_k: 0, top_p: 1, repetition_penalty: 1 });
    expect((await searchE1([...asked, ...options])).stderr).toContain('sampling: greedy, repetition_penalty 1\n');
    expect((await searchE1([...asked, '--top-p', 2])).code).toBe(2);
  });

  it('is evaluated on questions of ones own', async () => {
    const questions = at('model-questions.jsonl');
    writeFileSync(questions, `${JSON.stringify({ id: 'a', question: 'Who?', golden_answers: ['And'] })}\n`);
    const result = await json<{ agent: string; protocol: string; sets: { exactMatch: { value: number } }[] }>([
      'evaluate',
      '--model',
      model,
      '--questions',
      questions,
      '--corpus',
      passages,
    ]);
    expect([result.agent, result.protocol]).toEqual([model, 'search-r1']);
    expect(result.sets[0].exactMatch.value).toBe(0); // it wrote no answer itself: the tags of the feedback, which Search-R1's scorer would find, do not count
  });

  it.each([
    [['--policy', 'a', '--model', 'b'], /--policy and --model: give one of them/],
    [['--adapter', 'a'], /--adapter needs the --model/],
    [['--model', 'no/such/folder'], /--model.*no.such.folder/],
    [['--model', model, '--adapter', 'no/such/adapter'], /--adapter.*no.such.adapter/],
    [['--protocol', 'react'], /search-r1/],
  ])('is refused with %j', async (flags, message) => {
    const { code, stderr } = await searchE1(['ask', 'who ?', '--corpus', passages, ...flags]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
  });
});
