/** What a rollout hands on, to the engine and to the searcher, and what it refuses at its door. */
import { describe, expect, test } from 'vitest';
import type { Engine, Scored } from '../../src/engines/engine.js';
import type { GenerateOptions } from '../../src/policy/generate.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { classroomProtocol, type Protocol } from '../../src/rollout/protocol.js';
import { type RolloutOptions, rollout, rolloutGroups } from '../../src/rollout/rollout.js';
import { ownTokens } from '../../src/rollout/scored.js';
import { searchR1Protocol } from '../../src/rollout/search-r1.js';
import type { ScoredPassage } from '../../src/search/passage.js';
import { rewritingEngine, scriptedEngine, shelf, tokenizer } from './scripted.js';

const qwen = await loadTokenizer('datasets/tokenizers/qwen2.5');
const question = { id: 'q1', dataset: 'nq-mini', question: 'who is the author of Amber Falcon ?', goldenAnswers: ['Ada Stone'] };
const SEARCH = '<search> Amber Falcon author</search>';
const ANSWER = '<answer> Ada Stone</answer>';

/** An engine that keeps what it is asked for. */
function listening(engine: Engine = scriptedEngine([ANSWER])) {
  const heard: { prompts: readonly (readonly number[])[]; options: GenerateOptions & { weights?: unknown } }[] = [];
  const forwards: { data: readonly Scored[]; weights: unknown; temperature: unknown }[] = [];
  return {
    heard,
    forwards,
    engine: {
      ...engine,
      sample: (...[prompts, options]: Parameters<Engine['sample']>) => {
        heard.push({ prompts, options });
        return engine.sample(prompts, options);
      },
      forward: async (data: readonly Scored[], weights?: unknown, temperature?: unknown) => {
        forwards.push({ data, weights, temperature });
        return data.map(({ scored }) => Float32Array.from(scored, (t) => -t));
      },
    } as Engine,
  };
}

async function heardOf(options: RolloutOptions, protocol: Partial<Protocol> = {}) {
  const { engine, heard } = listening();
  await rollout(engine, shelf('', protocol), [question], options);
  return heard[0].options;
}

describe('to the engine goes', () => {
  test('temperature 1, seed 0, the protocol’s length and its top-p, where nothing is said', async () => {
    expect(await heardOf({})).toMatchObject({ temperature: 1, seed: 0, maxTokens: classroomProtocol.maxTokens });
    expect((await heardOf({})).topP).toBeUndefined();
    expect((await heardOf({}, { topP: 0.95 })).topP).toBe(0.95);
  });

  test('what the caller says, in place of the protocol’s', async () => {
    const signal = new AbortController().signal;
    const onProgress = () => {};
    const said = { temperature: 0.7, seed: 5, maxTokens: 90, batchSize: 3, topK: 4, topP: 0.6, minP: 0.01, repetitionPenalty: 1.1 };
    const heard = await heardOf({ ...said, weights: 'base' as never, signal, onProgress }, { topP: 0.95 });
    expect(heard).toMatchObject({ ...said, weights: 'base', signal, onProgress });
    expect((await heardOf({ topP: 1 }, { topP: 0.95 })).topP).toBe(1);
  });

  test('room for a turn more where turns are rewritten, as what is cut of the last is sampled first', async () => {
    const { engine, heard } = listening(rewritingEngine([tokenizer.encode(`${ANSWER}<|endoftext|>`)]));
    await rollout(engine, { ...shelf(''), protocol: searchR1Protocol() }, [question], { temperature: 0, maxTokens: 100 });
    expect(heard[0].options.maxTokens).toBe(100 + 500);
    expect((await heardOf({ maxTokens: 100 })).maxTokens).toBe(100);
  });

  test.each([
    [{}, 5, 5],
    [{ maxPromptTokens: 3 }, 5, 3],
    [{ maxContextTokens: 4 }, 4, 4],
    [{ maxPromptTokens: 3, maxContextTokens: 4 }, 4, 3],
    [{ maxPromptTokens: 4, maxContextTokens: 3 }, 3, 3],
    [{ maxPromptTokens: 9, maxContextTokens: 9 }, 5, 5],
  ])('the end of a prompt of five tokens: under %j %i are read and %i kept', async (limits, read, kept) => {
    const ids = tokenizer.encode(' a a b a b');
    expect(ids).toHaveLength(5);
    const { engine, heard, forwards } = listening();
    const [t] = await rollout(engine, shelf('', limits), [question], { promptOf: () => ' a a b a b' });
    expect([heard[0].prompts[0], t.prompt]).toEqual([ids.slice(-read), ids.slice(-kept)]);
    // Log-probabilities after a prompt that is not kept are asked for anew.
    expect(forwards.map(({ data }) => data)).toEqual(read === kept ? [] : [[ownTokens(t)]]);
  });
});

