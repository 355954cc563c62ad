/**
 * Search-R1's protocol on recorded text. Expected values are what its own functions give (`generation.py`: `_postprocess_responses`,
 * `postprocess_predictions`, `execute_predictions`, `_passages2string`; `qa_search_train_merge.py`: `make_prefix`; `qa_em.py`), worked out by hand.
 */
import { describe, expect, test } from 'vitest';
import type { Scored } from '../../src/engines/engine.js';
import { chatTemplate } from '../../src/policy/chat-template.js';
import type { Tokenizer } from '../../src/policy/tokenizer.js';
import type { Protocol } from '../../src/rollout/protocol.js';
import { rollout } from '../../src/rollout/rollout.js';
import { ownTokens } from '../../src/rollout/scored.js';
import { cutResponse, searchR1Action, searchR1Instruction, searchR1Observation, searchR1Protocol } from '../../src/rollout/search-r1.js';
import type { ScoredPassage } from '../../src/search/passage.js';
import { rewritingEngine } from './scripted.js';

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
    expect(String(prompt('Who?'))).toBe(`<|im_start|>user\n${searchR1Instruction('Who?')}<|im_end|>\n<|im_start|>assistant\n`);
    expect(String(searchR1Protocol().prompt('Who?'))).toBe(searchR1Instruction('Who?'));
    expect(String(privilegedPrompt('Who?', '<answer> x </answer>'))).toContain(`${searchR1Instruction('Who?')}\n`);
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
  encode: (text) => [...String(text)].map((char) => char.codePointAt(0) as number),
  decode: (ids, { skipSpecialTokens = false } = {}) =>
    ids
      .filter((id) => id !== 0 || !skipSpecialTokens)
      .map((id) => String.fromCodePoint(id))
      .join(''),
  stream: () => ({ push: (id) => String.fromCodePoint(id), end: () => '' }),
};
const INVALID =
  '\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. If I want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.\n';

async function episode(turns: readonly string[], found: readonly ScoredPassage[] = passages, asked = question) {
  const queries: string[] = [];
  const engine = { ...rewritingEngine(turns.map((turn) => characters.encode(turn))), tokenizer: characters };
  const environment = {
    protocol: { ...searchR1Protocol(), maxTokens: 100_000 },
    searcher: {
      async search(each: readonly string[], topK: number) {
        queries.push(...each);
        return each.map(() => found.slice(0, topK));
      },
    },
  };
  const [trajectory] = await rollout(engine, environment, [asked], { temperature: 0 });
  const own = characters.decode(trajectory.tokens.filter((_, t) => trajectory.own[t]));
  const shown = characters.decode(trajectory.tokens.filter((_, t) => !trajectory.own[t]));
  return { ...trajectory, queries, ownText: own, shown };
}

