/**
 * One GRPO step by this package's `grpo`: rollouts in an environment, rewards, reference pass, loss, optimiser.
 *
 * Lengths are forced by what the environment is told, not by what is drawn: where a turn has to end it is told a closing tag. For the check the rollouts are the
 * peer's, played back token by token, so that both sides learn from the same completions.
 */
import { type Engine, type Environment, grpo, type Protocol, parseAction, type Question, rolloutGroups, type Trajectory } from 'search-e1';
import type { GrpoMetrics } from 'search-e1/grpo';
import type { Reply, SampledSequence } from 'search-e1/policy';
import { ownTokens } from 'search-e1/rollout';
import type { Check, GroupCheck, GrpoParams, SearchParams } from '../messages.js';
import type { Job } from './job.js';
import { openEngine, RIGHT, SEARCH, text, WRONG } from './words.js';

/** How an episode goes: own tokens of each turn; each but the last ends in a search. */
interface Plan {
  readonly turnTokens: readonly number[];
  /** Shown after a search. */
  readonly observation: readonly number[];
}

export function grpoStep(job: Job, folder: string, params: GrpoParams, peer: Check | null): Promise<void> {
  return repeatGrpo(job, folder, params, { turnTokens: [params.newTokens], observation: [] }, peer as GroupCheck | null);
}

export function searchStep(job: Job, folder: string, params: SearchParams, peer: Check | null): Promise<void> {
  const { vocabulary, passage, turnTokens } = params;
  const [user, tool, assistant] = [vocabulary - 5, vocabulary - 4, vocabulary - 3]; // as the peer's chat template has them
  const prompts = params.prompts.map((prompt) => [user, ...prompt, assistant]);
  const plan = { turnTokens: [turnTokens, turnTokens], observation: [tool, ...passage, assistant] };
  return repeatGrpo(job, folder, { ...params, prompts }, plan, peer as GroupCheck | null);
}

type GroupParams = Omit<GrpoParams, 'newTokens'>;

async function repeatGrpo(job: Job, folder: string, params: GroupParams, plan: Plan, peer: GroupCheck | null): Promise<void> {
  const engine = await openEngine(folder);
  const scripted: Engine = {
    ...engine,
    sample: (prompts, options) => engine.sample(prompts, { ...options, onToken: told(plan, params, options.onToken as OnToken) }),
  };
  const environment = environmentOf(plan);
  const questions = params.prompts.map(
    (prompt, i): Question => ({ id: `${i}`, dataset: 'bench', question: text(prompt), goldenAnswers: ['yes'] }),
  );
  const reference = engine.snapshot();
  const step = async (acting: Engine, seed: number): Promise<GrpoMetrics> => {
    const settings = {
      steps: 1,
      questionsPerStep: questions.length,
      groupSize: params.groupSize,
      miniBatches: 1,
      temperature: 1,
      clipLow: params.clip,
      clipHigh: params.clip,
      beta: params.beta,
      warmUpSteps: 0,
      optimizer: { learningRate: params.learningRate, clipNorm: params.clipNorm },
      seed,
    };
    const [metrics] = await grpo(acting, environment, questions, settings, { reference });
    return metrics;
  };

  const groups = await rolloutGroups(scripted, environment, questions, params.groupSize);
  const drawn = groups.flatMap(({ trajectories }) => trajectories);
  const completions = peer ?? { prompts: drawn.map((t) => t.prompt), completions: drawn.map((t) => t.tokens), own: drawn[0].own };
  const logProbs = await engine.forward(
    completions.completions.map((tokens, i) => ownTokens({ ...drawn[0], prompt: completions.prompts[i], tokens, own: completions.own })),
  );
  const error = await samplerError(engine, drawn);
  const metrics = await step(playBack(engine, completions, logProbs, plan, params), 1);
  job.checked({
    own: drawn.map(({ own }) => own),
    samplerError: error,
    logProbs: logProbs.map((row) => [...row]),
    reward: metrics['reward/mean'],
    loss: metrics.loss,
    gradNorm: metrics.grad_norm,
  });
  for (let seed = 2; await job.again(); seed++) {
    await step(scripted, seed);
    job.done();
  }
  reference.dispose();
  engine.dispose();
}

function environmentOf({ turnTokens, observation }: Plan): Environment {
  const protocol: Protocol = {
    name: 'bench',
    maxTurns: turnTokens.length - 1,
    passagesPerSearch: 1,
    maxTurnTokens: Math.max(...turnTokens),
    maxObservationTokens: observation.length,
    maxTokens: 400,
    prompt: (question) => question,
    privilegedPrompt: (question, reference) => `${question}${reference}`,
    observation: ([passage]) => passage.text,
    invalidFeedback: '',
    parseAction,
  };
  const passage = { id: '1', title: '', text: text(observation), score: 1 };
  return { protocol, searcher: { search: async (queries) => queries.map(() => [passage]) } };
}

type OnToken = (sequence: number, token: number) => Reply | Promise<Reply>;

/** Tells the environment what was drawn, and at the end of a turn a search, a right or a wrong answer. */
function told({ turnTokens }: Plan, { groupSize, rewarded }: GroupParams, tell: OnToken): OnToken {
  const ends = turnTokens.map((_, turn) => turnTokens.slice(0, turn + 1).reduce((sum, n) => sum + n, 0));
  const written = new Map<number, number>();
  return (sequence, token) => {
    const count = (written.get(sequence) ?? 0) + 1;
    written.set(sequence, count);
    const turn = ends.indexOf(count);
    if (turn < 0) return tell(sequence, token);
    if (turn < ends.length - 1) return tell(sequence, SEARCH);
    return tell(sequence, sequence % groupSize < rewarded ? RIGHT : WRONG);
  };
}

/** The engine, but what it samples was written before: the k-th row that asks for a prompt gets the prompt's k-th completion. */
function playBack(
  engine: Engine,
  { prompts, completions, own }: GroupCheck,
  logProbs: readonly Float32Array[],
  plan: Plan,
  params: GroupParams,
): Engine {
  return {
    ...engine,
    async sample(asked, { onToken }) {
      const left = prompts.map((prompt, i) => ({ prompt: prompt.join(), i }));
      const tell = told(plan, params, onToken as OnToken);
      const sequences: SampledSequence[] = [];
      for (const [sequence, prompt] of asked.entries()) {
        const at = left.findIndex((row) => row.prompt === prompt.join());
        if (at < 0) throw new Error(`no completion to play back for prompt ${sequence}`);
        const [{ i }] = left.splice(at, 1);
        const scores = [...logProbs[i]];
        for (const [t, token] of completions[i].entries()) if (own[t]) await tell(sequence, token);
        sequences.push({
          tokens: [...completions[i]],
          own: [...own],
          logProbs: own.map((mine) => (mine ? (scores.shift() as number) : 0)),
          truncated: false,
        });
      }
      return sequences;
    },
  };
}

/** Largest difference between the log-probabilities of sampling and those of a forward pass over the same tokens, nats. */
async function samplerError(engine: Engine, drawn: readonly Trajectory[]): Promise<number> {
  const again = await engine.forward(drawn.map(ownTokens));
  const errors = drawn.flatMap(({ own, logProbs }, i) => logProbs.filter((_, t) => own[t]).map((p, n) => Math.abs(p - again[i][n])));
  return errors.reduce((most, error) => Math.max(most, error), 0);
}
