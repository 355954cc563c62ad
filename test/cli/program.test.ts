/** What needs no policy: help, errors, exit codes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { searchE1 } from './captured.js';

const COMMANDS = ['evolve', 'evaluate', 'ask', 'notebooks', 'pretrain', 'study'];
const folder = mkdtempSync(join(tmpdir(), 'search-e1-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

describe('search-e1', () => {
  it('lists every command in its help, on stdout', async () => {
    const { code, stdout, stderr } = await searchE1(['--help']);
    expect([code, stderr]).toEqual([0, '']);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(stdout).toContain('Examples:');
  });

  it.each(COMMANDS)('%s --help shows its options and examples of itself', async (command) => {
    const { code, stdout, stderr } = await searchE1([command, '--help']);
    expect([code, stderr]).toEqual([0, '']);
    for (const option of ['--json', '--backend', '--verbose']) expect(stdout).toContain(option);
    expect(stdout.split('Examples:')[1]).toContain(`$ npx search-e1 ${command} `);
    expect((await searchE1(['help', command])).stdout).toBe(stdout);
  });

  it.each(COMMANDS.filter((command) => command !== 'notebooks'))('%s draws from a seed that can be given', async (command) => {
    expect((await searchE1([command, '--help'])).stdout).toMatch(/--seeds? /);
  });

  it('says its version, which is the package’s', async () => {
    const manifest = JSON.parse(readFileSync(join(__dirname, '..', '..', 'package.json'), 'utf8')) as { version: string };
    expect(await searchE1(['--version'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
  });

  it('shows its help and exits with 2 where no command is given', async () => {
    const { code, stdout, stderr } = await searchE1([]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Commands:');
  });
});

describe('a user’s mistake', () => {
  it.each<[readonly (string | number)[], string]>([
    [['evlve'], "unknown command 'evlve'"],
    [['evolve', '--rounds', 0], '--rounds'],
    [['evolve', '--rounds', '1.5'], '--rounds'],
    [['evolve', '--grpo-steps', 'many'], '--grpo-steps'],
    [['evolve', '--group-size', 1], '--group-size'],
    [['evolve', '--learning-rate', '-1'], '--learning-rate'],
    [['evolve', '--clamp', '0'], '--clamp'],
    [['evolve', '--memory', '0'], '--memory'],
    [['evolve', '--prefer', 'right'], '--prefer'],
    [['evolve', '--seed', '-3'], '--seed'],
    [['evolve', '--backend', 'cuda'], '--backend'],
    [['evolve', '--name', '../elsewhere'], '--name'],
    [['evolve', '--no-such-option'], '--no-such-option'],
    [['evolve', '--name', 'none', '--runs', 'no-such-folder', '--resume'], '--resume: there is no run'],
    [['evaluate', '--set', 'squad'], '--set'],
    [['evaluate', '--set', 'nq,tinypedia'], '--set nq,tinypedia'],
    [['evaluate', '--agent', 'human'], '--agent'],
    [['evaluate', '--protocol', 'telepathy'], '--protocol'],
    [['evaluate', '--half', 'held-out', '--set', 'tinypedia'], '--half'],
    [['evaluate', '--corpus', 'x.jsonl', '--set', 'tinypedia'], '--corpus'],
    [['evaluate', '--questions', 'x.jsonl', '--set', 'nq'], '--questions and --set'],
    [['evaluate', '--temperature', 'warm'], '--temperature'],
    [['evaluate', '--limit', '0'], '--limit'],
    [['ask'], 'no question'],
    [['ask', 'one', 'two'], 'too many arguments'],
    [['ask', 'who ?', '--corpus', 'absent.jsonl'], '--corpus'],
    [['pretrain'], '--out'],
    [['pretrain', '--out', 'no-such-folder', '--resume'], '--resume: there is no run'],
    [['pretrain', '--out', 'no-such-folder', '--resume', '--force'], '--resume goes on with a run, --force begins it anew'],
    [['study', '--seeds', '1,x'], '--seeds'],
    [['study', '--arms', 'dpo'], '--arms'],
    [['study', '--seeds', '1,2,01'], "option '--seeds <list>' argument '1,2,01' is invalid. Expected each once, got 1 twice."],
    [['study', '--show', '--seeds', '1,1'], 'Expected each once, got 1 twice.'],
    [['study', '--arms', 'ofsd,sft,ofsd'], 'Expected each once, got ofsd twice.'],
    [['study', '--arms', 'ofsd', '--arms', 'ofsd'], 'Expected each once, got ofsd twice.'],
    [['evaluate', '--set', 'nq,nq'], 'Expected each once, got nq twice.'],
    [['evaluate', '--corpus', 'x.jsonl', '--corpus', 'x.jsonl'], 'Expected each once, got x.jsonl twice.'],
    [['pretrain', '--out', ''], "option '--out <folder>': the value is empty"],
    [['pretrain', '--out', ' '], 'the value is empty'],
    [['pretrain', '--out', 'no-such-folder', '--learning-rate', '0.001'], '--learning-rate: the phases of the full course'],
    [['evaluate', '--policy', ''], "option '--policy <folder>': the value is empty"],
    [['evaluate', '--corpus', ''], "option '--corpus <file>': the value is empty"],
    [['evaluate', '--seed', '1', '--temperature', '1', '--seed', '2'], "option '--seed <n>' is given twice"],
    [['evolve', '--rounds', '1', '--rounds', '1'], "option '--rounds <n>' is given twice"],
    [['evaluate', '--seed', '2'], '--seed: at temperature 0 nothing is drawn'],
    [['evaluate', '--temperature', '0', '--seed', '2'], '--seed: at temperature 0 nothing is drawn'],
    [['ask', 'who ?', '--top-p', '0.5'], '--top-p: at temperature 0 nothing is drawn'],
    [['ask', 'who ?', '--top-k', '5', '--temperature', '0'], '--top-k: at temperature 0 nothing is drawn'],
    [['ask', 'who ?', '--top-p', '1.5'], 'Expected a number above 0 and of at most 1.'],
    [['ask', '--example', 'who ?'], '--example lists questions and asks none'],
    [['ask', '--example', '--policy', 'x'], '--policy: --example only lists questions'],
    [['ask', '--example', '--temperature', '1'], '--temperature: --example only lists questions'],
    ...['--policy', '--model', '--temperature', '--seed', '--protocol', '--backend'].map((option): [string[], string] => [
      ['evaluate', '--agent', 'lexical', option, { '--protocol': 'classroom', '--backend': 'cpu' }[option] ?? '1'],
      `${option}: --agent lexical has no policy`,
    ]),
    [['evaluate', '--trajectories', __filename], 'program.test.ts is there already'],
    [['evaluate', '--trajectories', __dirname], 'is a folder'],
    ...['NaN', '-1', '1e999', '1e-999', '0x10', 'Infinity', '1,5', '--json'].map((value): [string[], string] => [
      ['evaluate', '--temperature', value],
      'Expected a number of at least 0.',
    ]),
    ...['NaN', '-1', '1e3', '1.0', '12345678901234567890', ''].map((value): [string[], string] => [
      ['evaluate', '--temperature', '1', '--seed', value],
      'Expected an integer from 0 to 9007199254740991.',
    ]),
    [['notebooks', 'absent.ipynb'], 'absent.ipynb'],
    [['notebooks', '--parallel', '0'], '--parallel'],
  ])('%j exits with 2, names what is wrong and shows no stack', async (args, named) => {
    const { code, stdout, stderr } = await searchE1(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('search-e1: ');
    expect(stderr).toContain(named);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('in a file is told with the lines it is in', async () => {
    const questions = file('broken.jsonl', '{"id": "1", "question": "who ?", "golden_answers": ["me"]}\n{"id": "2"}\n');
    const { code, stderr } = await searchE1(['evaluate', '--agent', 'lexical', '--questions', questions]);
    expect(code).toBe(2);
    expect(stderr).toContain('--questions');
    expect(stderr).toContain('line 2');
  });

  it('shows its stack with --verbose', async () => {
    const { code, stderr } = await searchE1(['notebooks', join(folder, 'absent.ipynb'), '--verbose']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^\s+at /m);
  });

  it('cannot steer the terminal with what it quotes', async () => {
    const { stderr } = await searchE1(['evaluate', '--set', '\u001b]0;title\u0007']);
    expect(stderr).not.toContain('\u001b');
    expect((await searchE1(['notebooks', '\u001b[2J.ipynb'])).stderr).toContain('\\x1b[2J.ipynb');
  });
});