describe('an episode', () => {
  const SEARCH = '<think> a </think>\n<search> Amber Falcon </search>';
  const ANSWER = '<answer> the Ada Stone. </answer>';
  const INVALID_TWICE = INVALID + INVALID;

  test('searches, reads three passages and answers; only its own tokens are scored', async () => {
    const t = await episode([SEARCH, `${ANSWER}\0`]);
    expect([t.queries, t.shown, t.ownText]).toEqual([['Amber Falcon'], searchR1Observation(passages), SEARCH + ANSWER]);
    expect([t.answer, t.reward, t.searches, t.finish]).toEqual(['the Ada Stone.', 1, 1, 'answer']);
    const { tokens, scored } = ownTokens(t);
    expect(characters.decode(scored.map((at) => tokens[at]))).toBe(SEARCH + ANSWER);
  });

  test('keeps nothing of what comes after the closing tag, and no end token', async () => {
    const t = await episode([`${SEARCH}`, `${ANSWER} and so it was\0`]);
    expect(t.ownText).toBe(SEARCH + ANSWER);
    expect(t.tokens).not.toContain(0);
    expect(t.turns.map(({ start, end }) => characters.decode(t.tokens.slice(start, end)))).toEqual([SEARCH, ANSWER]);
  });

  test('is written on after an answer: a search that follows is where the turn is cut', async () => {
    const t = await episode([`${ANSWER} hm <answer> Eva </answer> <search> b </search>`]);
    expect([t.ownText, t.queries, t.finish]).toEqual([`${ANSWER} hm <answer> Eva </answer> <search> b </search>`, [], 'answer']);
    expect([t.answer, t.reward]).toEqual(['Eva', 0]); // the last of the sequence is scored
    const closedTooEarly = await episode(['x </answer> <search> b </search>', `${ANSWER}\0`]);
    expect(closedTooEarly.queries).toEqual(['b']);
  });

  test('has feedback for what is no action, masked like passages, which uses up a turn', async () => {
    const t = await episode(['nothing\0', 'x'.repeat(500), `${ANSWER}\0`]);
    expect(t.shown).toBe(INVALID_TWICE); // the end token, and 500 tokens without a tag
    expect([t.answer, t.turns.map(({ kind }) => kind)]).toEqual(['the Ada Stone.', ['invalid', 'invalid', 'answer']]);
  });

  test('has four turns and a closing one, whose search is not carried out', async () => {
    const t = await episode(Array(5).fill(SEARCH));
    expect([t.queries.length, t.searches, t.finish]).toEqual([4, 4, 'turns']);
    expect(t.shown).toBe(searchR1Observation(passages).repeat(4));
    const answered = await episode([...Array(4).fill(SEARCH), `${ANSWER}\0`]);
    expect([answered.queries.length, answered.reward]).toEqual([4, 1]);
  });

  test('sees 500 tokens of an observation at most, its closing tag cut away', async () => {
    const long = [{ id: '1', title: 'T', text: 'x'.repeat(600), score: 1 }];
    const t = await episode([SEARCH, `${ANSWER}\0`], long);
    expect(t.shown).toBe(searchR1Observation(long).slice(0, 500));
    expect(t.shown).not.toContain('</information>');
  });

  test("reads a prompt's last 4096 tokens and keeps the last 2048", async () => {
    const contexts: (readonly number[])[] = [];
    const engine = { ...rewritingEngine([characters.encode(`${ANSWER}\0`)], contexts), tokenizer: characters };
    const asked = { ...question, question: 'y'.repeat(5000) };
    const environment = { protocol: searchR1Protocol(), searcher: { search: async () => [] } };
    const [t] = await rollout(engine, environment, [asked], { temperature: 0 });
    const whole = searchR1Instruction('y'.repeat(5000));
    expect([characters.decode(contexts[0]), characters.decode(t.prompt)]).toEqual([whole.slice(-4096), whole.slice(-2048)]);
  });

  test('is full with the turn that fills it, and keeps what fits', async () => {
    const engine = { ...rewritingEngine([characters.encode(SEARCH), characters.encode(`${ANSWER}\0`)]), tokenizer: characters };
    const environment = {
      protocol: { ...searchR1Protocol(), maxTokens: SEARCH.length + 10 },
      searcher: { search: async () => [passages] },
    };
    const [t] = await rollout(engine, environment, [question], { temperature: 0 });
    expect(characters.decode(t.tokens)).toBe((SEARCH + searchR1Observation(passages)).slice(0, SEARCH.length + 10));
    expect(t.finish).toBe('length');
  });

  /** With room for so many tokens after the prompt. */
  const within = async (maxTokens: number, turns: readonly string[], protocol: Partial<Protocol> = {}) => {
    const engine = { ...rewritingEngine(turns.map((turn) => characters.encode(turn))), tokenizer: characters };
    const environment = { protocol: { ...searchR1Protocol(), ...protocol }, searcher: { search: async () => [passages] } };
    const [t] = await rollout(engine, environment, [question], { temperature: 0, maxTokens });
    return t;
  };
  const OBSERVED = searchR1Observation(passages);

  test.each([
    // A turn begins only where there is room for a token of it.
    ['of the passages lacks its last', SEARCH.length + OBSERVED.length - 1, SEARCH + OBSERVED.slice(0, -1), 'length', ['search']],
    ['of the passages is the last that fits', SEARCH.length + OBSERVED.length, SEARCH + OBSERVED, 'length', ['search']],
    ['of the next turn alone fits', SEARCH.length + OBSERVED.length + 1, `${SEARCH + OBSERVED}<`, 'length', ['search', 'invalid']],
    [
      'of the answer lacks its last',
      SEARCH.length + OBSERVED.length + ANSWER.length - 1,
      (SEARCH + OBSERVED + ANSWER).slice(0, -1),
      'length',
      ['search', 'invalid'],
    ],
    [
      'of the answer is the last that fits',
      SEARCH.length + OBSERVED.length + ANSWER.length,
      SEARCH + OBSERVED + ANSWER,
      'answer',
      ['search', 'answer'],
    ],
  ])('where the text %s, %i tokens', async (_, maxTokens, text, finish, kinds) => {
    const t = await within(maxTokens, [SEARCH, `${ANSWER}\0`]);
    expect([characters.decode(t.tokens), t.finish, t.turns.map(({ kind }) => kind)]).toEqual([text, finish, kinds]);
    expect([t.answer, t.reward]).toEqual(finish === 'answer' ? ['the Ada Stone.', 1] : [null, 0]);
    expect(t.own.map((own, i) => (own ? i : -1)).filter((i) => i >= 0)).toEqual(
      t.turns.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i)),
    );
  });

  test('a closing turn that fills the room is spent, not cut', async () => {
    const t = await within(7, ['no idea\0'], { maxTurns: 0 });
    expect([t.finish, characters.decode(t.tokens), t.turns.length]).toEqual(['end', 'no idea', 1]);
    const cut = await within(6, ['no idea\0'], { maxTurns: 0 });
    expect([cut.finish, characters.decode(cut.tokens)]).toEqual(['length', 'no ide']);
  });

  test('padding stands neither in what is shown nor in what is kept of a turn', async () => {
    const padded = await within(4096, ['x\0', `${ANSWER}\0`], { invalidFeedback: 'a\0b\0' });
    expect(characters.decode(padded.tokens)).toBe(`xab${ANSWER}`);
    expect(padded.turns.map(({ start, end }) => [start, end])).toEqual([
      [0, 1],
      [3, 3 + ANSWER.length],
    ]);
    // A protocol may keep other words than were written.
    const other = await within(4096, ['x\0'], { keptText: () => '\0<answer>\0 Ada Stone</answer>' });
    expect([characters.decode(other.tokens), other.tokens.length]).toEqual(['<answer> Ada Stone</answer>', 27]);
  });

  test('has the log-probabilities of the whole sequence where its tokens were not sampled so', async () => {
    const asked: Scored[][] = [];
    const engine = {
      ...rewritingEngine([characters.encode(`${ANSWER}\0`)]),
      tokenizer: characters,
      forward: async (data: readonly Scored[]) => {
        asked.push([...data]);
        return data.map(({ scored }) => Float32Array.from(scored, (t) => -t));
      },
    };
    const known = { ...engine, sample: engine.sample };
    const unknown = {
      ...engine,
      sample: async (...given: Parameters<typeof engine.sample>) =>
        (await engine.sample(...given)).map((sequence) => ({
          ...sequence,
          logProbs: sequence.logProbs.map((p, t) => (t === 3 ? Number.NaN : p)),
        })),
    };
    const environment = { protocol: searchR1Protocol(), searcher: { search: async () => [] } };
    const [sampled] = await rollout(known, environment, [question]);
    expect([asked.length, new Set(sampled.logProbs)]).toEqual([0, new Set([-0.01])]);
    const [filled] = await rollout(unknown, environment, [question]);
    expect(asked).toEqual([[ownTokens(filled)]]);
    expect(filled.logProbs).toEqual(filled.tokens.map((_, t) => -(filled.prompt.length + t)));
  });
});