describe('log-probabilities that are asked for anew', () => {
  const cut = { maxPromptTokens: 3 };

  test('are of the weights that wrote and at the temperature of the sampling, for own tokens alone', async () => {
    const { engine, forwards } = listening(scriptedEngine([`${SEARCH}${ANSWER}`]));
    const [t] = await rollout(engine, shelf('a book .', cut), [question], { temperature: 0.7, weights: 'base' as never });
    expect(forwards).toMatchObject([{ weights: 'base', temperature: 0.7 }]);
    // This engine says -t of token t of prompt and completion.
    expect(t.logProbs).toEqual(t.own.map((own, i) => (own ? -(t.prompt.length + i) : 0)));
    expect(t.own).toContain(false);
  });

  test('are not asked for after greedy episodes, which nothing is trained on', async () => {
    const { engine, forwards } = listening(scriptedEngine([`${SEARCH}${ANSWER}`]));
    const [t] = await rollout(engine, shelf('a book .', cut), [question], { temperature: 0 });
    expect(forwards).toEqual([]);
    expect(t.logProbs).toEqual(t.own.map((own) => (own ? Number.NaN : 0)));
  });

  test('go to the episodes that lack them; the others keep what was sampled', async () => {
    const { engine, forwards } = listening(scriptedEngine([ANSWER, ANSWER, ANSWER]));
    const texts = [' a', ' a a b a b', ' a b'];
    const episodes = await rollout(engine, shelf('', cut), [question, question, question], { promptOf: (_, i) => texts[i] });
    expect(forwards.map(({ data }) => data.length)).toEqual([1]);
    expect(episodes.map(({ logProbs }) => logProbs[0])).toEqual([-0.01, -3, -0.01]);
  });
});

test.each([
  ['Search-R1', 3, searchR1Protocol()],
  ['the classroom', 1, classroomProtocol],
])('to the searcher goes the query, and the number of passages of %s: %i', async (_, passages, protocol) => {
  const asked: unknown[][] = [];
  const signal = new AbortController().signal;
  const shelves: ScoredPassage[] = Array.from({ length: 9 }, (_, i) => ({ id: `${i}`, title: `T${i}`, text: 'x', score: 9 - i }));
  const searcher = {
    async search(...[queries, topK, options]: [readonly string[], number, unknown?]) {
      asked.push([queries, topK, options]);
      return queries.map(() => shelves.slice(0, topK));
    },
  };
  const turns = [`${SEARCH}`, `${ANSWER}<|endoftext|>`];
  const engine = protocol.keptText
    ? { ...rewritingEngine(turns.map((turn) => qwen.encode(turn))), tokenizer: qwen }
    : scriptedEngine([turns.join('')]);
  const [t] = await rollout(engine, { protocol, searcher }, [question], { temperature: 0, signal });
  expect(asked).toEqual([[['Amber Falcon author'], passages, { signal }]]);
  expect(t.turns[0]).toMatchObject({ kind: 'search', passages: shelves.slice(0, passages) });
  const shown = engine.tokenizer.decode(t.tokens.filter((_, i) => !t.own[i]));
  expect(shelves.filter(({ title }) => shown.includes(title))).toHaveLength(passages);
});

test.each([0, 1, 2, 3])('%i turns for searches and mistakes, and a closing one', async (maxTurns) => {
  const environment = shelf('a book .', { maxTurns });
  const [lost] = await rollout(scriptedEngine([SEARCH.repeat(maxTurns + 1)]), environment, [question]);
  expect([environment.queries.length, lost.turns.length, lost.finish]).toEqual([maxTurns, maxTurns + 1, 'turns']);
  const [won] = await rollout(scriptedEngine([SEARCH.repeat(maxTurns) + ANSWER]), shelf('a book .', { maxTurns }), [question]);
  expect([won.turns.length, won.finish, won.reward]).toEqual([maxTurns + 1, 'answer', 1]);
});

