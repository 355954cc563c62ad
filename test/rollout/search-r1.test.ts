/**
 * Search-R1's protocol on recorded text. Expected values are what its own functions give (`generation.py`: `_postprocess_responses`,
 * `postprocess_predictions`, `execute_predictions`, `_passages2string`; `qa_search_train_merge.py`: `make_prefix`; `qa_em.py`), worked out by hand.
 */
import { describe, expect, test } from 'vitest';
import { chatTemplate } from '../../src/policy/chat-template.js';
import type { Tokenizer } from '../../src/policy/tokenizer.js';
import { rollout } from '../../src/rollout/rollout.js';
import { ownTokens } from '../../src/rollout/scored.js';
import { cutResponse, searchR1Action, searchR1Instruction, searchR1Observation, searchR1Protocol } from '../../src/rollout/search-r1.js';
import type { ScoredPassage } from '../../src/search/passage.js';
import { scriptedEngine } from './scripted.js';

const question = { id: 'q', dataset: 'nq', question: ' who wrote Amber Falcon', goldenAnswers: ['Ada Stone'] };
const passages: ScoredPassage[] = [
  { id: '1', title: 'Amber Falcon', text: 'Amber Falcon is a book by Ada Stone.\nIt has two parts. ', score: 2 },
  { id: '2', title: 'Ada Stone', text: 'Ada Stone is a writer.', score: 1 },
];

