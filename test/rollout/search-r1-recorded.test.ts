/** Whole episodes against Search-R1's own loop (`fixtures/search_r1.py` ran it): what the model reads in each turn, what is kept, what is masked, what is scored. */
import { readFileSync } from 'node:fs';
import { beforeAll, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.js';
import { loadTokenizer, type Tokenizer } from '../../src/policy/tokenizer.js';
import { exactMatch } from '../../src/reward/exact-match.js';
import { extractAnswerSearchR1 } from '../../src/reward/extract-answer.js';
import { rollout } from '../../src/rollout/rollout.js';
import { searchR1Protocol } from '../../src/rollout/search-r1.js';
import { rewritingEngine } from './scripted.js';

interface Case {
  readonly prompt: readonly number[];
  /** What the model samples in each turn. */
  readonly turns: readonly (readonly number[])[];
  readonly passages: readonly { readonly query: string; readonly contents: readonly string[] }[];
  /** What it had read before each. */
  readonly contexts: readonly (readonly number[])[];
  readonly kept_prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly own: readonly boolean[];
  readonly answer: string | null;
}

const { lengths, cases } = JSON.parse(readFileSync('test/rollout/fixtures/search-r1.json', 'utf8')) as {
  readonly lengths: Readonly<Record<string, number>>;
  readonly cases: readonly Case[];
};

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer('datasets/tokenizers/qwen2.5');
});

async function replay({ prompt, turns, passages }: Case) {
  const contexts: (readonly number[])[] = [];
  const queries: string[] = [];
  let searched = 0;
  const promptText = tokenizer.decode(prompt);
  expect(tokenizer.encode(promptText)).toEqual(prompt);
  // Search-R1 makes control tokens of whatever text says so: here, too, to replay it.
  const trusting: Tokenizer = { ...tokenizer, encode: (text) => tokenizer.encode(String(text)) };
  const engine: Engine = { ...rewritingEngine(turns, contexts), tokenizer: trusting };
  const protocol = {
    ...searchR1Protocol(),
    maxTurns: lengths.max_turns,
    maxTurnTokens: lengths.max_response_length,
    maxObservationTokens: lengths.max_obs_length,
    maxPromptTokens: lengths.max_start_length,
    maxContextTokens: lengths.max_prompt_length,
    maxTokens: lengths.max_prompt_length,
    prompt: () => promptText,
  };
  const searcher = {
    async search(asked: readonly string[]) {
      queries.push(...asked);
      return asked.map(() =>
        passages[searched++].contents.map((contents, i) => {
          const [title, ...text] = contents.split('\n');
          return { id: `${i}`, title: title.slice(1, -1), text: text.join('\n'), score: 1 };
        }),
      );
    },
  };
  const question = { id: 'q', dataset: 'nq', question: 'who', goldenAnswers: ['Ada Stone'] };
  const [trajectory] = await rollout(engine, { protocol, searcher }, [question], { temperature: 0 });
  return { trajectory, contexts, queries };
}

test.each(cases.map((each, i) => [i, each] as const))('episode %i', async (_, recorded) => {
  const { trajectory, contexts, queries } = await replay(recorded);
  // Search-R1 writes on when the record is full; what follows is in none of its numbers.
  expect(contexts).toEqual(recorded.contexts.slice(0, contexts.length));
  if (trajectory.finish !== 'length') expect(contexts.length).toBe(recorded.contexts.length);
  else expect(trajectory.tokens.length).toBe(lengths.max_prompt_length);
  expect(queries).toEqual(recorded.passages.slice(0, queries.length).map(({ query }) => query));
  expect(trajectory.prompt).toEqual(recorded.kept_prompt);
  expect(trajectory.tokens).toEqual(recorded.tokens);
  expect(trajectory.own).toEqual(recorded.own);
  expect(extractAnswerSearchR1(tokenizer.decode([...trajectory.prompt, ...trajectory.tokens]))).toBe(recorded.answer);
  expect(trajectory.searchR1Score).toBe(exactMatch(recorded.answer, ['Ada Stone']));
  for (const turn of trajectory.turns) expect(trajectory.own.slice(turn.start, turn.end).every(Boolean)).toBe(true);
});

test('every cut occurs in them', () => {
  const some = (what: (each: Case) => boolean) => cases.filter(what).length;
  expect(some(({ prompt, kept_prompt }) => prompt.length > kept_prompt.length)).toBeGreaterThan(3);
  expect(some(({ contexts }) => contexts.slice(1).some(({ length }) => length === lengths.max_prompt_length))).toBeGreaterThan(3);
  expect(some(({ tokens }) => tokens.length === lengths.max_prompt_length)).toBeGreaterThan(3);
  expect(some(({ answer }) => answer === 'planted')).toBeGreaterThan(0);
  expect(new Set(cases.map(({ contexts }) => contexts.length)).size).toBeGreaterThan(3);
});