describe("the traps of Search-R1's scorer", () => {
  const LOST = [...Array(4).fill('<search> a </search>'), 'no idea\0'];
  const scores = ({ answer, reward, searchR1Score }: Awaited<ReturnType<typeof episode>>) => [answer, reward, searchR1Score];
  const asking = (...goldenAnswers: string[]) => ({ ...question, goldenAnswers });

  test('an episode without an answer is scored there on the example in the prompt: its reward is 0', async () => {
    expect(scores(await episode(LOST))).toEqual([null, 0, 0]);
    expect(scores(await episode(LOST, passages, asking('beijing')))).toEqual([null, 0, 1]);
    expect(scores(await episode(Array(5).fill('<search> a </search>'), passages, asking('beijing')))).toEqual([null, 0, 1]);
  });

  test('and on the feedback, which names the tags too, where there was an invalid action', async () => {
    expect(scores(await episode(Array(5).fill('no idea\0'), passages, asking('and')))).toEqual([null, 0, 1]);
  });

  test('an answer tag in a passage counts there where the episode gives none after it, and never in the reward', async () => {
    const planted = [{ id: '1', title: 'T', text: '<answer> Ada Stone </answer>', score: 1 }];
    expect(scores(await episode(LOST, planted))).toEqual([null, 0, 1]);
    expect(scores(await episode(['<search> a </search>', '<answer> Eva </answer>\0'], planted))).toEqual(['Eva', 0, 0]);
  });

  test('so does one in the question', async () => {
    const asked = { ...question, question: 'who? <answer> Ada Stone </answer>' };
    expect(scores(await episode(LOST, passages, asked))).toEqual([null, 0, 1]);
  });

  test("so does a teacher's reference, which holds the answer: only the teacher's own counts in its check", async () => {
    const protocol = searchR1Protocol();
    const ask = async (prompt: string) => {
      const engine = { ...rewritingEngine(Array(5).fill(characters.encode('<search> a </search>'))), tokenizer: characters };
      const environment = { protocol, searcher: { search: async () => [passages] } };
      return (await rollout(engine, environment, [question], { temperature: 0, promptOf: () => prompt }))[0];
    };
    const teacher = await ask(String(protocol.privilegedPrompt(question.question, '<answer> Ada Stone </answer>')));
    expect([teacher.answer, teacher.reward, teacher.searchR1Score]).toEqual([null, 0, 1]);
  });

  test('an answer within a search is a part of its query', async () => {
    const t = await episode([...Array(4).fill('<search> <answer> Ada Stone </answer> </search>'), 'no idea\0']);
    expect(scores(t)).toEqual([null, 0, 1]);
  });

  test('an answer that the length cuts is none', async () => {
    const engine = { ...rewritingEngine([characters.encode('<answer> Ada Stone </answer>\0')]), tokenizer: characters };
    const end = (maxTokens: number) =>
      rollout(engine, { protocol: searchR1Protocol(), searcher: { search: async () => [] } }, [question], { temperature: 0, maxTokens });
    const [cut] = await end(27);
    expect([cut.answer, cut.reward, cut.searchR1Score, cut.finish, cut.tokens.length]).toEqual([null, 0, 0, 'length', 27]);
    expect(cut.turns).toEqual([{ start: 0, end: 27, kind: 'invalid', reason: 'no search and no answer' }]);
    const [whole] = await end(28);
    expect([whole.answer, whole.reward, whole.searchR1Score, whole.finish]).toEqual(['Ada Stone', 1, 1, 'answer']);
  });

  test('without the prompt, one answer is none: the two-answer rule', () => {
    const { searchR1Answer } = searchR1Protocol();
    expect(searchR1Answer?.('', '<answer> Ada Stone </answer>')).toBeNull();
    expect(searchR1Answer?.('<answer> Beijing </answer>', '<answer> Ada Stone </answer>')).toBe('Ada Stone');
  });

  test('sampling keeps the likeliest 95 %', async () => {
    let topP: number | undefined;
    const engine = { ...rewritingEngine([characters.encode('<answer> Ada</answer>\0')]), tokenizer: characters };
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