describe('the prompt', () => {
  test('is one user message, to the character, with a stripped question that ends in a question mark', () => {
    expect(searchR1Instruction(question.question)).toBe(
      'Answer the given question. You must conduct reasoning inside <think> and </think> first every time you get new information. After reasoning, if you find you lack some knowledge, you can call a search engine by <search> query </search> and it will return the top searched results between <information> and </information>. You can search as many times as your want. If you find no further external knowledge needed, you can directly provide the answer inside <answer> and </answer>, without detailed illustrations. For example, <answer> Beijing </answer>. Question: who wrote Amber Falcon?\n',
    );
    expect(searchR1Instruction('Who?\n').endsWith('Question: Who?\n')).toBe(true);
  });

  test("stands in the model's own chat template where there is one", () => {
    const template = chatTemplate(
      "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    );
    const { prompt, privilegedPrompt } = searchR1Protocol(template);
    expect(prompt('Who?')).toBe(`<|im_start|>user\n${searchR1Instruction('Who?')}<|im_end|>\n<|im_start|>assistant\n`);
    expect(searchR1Protocol().prompt('Who?')).toBe(searchR1Instruction('Who?'));
    expect(privilegedPrompt('Who?', '<answer> x </answer>')).toContain(`${searchR1Instruction('Who?')}\n`);
  });
});

describe('a response', () => {
  test.each([
    ['at the first search', 'a <search> x </search> b <search> y </search>', 'a <search> x </search>'],
    ['at an answer', '<answer> x </answer> and more', '<answer> x </answer>'],
    ['at a search that follows an answer', '<answer> x </answer> <search> y </search> z', '<answer> x </answer> <search> y </search>'],
    ['at a closing tag without its opening one', 'a </search> b', 'a </search>'],
    ['nowhere without a closing tag', '<search> x', '<search> x'],
  ])('is cut %s', (_, text, cut) => {
    expect(cutResponse(text)).toBe(cut);
  });

  test.each([
    ['the first pair of tags acts', '<think> a </think><search> x\n y </search>', { kind: 'search', content: 'x\n y' }],
    ['an answer before a search acts', '<answer> x </answer> <search> y </search>', { kind: 'answer', content: 'x' }],
    ['a search within an answer is part of it', '<answer> a <search> b </search> </answer>', { kind: 'search', content: 'b' }],
    ['a search may be empty', '<search>  </search>', { kind: 'search', content: '' }],
    ['so may an answer', '<answer></answer>', { kind: 'answer', content: '' }],
    ['a lone closing tag hides a later pair', 'a </search> <search> x </search>', { kind: 'invalid', reason: 'no search and no answer' }],
    ['an unfinished tag does nothing', '<answer> x', { kind: 'invalid', reason: 'no search and no answer' }],
  ])('%s', (_, text, action) => {
    expect(searchR1Action(text)).toEqual(action);
  });
});

test('passages stand in a block of documents with their titles in quotes, stripped at its end', () => {
  expect(searchR1Observation(passages)).toBe(
    '\n\n<information>Doc 1(Title: "Amber Falcon") Amber Falcon is a book by Ada Stone.\nIt has two parts. \nDoc 2(Title: "Ada Stone") Ada Stone is a writer.</information>\n\n',
  );
  expect(searchR1Observation([])).toBe('\n\n<information></information>\n\n');
});

/** Characters are tokens, so that lengths can be counted; \0 ends a sequence. */
const characters: Tokenizer = {
  size: 0x10000,
  endIds: [0],
  padId: 0,
  encode: (text) => [...text].map((char) => char.codePointAt(0) as number),
  decode: (ids) => ids.map((id) => String.fromCodePoint(id)).join(''),
  stream: () => ({ push: (id) => String.fromCodePoint(id), end: () => '' }),
};
const INVALID =
  '\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. If I want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.\n';

async function episode(script: string, found: readonly ScoredPassage[] = passages, asked = question) {
  const queries: string[] = [];
  const engine = { ...scriptedEngine([characters.encode(script)]), tokenizer: characters };
  const environment = {
    protocol: { ...searchR1Protocol(), maxTokens: 100_000 },
    searcher: {
      async search(each: readonly string[], topK: number) {
        queries.push(...each);
        return each.map(() => found.slice(0, topK));
      },
    },
  };
  const [trajectory] = await rollout(engine, environment, [asked]);
  const own = characters.decode(trajectory.tokens.filter((_, t) => trajectory.own[t]));
  const shown = characters.decode(trajectory.tokens.filter((_, t) => !trajectory.own[t]));
  return { ...trajectory, queries, ownText: own, shown };
}

describe('an episode', () => {
  const SEARCH = '<think> a </think>\n<search> Amber Falcon </search>';
  const ANSWER = '<answer> the Ada Stone. </answer>';

  test('searches, reads three passages and answers; only its own tokens are scored', async () => {
    const t = await episode(SEARCH + ANSWER);
    expect([t.queries, t.shown, t.ownText]).toEqual([['Amber Falcon'], searchR1Observation(passages), SEARCH + ANSWER]);
    expect([t.answer, t.reward, t.searches, t.finish]).toEqual(['the Ada Stone.', 1, 1, 'answer']);
    const { tokens, scored } = ownTokens(t);
    expect(characters.decode(scored.map((at) => tokens[at]))).toBe(SEARCH + ANSWER);
  });

  test('has feedback for what is no action, masked like passages, which uses up a turn', async () => {
    const t = await episode(`nothing\0${'x'.repeat(500)}${ANSWER}`);
    expect(t.shown).toBe(INVALID + INVALID); // the end token, and 500 tokens without a tag
    expect([t.answer, t.turns.map(({ kind }) => kind)]).toEqual(['the Ada Stone.', ['invalid', 'invalid', 'answer']]);
  });

  test('has four turns and a closing one, whose search is not carried out', async () => {
    const t = await episode(SEARCH.repeat(5));
    expect([t.queries.length, t.searches, t.finish]).toEqual([4, 4, 'turns']);
    expect(t.shown).toBe(searchR1Observation(passages).repeat(4));
    const answered = await episode(SEARCH.repeat(4) + ANSWER);
    expect([answered.queries.length, answered.reward]).toEqual([4, 1]);
  });

  test('sees 500 tokens of an observation at most, its closing tag cut away', async () => {
    const long = [{ id: '1', title: 'T', text: 'x'.repeat(600), score: 1 }];
    const t = await episode(SEARCH + ANSWER, long);
    expect(t.shown).toBe(searchR1Observation(long).slice(0, 500));
    expect(t.shown).not.toContain('</information>');
  });

  test("reads a prompt's last 2048 tokens", async () => {
    const t = await episode(ANSWER, [], { ...question, question: 'y'.repeat(3000) });
    expect(characters.decode(t.prompt)).toBe(searchR1Instruction('y'.repeat(3000)).slice(-2048));
  });
});

describe("the scorer's traps", () => {
  test('an episode without an answer is scored on the example in the prompt', async () => {
    const t = await episode(`${'<search> a </search>'.repeat(4)}no idea\0`);
    expect([t.answer, t.reward]).toEqual(['Beijing', 0]);
    const lucky = await episode(`${'<search> a </search>'.repeat(4)}no idea\0`, passages, { ...question, goldenAnswers: ['beijing'] });
    expect(lucky.reward).toBe(1);
  });

  test('and on the feedback, which names the tags too, where there was an invalid action', async () => {
    const t = await episode(`${'no idea\0'.repeat(5)}`, passages, { ...question, goldenAnswers: ['and'] });
    expect([t.answer, t.reward]).toEqual(['and', 1]);
  });

  test('an answer tag in a passage counts where the episode gives none after it', async () => {
    const planted = [{ id: '1', title: 'T', text: '<answer> Ada Stone </answer>', score: 1 }];
    const t = await episode(`${'<search> a </search>'.repeat(4)}no idea\0`, planted);
    expect([t.answer, t.reward]).toEqual(['Ada Stone', 1]);
    expect((await episode('<search> a </search><answer> Eva </answer>', planted)).reward).toBe(0);
  });

  test('without the prompt, one answer is none: the two-answer rule', () => {
    const { scoredAnswer } = searchR1Protocol();
    expect(scoredAnswer?.('', '<answer> Ada Stone </answer>')).toBeNull();
    expect(scoredAnswer?.('<answer> Beijing </answer>', '<answer> Ada Stone </answer>')).toBe('Ada Stone');
  });

  test('sampling keeps the likeliest 95 %', async () => {
    let topP: number | undefined;
    const engine = scriptedEngine(['<answer> Ada</answer>']);
    const listening: typeof engine = {
      ...engine,
      sample: (prompts, options) => {
        topP = options.topP;
        return engine.sample(prompts, options);
      },
    };
    await rollout(listening, { protocol: searchR1Protocol(), searcher: { search: async () => [] } }, [question]);
    expect(topP).toBe(0.95);
  });
});
