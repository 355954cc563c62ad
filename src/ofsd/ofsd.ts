/**
 * Offline self-distillation (OFSD; called OPSD in the paper's second version): learn from your own best attempt.
 *
 * Teacher and student are one set of weights. The teacher is frozen (adapter off) and reads the privileged prompt; the student has a LoRA adapter on and
 * reads the standard prompt. Both score the student trajectory's own tokens; the adapter learns to bring the student's distributions to the teacher's, and is
 * merged at the end. Nothing is sampled: the pairs were made before.
 *
 * Unpublished and therefore named settings: rank, alpha, rate, clamp, epochs. `opsdV3` holds OPSD v3's, for real models: pass them yourself.
 * Tinypedia's were measured (a 0.4 M policy needs a higher rate and a wider clamp).
 */
import type { Engine, Loss, LossReport, Paired } from '../engines/engine.js';
import { settled, update } from '../engines/update.js';
import { located } from '../non-finite.js';
import { random } from '../random.js';
import type { Protocol } from '../rollout/protocol.js';
import { ownTokens } from '../rollout/scored.js';
import type { Pair } from '../siblings/siblings.js';
import type { AdamWSettings } from '../tensors/adamW.js';
import { checkClamp, forwardKlLoss } from './loss.js';
import { privilegedPrompt } from './privileged-prompt.js';

/** Everything that self-distillation is told. Search-E1 publishes none of it: `opsdV3` holds OPSD v3's, `classroomOfsd` what was measured on Tinypedia. */
export interface OfsdSettings {
  /** Passes over the pairs. Classroom: 1. */
  readonly epochs: number;
  /** Pairs an optimiser step. OPSD v3: 32; classroom: 16. */
  readonly batchSize: number;
  /** LoRA rank. OPSD v3: 64; classroom: 8. */
  readonly rank: number;
  /** LoRA's update is scaled by alpha / rank. OPSD v3: 128; classroom: 8. */
  readonly alpha: number;
  /** Upper bound of one vocabulary entry's contribution, nats. OPSD v3: 0.05; classroom: 2; Infinity: none. */
  readonly clamp: number;
  /** Optimiser steps over which the rate climbs from 0; then it falls linearly to a tenth. */
  readonly warmUpSteps: number;
  /** AdamW's, with the learning rate at the top of its climb. OPSD v3: 5e-6; classroom: 3e-3. */
  readonly optimizer: AdamWSettings;
  /** Of the adapter's start and the order of the pairs. An integer of at least 0. */
  readonly seed: number;
  /** `reference`: the paper's teacher. `none`: the control whose teacher reads the standard prompt and so knows nothing more. */
  readonly privileged: 'reference' | 'none';
}

/** What training an adapter needs, whatever the loss. */
export type AdapterSettings = Omit<OfsdSettings, 'clamp' | 'privileged'>;

/**
 * The classroom's settings, measured on Tinypedia: 1 epoch of 16 pairs a step, rank 8, clamp 2 nats, rate 3e-3.
 *
 * An entry above the clamp passes no gradient: a teacher that gives "go on" 0.9 where the student gives it p contributes 0.9 log(0.9 / p), which is above 2
 * nats for p below .098, so that the correction of a policy that always looks twice is lost. Distil before GRPO has made it so; a clamp of 4 or 8 did not
 * help those that were (tried).
 */
export const classroomOfsd: OfsdSettings = {
  epochs: 1,
  batchSize: 16,
  rank: 8,
  alpha: 8,
  clamp: 2,
  warmUpSteps: 5,
  optimizer: { learningRate: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 },
  seed: 1,
  privileged: 'reference',
};

/** OPSD v3 (siyan-zhao/OPSD, March 2026), for real language models. They are OPSD's, not Search-E1's: those are unpublished. */
export const opsdV3: OfsdSettings = {
  ...classroomOfsd,
  epochs: 1,
  batchSize: 32,
  rank: 64,
  alpha: 128,
  clamp: 0.05,
  optimizer: { learningRate: 5e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0.1 },
};

/** @throws RangeError naming the first setting that cannot be meant, with what was got and what is expected */
export function checkOfsdSettings({ clamp, privileged, ...adapter }: OfsdSettings): void {
  checkAdapterSettings(adapter);
  checkClamp(clamp, 'ofsd.clamp');
  if (privileged !== 'reference' && privileged !== 'none')
    throw new RangeError(`ofsd.privileged: expected 'reference' or 'none', got ${JSON.stringify(privileged)}`);
}

