/**
 * Episodes: the policy writes, the environment answers, until there is an answer or the turns are used up.
 *
 * A turn ends at the first `</search>` or `</answer>` in the policy's own text, at an end-of-sequence token, or at the turn's token limit. A search is
 * answered with passages, anything else that is not an answer with feedback; both use up a turn. After `maxTurns` of them one closing turn is left, in which
 * only an answer counts (Search-R1: max_turns steps and one final generation). Token in, token out: the sampled ids are kept as they are, and what the
 * environment put in is marked as not the policy's own. A protocol may ask for Search-R1's own way instead, which cuts a turn's text and tokenises it again.
 */
import { checkObject, checkOptions } from '../arguments.js';
import type { Engine, WeightsChoice } from '../engines/engine.js';
import { settled } from '../engines/update.js';
import type { Reply, Rewrite } from '../policy/generate.js';
import { type MarkedText, plain } from '../policy/marked-text.js';
import { checkSampling, type SamplingLimits } from '../policy/sampling-limits.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import { exactMatch } from '../reward/exact-match.js';
import { type ScoredPassage, SearchError, type Searcher } from '../search/passage.js';
import { endsTurn, type Protocol, SEARCH_FAILED } from './protocol.js';
import { checkQuestions, type Question } from './question.js';
import { ownTokens } from './scored.js';
import type { Group, Trajectory, Turn, TurnContent } from './trajectory.js';
import { writtenText } from './written-text.js';

/** What a policy acts in. */
export interface Environment {
  /** The words and the lengths of the conversation. */
  readonly protocol: Protocol;
  /** What carries the searches out: `createSearcher`, `retrievalServer`, or your own. */
  readonly searcher: Searcher;
}