describe('the door', () => {
  const from = (changed: Record<string, unknown>) => async () => {
    const given = { engine: scriptedEngine([ANSWER]), environment: shelf(''), questions: [question], options: {}, ...changed };
    return rollout(given.engine as never, given.environment as never, given.questions as never, given.options as never);
  };

  test.each([
    [{ engine: undefined }, /^rollout: engine: expected an object with sample, tokenizer, got undefined$/],
    [{ engine: { sample: 1 } }, /^rollout: engine: expected .* got an object of sample, without tokenizer$/],
    [{ environment: null }, /^rollout: environment: expected an object with protocol, searcher, got null$/],
    [{ environment: { protocol: classroomProtocol } }, /environment: .* without searcher$/],
    [{ environment: { searcher: {} } }, /environment: .* without protocol$/],
    [{ questions: 'who ?' }, /^rollout: questions: expected a list of questions, got "who \?"$/],
    [{ questions: ['who ?'] }, /^rollout: question 0: expected an object with id, dataset, question, goldenAnswers, got "who \?"$/],
    [{ questions: [question, { ...question, question: 7 }] }, /^rollout: question 1: question: expected a text, got 7$/],
    [{ questions: [{ ...question, id: undefined }] }, /question 0: .* without id$/],
    [{ questions: [{ ...question, dataset: undefined }] }, /question 0: .* without dataset$/],
    [{ questions: [{ ...question, question: undefined }] }, /question 0: .* without question$/],
    [{ questions: [{ ...question, goldenAnswers: undefined }] }, /question 0: .* without goldenAnswers$/],
    [{ questions: [{ ...question, goldenAnswers: 'Ada' }] }, /^rollout: question 0: goldenAnswers: expected a list of texts, got "Ada"$/],
    [{ questions: [{ ...question, goldenAnswers: ['Ada', 3] }] }, /goldenAnswers: expected a list of texts, got 3 at 1$/],
    [{ options: null }, /^rollout: options: expected an object, got null$/],
    [{ options: { temprature: 1 } }, /^rollout: there is no option temprature; expected temperature, seed, maxTokens/],
  ])('refuses %j: %s', async (changed, message) => {
    await expect(from(changed)()).rejects.toThrow(TypeError);
    await expect(from(changed)()).rejects.toThrow(message);
  });

  test.each([
    [{ temperature: -1 }, /temperature should be a number from 0 \(greedy\), got -1/],
    [{ temperature: Number.NaN }, /temperature .* got NaN/],
    [{ maxTokens: 0 }, /maxTokens should be a whole number above 0, got 0/],
    [{ batchSize: 0.5 }, /batchSize should be a whole number above 0, got 0.5/],
    [{ topP: 0 }, /topP should be in \(0, 1\], got 0/],
    [{ topK: -1 }, /topK should be .* got -1/],
    [{ minP: 2 }, /minP should be .* got 2/],
    [{ repetitionPenalty: 0 }, /repetition penalty should be above 0, got 0/],
  ])('refuses %j: %s', async (options, message) => {
    const { engine, heard } = listening();
    await expect(rollout(engine, shelf(''), [question], options)).rejects.toThrow(message);
    expect(heard).toEqual([]);
  });

  test.each([0, -1, 1.5, Number.NaN, '2'])('refuses %j attempts at a question', async (attempts) => {
    await expect(rolloutGroups(scriptedEngine([]), shelf(''), [question], attempts as number)).rejects.toThrow(
      `rollout: the attempts at a question should be a whole number above 0, got ${attempts}`,
    );
  });

  test('opens for every option there is, and for no question at all', async () => {
    const every: Required<RolloutOptions> = {
      ...{
        temperature: 1,
        seed: 1,
        maxTokens: 50,
        weights: 'base' as never,
        promptOf: () => ' a',
        batchSize: 1,
        signal: new AbortController().signal,
      },
      ...{ onProgress: () => {}, onTurn: () => {}, topK: 1, topP: 1, minP: 0, repetitionPenalty: 1 },
    };
    expect(await rollout(scriptedEngine([ANSWER]), shelf(''), [question], every)).toHaveLength(1);
    expect(await rollout(scriptedEngine([]), shelf(''), [])).toEqual([]);
    expect(await rolloutGroups(scriptedEngine([]), shelf(''), [], 3)).toEqual([]);
  });

  test('waits for changes of the weights that have begun', async () => {
    const { engine, heard } = listening();
    let change = 'begun';
    const changing = engine.updates.run(async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(heard).toEqual([]);
      change = 'done';
    });
    await rollout(engine, shelf(''), [question]);
    expect([change, heard.length]).toEqual(['done', 1]);
    await changing;
  });
});
