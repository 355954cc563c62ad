/**
 * Episodes: the policy writes, the environment answers, until there is an answer or the turns are used up.
 *
 * A turn ends at the first `</search>` or `</answer>` in the policy's own text, at an end-of-sequence token, or at the turn's token limit. A search is
 * answered with passages, anything else that is not an answer with feedback; both use up a turn. After `maxTurns` of them one closing turn is left, in which
 * only an answer counts (Search-R1: max_turns steps and one final generation). Token in, token out: the sampled ids are kept as they are, and what the
 * environment put in is marked as not the policy's own.
 */
import type { Engine, WeightsChoice } from '../engines/engine.js';
import type { Reply } from '../policy/generate.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import { exactMatch } from '../reward/exact-match.js';
import type { Searcher } from '../search/passage.js';
import { endsTurn, type Protocol } from './protocol.js';
import type { Question } from './question.js';
import type { Group, Trajectory, Turn, TurnContent } from './trajectory.js';

/** What a policy acts in. */
export interface Environment {
  readonly protocol: Protocol;
  readonly searcher: Searcher;
}

export interface RolloutOptions {
  /** 1 in training (paper, Search-R1), 0 = greedy in evaluation. */
  readonly temperature?: number;
  readonly seed?: number;
  /** Tokens after the prompt, own and retrieved; default the protocol's. */
  readonly maxTokens?: number;
  /** Which weights write; default the current ones. */
  readonly weights?: WeightsChoice;
  /** Prompt text for a question; default the protocol's standard prompt. The teacher check passes the privileged one. */
  readonly promptOf?: (question: Question, index: number) => string;
  readonly batchSize?: number;
  readonly onProgress?: (finished: number, total: number) => void;
  /** Called for every turn as it ends, such as by `search-e1 ask`. */
  readonly onTurn?: (index: number, turn: Turn, ownText: string) => void;
  readonly signal?: AbortSignal;
}

/** One episode a question, in the order of the questions. */
export async function rollout(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  options: RolloutOptions = {},
): Promise<Trajectory[]> {
  const {
    temperature = 1,
    seed = 0,
    maxTokens = environment.protocol.maxTokens,
    promptOf = (q) => environment.protocol.prompt(q.question),
    onTurn,
    ...rest
  } = options;
  const { maxPromptTokens = Number.POSITIVE_INFINITY, scoredAnswer, topP } = environment.protocol;
  const prompts = questions.map((question, index) => engine.tokenizer.encode(promptOf(question, index)).slice(-maxPromptTokens));
  const episodes = questions.map((_, index) => new Episode(environment, engine.tokenizer, (turn, text) => onTurn?.(index, turn, text)));
  const sequences = await engine.sample(prompts, {
    ...rest,
    temperature,
    seed,
    maxTokens,
    topP,
    onToken: (index, token) => episodes[index].take(token),
  });
  return sequences.map(({ tokens, own, logProbs, truncated }, index) => {
    const { turns, finish } = episodes[index];
    const answer = scoredAnswer
      ? scoredAnswer(engine.tokenizer.decode(prompts[index]), engine.tokenizer.decode(tokens))
      : episodes[index].answer;
    return {
      question: questions[index],
      prompt: prompts[index],
      tokens,
      own,
      logProbs,
      turns,
      searches: turns.filter((turn) => turn.kind === 'search').length,
      answer,
      finish: truncated ? 'length' : finish,
      reward: answer === null ? 0 : exactMatch(answer, questions[index].goldenAnswers),
    };
  });
}

/** `siblings` episodes a question, grouped: the questions are repeated side by side so that they share a batch. */
export async function rolloutGroups(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  siblings: number,
  options: RolloutOptions = {},
): Promise<Group[]> {
  const repeated = questions.flatMap((question) => Array.from({ length: siblings }, () => question));
  const trajectories = await rollout(engine, environment, repeated, options);
  return questions.map((question, i) => ({ question, trajectories: trajectories.slice(i * siblings, (i + 1) * siblings) }));
}

/**
 * A closing tag has 9 letters, so it lies in the last few tokens of a turn that it ends: decoding the whole turn after each token would cost its square.
 * More than 9, as the last letters may share a token with what follows and some tokens decode to nothing.
 */
const TAG_TOKENS = 16;

/** The environment's side of one sequence. */
class Episode {
  readonly turns: Turn[] = [];
  answer: string | null = null;
  finish: Trajectory['finish'] = 'turns';
  #length = 0;
  #turnStart = 0;
  #turnTokens: number[] = [];

  constructor(
    private readonly environment: Environment,
    private readonly tokenizer: Tokenizer,
    private readonly onTurn: (turn: Turn, ownText: string) => void,
  ) {}

  take(token: number): Reply | Promise<Reply> {
    this.#length++;
    this.#turnTokens.push(token);
    const { maxTurnTokens, maxTurns } = this.environment.protocol;
    const ended = this.tokenizer.endIds.includes(token);
    const tail = this.tokenizer.decode(this.#turnTokens.slice(-TAG_TOKENS));
    if (!ended && !endsTurn(tail) && this.#turnTokens.length < maxTurnTokens) return 'continue';
    const text = this.tokenizer.decode(this.#turnTokens);
    const action = this.environment.protocol.parseAction(text);
    const closing = this.turns.length >= maxTurns;
    if (action.kind === 'answer') {
      this.answer = action.content;
      this.finish = 'answer';
      this.#close({ kind: 'answer', answer: action.content }, text);
      return 'end';
    }
    if (action.kind === 'search' && !closing) return this.#search(action.content, text);
    this.#close({ kind: 'invalid', reason: action.kind === 'search' ? 'a search in the closing turn' : action.reason }, text);
    if (!closing) return this.#show(this.environment.protocol.invalidFeedback);
    this.finish = ended ? 'end' : 'turns';
    return 'end';
  }

  async #search(query: string, text: string): Promise<Reply> {
    const { protocol, searcher } = this.environment;
    const [passages] = await searcher.search([query], protocol.passagesPerSearch);
    this.#close({ kind: 'search', query, passages }, text);
    return this.#show(protocol.observation(passages));
  }

  #close(what: TurnContent, text: string): void {
    const closed: Turn = { start: this.#turnStart, end: this.#length, ...what };
    this.turns.push(closed);
    this.#turnTokens = [];
    this.onTurn(closed, text);
  }

  /** The environment's tokens, cut to the protocol's length. */
  #show(text: string): readonly number[] {
    const tokens = this.tokenizer.encode(text).slice(0, this.environment.protocol.maxObservationTokens);
    this.#length += tokens.length;
    this.#turnStart = this.#length;
    return tokens;
  }
}