/** Options of `rollout` and `rolloutGroups`. Limits of sampling, where given, take the place of the protocol's. */
export interface RolloutOptions extends SamplingLimits {
  /** Default 1, as in training (paper, Search-R1); 0 is greedy, as in evaluation. */
  readonly temperature?: number;
  /** Of the draws; default 0. The same seed, weights and backend write the same episodes. */
  readonly seed?: number;
  /** Tokens after the prompt, own and retrieved; default the protocol's. */
  readonly maxTokens?: number;
  /** Which weights write; default the current ones. */
  readonly weights?: WeightsChoice;
  /**
   * Prompt text for a question; default the protocol's standard prompt. The teacher check passes the privileged one. A string may hold control tokens
   * throughout.
   */
  readonly promptOf?: (question: Question, index: number) => string | MarkedText;
  /** Sequences that are held side by side, searching ones included; default 160. */
  readonly batchSize?: number;
  /** Called as episodes end. */
  readonly onProgress?: (finished: number, total: number) => void;
  /** Called for every turn as it ends, such as by `search-e1 ask`. */
  readonly onTurn?: (index: number, turn: Turn, ownText: string) => void;
  /** Ends the sampling: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

const OPTIONS: readonly (keyof RolloutOptions)[] = [
  ...(['temperature', 'seed', 'maxTokens', 'weights', 'promptOf', 'batchSize', 'onProgress', 'onTurn', 'signal'] as const),
  ...(['topK', 'topP', 'minP', 'repetitionPenalty'] as const),
];

/**
 * One episode a question, in the order of the questions: the policy writes, the environment answers, until there is an answer or the turns are used up.
 *
 * A turn ends at the first `</search>` or `</answer>` of the policy's own text, at an end token, or at the protocol's limit. After `maxTurns` searches and
 * invalid actions one closing turn is left, in which only an answer counts (Search-R1). A search that fails is told to the policy and counted, and ends
 * nothing.
 *
 * @throws TypeError for what is no engine, environment or question, naming it, and for options that there are not
 * @throws RangeError for a temperature, a limit or a length out of its range
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rollout, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [trajectory] = await rollout(await openEngine(), environment, train.slice(0, 1), { temperature: 0 });
 * trajectory.question.question; // 'what is the source of Delwy Run ?'
 * trajectory.turns.map(({ kind }) => kind); // [ 'search', 'answer' ]
 * trajectory.answer; // 'Valmar Republic'
 * trajectory.reward; // 1
 * ```
 */
export async function rollout(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  options: RolloutOptions = {},
): Promise<Trajectory[]> {
  checkObject('rollout', 'engine', engine, ['sample', 'tokenizer']);
  checkObject('rollout', 'environment', environment, ['protocol', 'searcher']);
  checkQuestions('rollout', questions);
  checkOptions('rollout', options, OPTIONS);
  const {
    temperature = 1,
    seed = 0,
    maxTokens = environment.protocol.maxTokens,
    promptOf = (q) => environment.protocol.prompt(q.question),
    onTurn,
    ...rest
  } = options;
  checkSampling({ ...options, temperature, maxTokens });
  const { protocol } = environment;
  const { maxPromptTokens = Number.POSITIVE_INFINITY, maxContextTokens = Number.POSITIVE_INFINITY, searchR1Answer } = protocol;
  const asked = questions.map((question, index) => engine.tokenizer.encode(promptOf(question, index)));
  const read = asked.map((prompt) => prompt.slice(-maxContextTokens));
  const prompts = asked.map((prompt) => prompt.slice(-Math.min(maxPromptTokens, maxContextTokens)));
  const episodes = questions.map(
    (_, index) => new Episode(environment, engine.tokenizer, maxTokens, (turn, text) => onTurn?.(index, turn, text), rest.signal),
  );
  await settled(engine);
  const sequences = await engine.sample(read, {
    ...rest,
    topP: rest.topP ?? protocol.topP,
    temperature,
    seed,
    maxTokens: protocol.keptText ? maxTokens + protocol.maxTurnTokens : maxTokens,
    onToken: (index, token) => episodes[index].take(token),
  });
  const trajectories = sequences.map(({ tokens, own, logProbs, truncated }, index): Trajectory => {
    const { turns, finish, answer } = episodes[index];
    const { goldenAnswers } = questions[index];
    const whole = searchR1Answer?.(engine.tokenizer.decode(prompts[index]), engine.tokenizer.decode(tokens));
    return {
      question: questions[index],
      prompt: prompts[index],
      tokens,
      own,
      logProbs: prompts[index].length === read[index].length ? logProbs : logProbs.map((p, t) => (own[t] ? Number.NaN : p)),
      turns,
      searches: turns.filter((turn) => turn.kind === 'search').length,
      failedSearches: turns.filter((turn) => 'failed' in turn).length,
      answer,
      finish: truncated ? 'length' : finish,
      reward: exactMatch(answer, goldenAnswers),
      ...(whole !== undefined && { searchR1Score: exactMatch(whole, goldenAnswers) }),
    };
  });
  return temperature > 0 ? withLogProbs(engine, trajectories, temperature, rest.weights) : trajectories;
}

/** Fills in the log-probabilities of tokens that were not sampled as they are kept: those of the whole sequence, which is what is trained on. */
async function withLogProbs(
  engine: Engine,
  trajectories: readonly Trajectory[],
  temperature: number,
  weights?: WeightsChoice,
): Promise<Trajectory[]> {
  const unknown = trajectories.filter(({ logProbs }) => logProbs.some(Number.isNaN));
  if (unknown.length === 0) return [...trajectories];
  const forward = await engine.forward(unknown.map(ownTokens), weights, temperature);
  const known = new Map(unknown.map((trajectory, i) => [trajectory, forward[i]]));
  return trajectories.map((trajectory) => {
    const ownLogProbs = known.get(trajectory)?.values();
    if (!ownLogProbs) return trajectory;
    const { own, logProbs } = trajectory;
    return { ...trajectory, logProbs: logProbs.map((p, t) => (own[t] ? (ownLogProbs.next().value as number) : p)) };
  });
}

/**
 * Several episodes a question, grouped by question, in the order of the questions: what GRPO compares and siblings are chosen from. All share one batch.
 *
 * @param siblings attempts at a question: GRPO's G (paper: 5), or K (unpublished; classroom: 8)
 * @throws RangeError for a number of siblings that is no whole number above 0, and as `rollout` does
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rolloutGroups, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const groups = await rolloutGroups(await openEngine(), environment, train.slice(0, 2), 5, { temperature: 1, seed: 7 });
 * groups.map(({ trajectories }) => trajectories.length); // [ 5, 5 ]
 * groups[0].trajectories.every(({ reward }) => reward === 0 || reward === 1); // true
 * ```
 */
export async function rolloutGroups(
  engine: Engine,
  environment: Environment,
  questions: readonly Question[],
  siblings: number,
  options: RolloutOptions = {},
): Promise<Group[]> {
  if (!(Number.isInteger(siblings) && siblings > 0))
    throw new RangeError(`rollout: the attempts at a question should be a whole number above 0, got ${siblings}`);
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
  #turnStart = 0;
  #turnTokens: number[] = [];

  constructor(
    private readonly environment: Environment,
    private readonly tokenizer: Tokenizer,
    private readonly maxTokens: number,
    private readonly onTurn: (turn: Turn, ownText: string) => void,
    private readonly signal?: AbortSignal,
  ) {}

  take(token: number): Reply | Promise<Reply> {
    this.#turnTokens.push(token);
    const { maxTurnTokens, maxTurns, endsTurn: isOver = endsTurn, keptText } = this.environment.protocol;
    const decode = (ids: readonly number[]) => this.tokenizer.decode(ids, { skipSpecialTokens: keptText !== undefined });
    const ended = this.tokenizer.endIds.includes(token);
    if (!ended && !isOver(decode(this.#turnTokens.slice(-TAG_TOKENS))) && this.#turnTokens.length < maxTurnTokens) return 'continue';
    const kept = keptText && this.#kept(keptText);
    const text = kept ? kept.text : decode(this.#turnTokens);
    const action = this.environment.protocol.parseAction(text);
    const closing = this.turns.length >= maxTurns;
    if (action.kind === 'answer') {
      this.answer = action.content;
      this.finish = 'answer';
      return this.#close({ kind: 'answer', answer: action.content }, text, null, kept);
    }
    if (action.kind === 'search' && !closing) return this.#search(action.content, text, kept);
    const invalid = { kind: 'invalid', reason: action.kind === 'search' ? 'a search in the closing turn' : action.reason } as const;
    if (!closing) return this.#close(invalid, text, this.environment.protocol.invalidFeedback, kept);
    this.finish = ended ? 'end' : 'turns';
    return this.#close(invalid, text, null, kept);
  }

  /** A search that fails is told to the policy, as one that finds nothing is: it must not end the episodes of all others. */
  async #search(query: string, text: string, kept?: Kept): Promise<Reply> {
    const { protocol, searcher } = this.environment;
    let passages: readonly ScoredPassage[];
    try {
      [passages] = await searcher.search([query], protocol.passagesPerSearch, { signal: this.signal });
    } catch (error) {
      this.signal?.throwIfAborted();
      if (!(error instanceof SearchError)) throw error;
      const failed = { kind: 'search', query, passages: [], failed: error.message } as const;
      return this.#close(failed, text, protocol.failedSearch ?? SEARCH_FAILED, kept);
    }
    return this.#close({ kind: 'search', query, passages }, text, protocol.observation(passages), kept);
  }

  /** Ends a turn; what the environment says, cut to the protocol's length, begins the next, and null ends the episode. */
  #close(what: TurnContent, text: string, said: string | MarkedText | null, kept?: Kept): Reply {
    const sampled = this.#turnTokens;
    const shown = said === null ? [] : this.tokenizer.encode(said).slice(0, this.environment.protocol.maxObservationTokens);
    const rewrite = kept && this.#rewrite(kept, shown, said === null);
    const [start, end] = [this.#turnStart, this.#turnStart + (rewrite?.own ?? sampled).length];
    this.#turnStart = end + (rewrite?.shown ?? shown).length;
    this.#turnTokens = [];
    const turn: Turn = { start, end, ...what };
    this.turns.push(turn);
    this.onTurn(turn, text);
    return rewrite ?? (said === null ? 'end' : shown);
  }

  /**
   * What Search-R1 keeps of a turn's text, tokenised again: no padding token stands between others, and what exceeds the episode's length is dropped and does
   * not act.
   */
  #kept(keptText: (ownText: string) => string): Kept {
    const written = writtenText(this.tokenizer, this.#turnTokens, { skipSpecialTokens: true });
    const text = keptText(String(written));
    const own = this.#withoutPadding(this.tokenizer.encode(String(written).startsWith(text) ? written.slice(text.length) : plain(text)));
    const room = this.maxTokens - this.#turnStart;
    if (own.length <= room) return { own, text, cut: false };
    return { own: own.slice(0, room), text: this.tokenizer.decode(own.slice(0, room)), cut: true };
  }

  #rewrite({ own, cut }: Kept, shown: readonly number[], last: boolean): Rewrite {
    const room = this.maxTokens - this.#turnStart - own.length;
    const heard = this.#withoutPadding(shown);
    const full = cut || heard.length > room || (heard.length === room && !last);
    if (full) this.finish = 'length';
    return {
      takeBack: this.#turnTokens.length,
      own,
      shown: heard.slice(0, room),
      readLast: this.environment.protocol.maxContextTokens,
      end: last || full,
    };
  }

  #withoutPadding(ids: readonly number[]): number[] {
    return ids.filter((id) => id !== this.tokenizer.padId);
  }
}

/** A turn as a protocol keeps it. */
interface Kept {
  readonly own: readonly number[];
  readonly text: string;
  /** Whether the episode's length cut it. */
  readonly cut: boolean;
}