function checkAdapterSettings({ epochs, batchSize, rank, alpha, warmUpSteps, optimizer, seed }: AdapterSettings): void {
  for (const [name, value, least] of [
    ['epochs', epochs, 1],
    ['batchSize', batchSize, 1],
    ['rank', rank, 1],
    ['warmUpSteps', warmUpSteps, 0],
    ['seed', seed, 0],
  ] as const)
    if (!Number.isSafeInteger(value) || value < least)
      throw new RangeError(`ofsd.${name}: expected an integer of at least ${least}, got ${value}`);
  if (!(alpha > 0 && alpha < Number.POSITIVE_INFINITY)) throw new RangeError(`ofsd.alpha: expected a number above 0, got ${alpha}`);
  const rate = optimizer?.learningRate;
  if (!(rate >= 0 && rate < Number.POSITIVE_INFINITY))
    throw new RangeError(`ofsd.optimizer.learningRate: expected a number of at least 0, got ${rate}`);
}

/** What an optimiser step of the distillation did. */
export interface OfsdMetrics {
  /** From 1. */
  readonly step: number;
  /** Clamped, mean over own tokens: what is minimised. May be negative. */
  readonly loss: number;
  /** The true KL(teacher || student), nats a token. */
  readonly kl_unclamped: number;
  /** Own tokens that were scored. */
  readonly tokens: number;
  /** Norm of all gradients together, before clipping. */
  readonly grad_norm: number;
  /** Of this step. */
  readonly learning_rate: number;
}

/** Where a distillation goes on from, and who hears of its steps. */
export interface OfsdOptions extends Pick<TrainAdapterOptions, 'from' | 'signal'> {
  /** Called, and waited for, after every step. The adapter is still on: what `Engine.save` writes here can be gone on `from`. */
  readonly onStep?: (metrics: OfsdMetrics, total: number) => void | Promise<void>;
}

/**
 * What teacher and student score of a pair: the student trajectory's own tokens, after the privileged prompt and after the standard one.
 *
 * @param privileged `none`: the teacher reads the standard prompt, too (the control); default `reference`
 * @returns the student's sequence, and as `teacher` the same tokens after the other prompt; both `scored` are of one length
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, pairSiblings, rolloutGroups, tinypedia } from 'search-e1';
 * import { pairedSequences } from 'search-e1/ofsd';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const { pairs } = pairSiblings(await rolloutGroups(engine, environment, train.slice(0, 4), 8, { seed: 1 }));
 * const { tokens, scored, teacher } = pairedSequences(engine, classroomProtocol, pairs[0]);
 * scored.length === teacher.scored.length; // true
 * teacher.tokens.length > tokens.length; // true
 * ```
 */
export function pairedSequences(
  engine: Pick<Engine, 'tokenizer'>,
  protocol: Protocol,
  { student, reference }: Pair,
  privileged: OfsdSettings['privileged'] = 'reference',
): Paired {
  const { tokenizer } = engine;
  const prompt = tokenizer.encode(
    privilegedPrompt(protocol, tokenizer, student.question.question, privileged === 'reference' ? reference : null),
  );
  return { ...ownTokens(student), teacher: ownTokens({ ...student, prompt }) };
}

/**
 * Offline self-distillation (OFSD; OPSD in the paper's second version): distils the pairs into the engine's policy, in place. Adapter on, train, merge;
 * nothing is sampled.
 *
 * Teacher and student are one set of weights. The teacher, adapter off, reads the privileged prompt; the student, adapter on, the standard one; both score
 * the student trajectory's own tokens. The loss is the clamped forward KL of `forwardKlLoss`, mean over the tokens. The rate climbs over `warmUpSteps`, then
 * falls linearly to a tenth.
 *
 * @returns the metrics of every step taken, oldest first
 * @throws RangeError naming the first setting that cannot be meant
 * @throws Error without a pair
 * @throws NonFiniteError where a loss or gradient is NaN or infinite. Then, and where the signal fires, the adapter is taken off, and the policy is as it was
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomOfsd, classroomProtocol, createSearcher, ofsd, openEngine, pairSiblings, rolloutGroups, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const { pairs } = pairSiblings(await rolloutGroups(engine, environment, train.slice(0, 4), 8, { seed: 1 }));
 * const [step] = await ofsd(engine, classroomProtocol, pairs, classroomOfsd);
 * [step.step, step.tokens > 0, step.kl_unclamped > 0]; // [ 1, true, true ]
 * ```
 */
export async function ofsd(
  engine: Engine,
  protocol: Protocol,
  pairs: readonly Pair[],
  settings: OfsdSettings,
  { onStep, from, signal }: OfsdOptions = {},
): Promise<OfsdMetrics[]> {
  checkOfsdSettings(settings);
  if (pairs.length === 0)
    throw new Error('OFSD needs at least one pair: every group was without a correct attempt, or without a different one');
  const data = pairs.map((pair) => pairedSequences(engine, protocol, pair, settings.privileged));
  const history: OfsdMetrics[] = [];
  await trainAdapter(engine, data, (batch) => forwardKlLoss(batch, settings), settings, {
    from,
    signal,
    async onStep({ step, total, loss, tokens, metrics, gradNorm, learningRate }) {
      const done: OfsdMetrics = {
        step,
        loss,
        kl_unclamped: metrics.kl_unclamped,
        tokens,
        grad_norm: gradNorm,
        learning_rate: learningRate,
      };
      history.push(done);
      await onStep?.(done, total);
    },
  });
  return history;
}

