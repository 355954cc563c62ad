/** Self-distillation by this package's `ofsd`: one call is adapter on, some steps over all pairs, merge. */
import { classroomProtocol, ofsd, type Pair, type Trajectory } from 'search-e1';
import type { OfsdMetrics } from 'search-e1/ofsd';
import type { OfsdParams } from '../messages.js';
import type { Job } from './job.js';
import { ADAPTER_SEED } from './training.js';
import { openEngine, text } from './words.js';

export async function ofsdSteps(job: Job, folder: string, params: OfsdParams): Promise<void> {
  const { own, rates, rank, alpha, clamp, learningRate, clipNorm } = params;
  const engine = await openEngine(folder);
  const protocol = {
    ...classroomProtocol,
    prompt: (question: string) => question,
    privilegedPrompt: (question: string, reference: string) => `${question}${reference}`,
  };
  const pairs = params.pairs.map(({ prompt, reference, tokens }, i): Pair => {
    const attempt = { question: { id: `${i}`, dataset: 'bench', question: text(prompt), goldenAnswers: [] }, prompt, ...UNREAD };
    const read = { ...attempt, tokens: reference, own: reference.map(() => true), logProbs: reference.map(() => 0) };
    return { student: { ...attempt, tokens, own, logProbs: own.map(() => 0) }, reference: read, distance: 1, reason: 'the bench' };
  });
  const settings = {
    epochs: rates.length,
    batchSize: pairs.length,
    rank,
    alpha,
    clamp,
    warmUpSteps: 0,
    optimizer: { learningRate, clipNorm },
    seed: ADAPTER_SEED,
    privileged: 'reference' as const,
  };
  const distil = (): Promise<OfsdMetrics[]> => ofsd(engine, protocol, pairs, settings);
  const history = await distil();
  job.checked({
    loss: history.map(({ loss }) => loss),
    kl: history.map((step) => step.kl_unclamped),
    gradNorm: history.map((step) => step.grad_norm),
  });
  while (await job.again()) {
    await distil();
    job.done(rates.length);
  }
  engine.dispose();
}

/** Fields of a trajectory that distillation does not read. */
const UNREAD: Pick<Trajectory, 'turns' | 'searches' | 'answer' | 'finish' | 'reward'> = {
  turns: [],
  searches: 0,
  answer: null,
  finish: 'answer',
  reward: 0,
};