/** What one optimiser step of an adapter did. */
export interface AdapterStep extends LossReport {
  /** From 1. */
  readonly step: number;
  /** Steps of all epochs. */
  readonly total: number;
  /** Norm of all gradients together, before clipping. */
  readonly gradNorm: number;
  /** Of this step. */
  readonly learningRate: number;
}

/** Where the training of an adapter goes on from, and who hears of its steps. */
export interface TrainAdapterOptions {
  /** Go on after this many steps of an earlier training with the same data and settings, from the folder that `Engine.save` wrote after them. */
  readonly from?: { readonly step: number; readonly folder: string };
  /** Called, and waited for, after every step; the adapter is still on. */
  readonly onStep?: (step: AdapterStep) => void | Promise<void>;
  /** Ends the training before its next step and takes the adapter off; the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Trains a LoRA adapter on a loss of your own: adapter on, `epochs` shuffled passes over the data, merge. `ofsd` is this with the forward KL.
 *
 * Where it fails, or the signal fires, the adapter is taken off again and the policy is as it was before. The rate climbs over `warmUpSteps`, then falls
 * linearly to a tenth.
 *
 * @param data in the form that `lossOf` takes; a step gets `batchSize` of it
 * @param lossOf the loss of a step's batch, such as `crossEntropyLoss` over `ownTokens`
 * @throws RangeError naming the first setting that cannot be meant, and for a `from.step` beyond the steps
 * @throws Error without data
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomOfsd, classroomProtocol, createSearcher, crossEntropyLoss, openEngine, pairSiblings, rolloutGroups, tinypedia } from 'search-e1';
 * import { trainAdapter } from 'search-e1/ofsd';
 * import { ownTokens } from 'search-e1/rollout';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const { pairs } = pairSiblings(await rolloutGroups(engine, environment, train.slice(0, 4), 8, { seed: 1 }));
 * const references = pairs.map(({ reference }) => ownTokens(reference));
 * const losses: number[] = [];
 * await trainAdapter(engine, references, crossEntropyLoss, { ...classroomOfsd, epochs: 3 }, { onStep: ({ loss }) => void losses.push(loss) });
 * losses.length; // 3
 * ```
 */
export async function trainAdapter<T>(
  engine: Engine,
  data: readonly T[],
  lossOf: (batch: readonly T[]) => Loss,
  settings: AdapterSettings,
  { from, onStep, signal }: TrainAdapterOptions = {},
): Promise<void> {
  checkAdapterSettings(settings);
  if (data.length === 0) throw new Error('an adapter is trained on at least one sequence, got none');
  const batches = batchesOf(data, settings);
  if (from && !(Number.isSafeInteger(from.step) && from.step >= 1 && from.step <= batches.length))
    throw new RangeError(`from.step: expected a step from 1 to ${batches.length}, got ${from.step}`);
  await settled(engine); // a turn later, too: no interrupt comes between an adapter and the `try` that takes it off
  if (from) await engine.load(from.folder);
  else engine.addAdapter({ rank: settings.rank, alpha: settings.alpha, seed: settings.seed });
  try {
    for (const [index, batch] of batches.entries()) {
      if (index < (from?.step ?? 0)) continue;
      signal?.throwIfAborted();
      const learningRate = settings.optimizer.learningRate * schedule(index, batches.length, settings.warmUpSteps);
      const work = update(engine, async () => ({
        ...(await engine.forwardBackward(lossOf(batch), { signal })),
        ...(await engine.optimStep({ ...settings.optimizer, learningRate })),
      }));
      const here = `step ${index + 1} of ${batches.length} of the adapter`;
      const { gradNorm, ...report } = await located(work, here, 'the weights are those before the adapter, which is taken off');
      await onStep?.({ ...report, step: index + 1, total: batches.length, gradNorm, learningRate });
    }
  } catch (error) {
    engine.dropAdapter();
    throw error;
  }
  engine.mergeAdapter();
}

/** Shuffled batches of all epochs; the last of an epoch may be smaller. */
export function batchesOf<T>(data: readonly T[], { epochs, batchSize, seed }: Pick<OfsdSettings, 'epochs' | 'batchSize' | 'seed'>): T[][] {
  const size = Math.min(batchSize, data.length);
  return Array.from({ length: epochs }, (_, epoch) => {
    const shuffled = random(seed, 'ofsd', epoch).shuffle(data);
    return Array.from({ length: Math.ceil(data.length / size) }, (_, i) => shuffled.slice(i * size, (i + 1) * size));
  }).flat();
}

/** Linear warm-up, then linear decay to a tenth. */
export const schedule = (index: number, total: number, warmUpSteps: number): number =>
  index < warmUpSteps ? (index + 1) / warmUpSteps : 1 - (0.9 * (index - warmUpSteps)) / Math.max(1, total - warmUpSteps - 1);
