/**
 * The engine in process: TensorFlow.js on the active backend.
 *
 * Training batches are cut into micro-batches that a memory budget holds (`micro-batches.ts`); gradients are summed over them, each divided so that the
 * total is that of the whole batch. Nothing is padded, what sequences begin with in common is computed once
 * (`packing.ts`), and logits exist for scored positions only.
 */

import * as tf from '@tensorflow/tfjs-core';
import { checkObject, checkOptions } from '../arguments.js';
import { assertFinite } from '../non-finite.js';
import { checkNumber, shown } from '../number-setting.js';
import type { Pass } from '../policy/activation-memory.js';
import { holdsAdapter, loadAdapter, saveAdapter } from '../policy/adapter-files.js';
import { assignWeights, savePolicy } from '../policy/checkpoint.js';
import { type DecoderWeights, decode, headOf } from '../policy/decoder.js';
import { generate } from '../policy/generate.js';
import type { Policy } from '../policy/policy.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import { AdamW } from '../tensors/adamW.js';
import { capacity } from '../tensors/capacity.js';
import { kernelSet } from '../tensors/dispatch.js';
import { embedding } from '../tensors/embedding.js';
import { forwardKl } from '../tensors/forward-kl.js';
import { valueAndGradients } from '../tensors/gradients.js';
import { halfFormat } from '../tensors/half.js';
import { linear } from '../tensors/linear.js';
import { nextTurn } from '../tensors/next-turn.js';
import { selectedLogProbs } from '../tensors/selected-log-probs.js';
import type { Engine, Loss, LossReport, Paired, Scored, Snapshot, TokenValues, WeightsChoice } from './engine.js';
import { checkLoss, checkPaired, checkPrompts, checkScored, checkWriting } from './engine-data.js';
import { cutIntoMicroBatches, defaultBudget, type MicroBatch } from './micro-batches.js';
import { checkOptimizer } from './optimizer-settings.js';
import { pack } from './packing.js';
import { Updates } from './update.js';

/** How the engine works, and never what it computes. */
export interface InProcessOptions {
  /**
   * Bytes that a micro-batch may hold beside weights, gradients and moments: changes no result beyond rounding. Default: 128 MiB, or what a larger model
   * needs for 1,024 tokens (webgpu: 4,096). Ours.
   */
  readonly memoryBudget?: number;
  /** Whether activations are computed twice rather than kept. `auto`: for a sequence that alone passes the budget. Ours; Transformers: false. */
  readonly gradientCheckpointing?: 'auto' | boolean;
  /** Copied beside every checkpoint, so that the folder is complete. */
  readonly tokenizerFolder?: string;
}

export const IN_PROCESS_OPTIONS: readonly string[] = [
  'memoryBudget',
  'gradientCheckpointing',
  'tokenizerFolder',
] satisfies (keyof InProcessOptions)[];

/** The engine, and the policy it trains. */
export interface InProcessEngine extends Engine {
  /** What is trained; its weights change in place. */
  readonly policy: Policy;
  /**
   * What `forwardBackward` has gathered since the last `optimStep`, by the names of `policy.trainable`: a PyTorch user's `p.grad`. They belong to the engine, which disposes
   * them with the next `optimStep` or `resetOptimizer`; `await gradients.get(name)?.data()` gives numbers to keep.
   */
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
}

interface FrozenWeights extends Snapshot {
  /** Null once it is disposed. */
  model: DecoderWeights | null;
}

/**
 * The engine over a policy that is already on the backend. The policy belongs to the engine from here on.
 *
 * @example
 * ```ts
 * import { inProcessEngine } from 'search-e1/engines';
 * import { loadPolicy, loadTokenizer } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const folder = basePolicyFolder();
 * const engine = inProcessEngine(await loadPolicy(folder), await loadTokenizer(folder), { tokenizerFolder: folder });
 * const tokens = engine.tokenizer.encode('Amber Falcon');
 * const [logProbs] = await engine.forward([{ tokens, scored: [1] }]);
 * logProbs.length; // 1
 * ```
 */
export function inProcessEngine(policy: Policy, tokenizer: Tokenizer | null, options: InProcessOptions = {}): InProcessEngine {
  checkObject('inProcessEngine', 'policy', policy, ['config', 'weights']);
  if (tokenizer !== null) checkObject('inProcessEngine', 'tokenizer', tokenizer, ['encode', 'decode']);
  checkOptions('inProcessEngine', options, IN_PROCESS_OPTIONS);
  const { memoryBudget, gradientCheckpointing = 'auto', tokenizerFolder } = options;
  if (memoryBudget !== undefined && !(memoryBudget > 0)) throw new RangeError(`memoryBudget: expected bytes above 0, got ${memoryBudget}`);
  let made: AdamW | null = null;
  /** Made when first asked for: its moments are twice the weights, and who only samples needs none. */
  const optimizer = () => (made ??= new AdamW(Object.fromEntries(policy.trainable)));
  const gradients = new Map<string, tf.Tensor>();
  let snapshots = 0;
  const { vocabSize } = policy.config;

  const model = (choice: WeightsChoice = 'current'): DecoderWeights => {
    if (choice === 'current') return policy;
    if (choice === 'frozen') return { config: policy.config, weights: policy.weights, endIds: policy.endIds };
    const { model, id } = choice as FrozenWeights;
    if (model === null) throw new Error(`snapshot ${id} is disposed: take another, or dispose it after its last use`);
    if (!model) throw new TypeError(`weights: expected 'current', 'frozen' or a snapshot, got ${shown(choice)}`);
    return model;
  };

  /** Runs `work` on micro-batches of `data`. */
  const microBatches = async (
    data: readonly (Scored | Paired)[],
    { reads, gradient = false, signal }: { readonly reads: Pass['reads']; readonly gradient?: boolean; readonly signal?: AbortSignal },
    work: (microBatch: MicroBatch) => Promise<void>,
  ) => {
    const half = [...policy.weights.values()].some((weight) => halfFormat(weight));
    const pass = { config: policy.config, kernels: kernelSet(), half, rank: policy.adapter?.rank ?? 0 };
    const budget = memoryBudget ?? defaultBudget(pass);
    const limits = { budget, gradientCheckpointing, capacity: capacity() };
    for (const microBatch of cutIntoMicroBatches(data, { ...pass, gradient, reads }, limits)) {
      await nextTurn();
      signal?.throwIfAborted();
      await work(microBatch);
    }
  };

  const forgetGradients = () => {
    for (const gradient of gradients.values()) gradient.dispose();
    gradients.clear();
  };

  const resetOptimizer = () => {
    forgetGradients();
    made?.dispose();
    made = null;
  };

  return {
    policy,
    gradients,
    tokenizer: tokenizer ?? withoutTexts(policy),
    updates: new Updates(),

    async sample(prompts, options) {
      checkObject('sample', 'options', options);
      const { weights, ...generateOptions } = options;
      checkPrompts(prompts, vocabSize);
      checkWriting(generateOptions);
      return generate(model(weights), prompts, generateOptions);
    },

    async forward(data, weights, temperature = 1) {
      checkScored('forward', data, vocabSize);
      checkNumber('forward: temperature', temperature, { above: 0 });
      const chosen = model(weights);
      const results = data.map(() => new Float32Array());
      await microBatches(data, { reads: 'logProbs' }, async ({ indices }) => {
        const chunk = indices.map((i) => data[i]);
        const logProbs = tf.tidy(() => {
          const hidden = warmed(scoredHidden(chosen, chunk), temperature);
          return selectedLogProbs(hidden, headOf(chosen), targetsOf(chunk)).logProbs;
        });
        const values = await logProbs.data<'float32'>();
        logProbs.dispose();
        splitByItem(values, chunk).forEach((values, i) => {
          assertFinite(`forward: log-probabilities of sequence ${indices[i]}`, values, NONE_GIVEN);
          results[indices[i]] = values;
        });
      });
      return results;
    },

    async compare(data) {
      checkPaired('compare', data, vocabSize);
      const results = data.map(() => ({ kl: new Float32Array(), teacher: new Float32Array(), student: new Float32Array() }));
      await microBatches(data, { reads: 'logits' }, async ({ indices }) => {
        const chunk = indices.map((i) => data[i]);
        const tensors = tf.tidy(() => {
          const views = [
            [model('frozen'), chunk.map((item) => item.teacher)],
            [model('current'), chunk],
          ] as const;
          const hidden = views.map(([weights, view]) => scoredHidden(weights, view)); // [N, d] each
          const logits = hidden.map((x, i) => linear(x, headOf(views[i][0])) as tf.Tensor2D); // [N, V] each
          const kl = forwardKl(logits[0], logits[1], { clamp: Number.POSITIVE_INFINITY }).perToken;
          return [kl, ...hidden.map((x, i) => selectedLogProbs(x, headOf(views[i][0]), targetsOf(chunk)).logProbs)];
        });
        const [kl, teacher, student] = await Promise.all(tensors.map(async (t) => splitByItem(await t.data<'float32'>(), chunk)));
        for (const t of tensors) t.dispose();
        indices.forEach((at, i) => {
          results[at] = { kl: kl[i], teacher: teacher[i], student: student[i] };
          for (const [name, values] of Object.entries(results[at])) assertFinite(`compare: ${name} of sequence ${at}`, values, NONE_GIVEN);
        });
      });
      return results;
    },

    async forwardBackward(loss, { signal } = {}) {
      checkLoss(loss, vocabSize);
      const total = loss.data.reduce((sum, { scored }) => sum + scored.length, 0);
      const { divisor = total } = loss;
      const sums = new Map<string, number>();
      const names = [...policy.trainable.keys()];
      const summed = new Map<string, tf.Tensor>(); // joins `gradients` once it is whole
      const work = microBatches(loss.data, { reads: loss.reads, gradient: true, signal }, async ({ indices, checkpoint }) => {
        const chunk = indices.map((i) => loss.data[i]);
        const metrics: Record<string, tf.Scalar> = {};
        const { value, gradients: fresh } = tf.tidy(() => {
          // The teacher is the same weights with the adapter off: a second forward pass, no second copy, and outside the tape.
          const teacher = loss.reads === 'logits' ? tf.tidy(() => teacherLogits(model('frozen'), chunk as readonly Paired[])) : null;
          return valueAndGradients(() => {
            const { values, entropy } = tokenValues(policy, loss, chunk, { teacher, checkpoint });
            checkTokenValues(loss, values, chunk);
            for (const [name, each] of Object.entries({ ...values.metrics, ...(entropy && { entropy }) }))
              metrics[name] = tf.keep(tf.sum(each) as tf.Scalar);
            return tf.div(tf.sum(values.loss), divisor) as tf.Scalar;
          }, [...policy.trainable.values()]);
        });
        addGradients(summed, names, fresh);
        for (const [name, tensor] of Object.entries({ loss: value, ...metrics }))
          sums.set(name, (sums.get(name) ?? 0) + (await read(tensor)));
        for (const [name, sum] of sums)
          assertFinite(`${loss.name}: ${name} of ${chunk.length} sequences, the first is ${indices[0]}`, sum, UNTOUCHED);
      });
      await work.catch((error: unknown) => {
        tf.dispose([...summed.values()]);
        throw error;
      });
      addGradients(gradients, [...summed.keys()], [...summed.values()]);
      const { loss: value, ...rest } = Object.fromEntries(sums);
      const metrics = Object.fromEntries(Object.entries(rest).map(([name, sum]) => [name, sum / total]));
      return { loss: value, tokens: total, metrics } satisfies LossReport;
    },

    async optimStep(settings) {
      if (gradients.size === 0) throw new Error('optimStep without gradients: call forwardBackward first');
      checkOptimizer(settings);
      await nextTurn();
      try {
        return { gradNorm: await optimizer().step(Object.fromEntries(gradients), settings) };
      } finally {
        forgetGradients();
      }
    },

    resetOptimizer,

    snapshot() {
      const weights = policy.copyWeights();
      const adapter = policy.adapter && { ...policy.adapter, variables: copyOf(policy.adapter.variables) };
      const frozen: FrozenWeights = {
        id: snapshots++,
        model: { config: policy.config, weights, adapter, endIds: policy.endIds },
        dispose() {
          tf.dispose([...weights.values(), ...(adapter?.variables.values() ?? [])]);
          frozen.model = null;
        },
      };
      return frozen;
    },

    addAdapter(lora) {
      policy.addAdapter(lora);
      resetOptimizer();
    },

    mergeAdapter() {
      policy.mergeAdapter();
      resetOptimizer();
    },

    dropAdapter() {
      policy.dropAdapter();
      resetOptimizer();
    },

    async save(folder) {
      const state = made ? await made.state() : null;
      if (policy.adapter) await saveAdapter(policy, folder, { optimizer: state });
      else await savePolicy(policy, folder, { tokenizerFolder, optimizer: policy.frozen ? null : state });
    },

    async load(folder) {
      if (policy.adapter) throw new Error('the policy has an adapter on: merge or drop it before loading');
      const state = (await holdsAdapter(folder))
        ? await loadAdapter(policy, folder, { optimizer: true })
        : await assignWeights(policy, folder);
      resetOptimizer();
      if (state) optimizer().restore(state);
    },

    dispose() {
      resetOptimizer();
      policy.dispose();
    },
  };
}

/** In a tokenizer's place: an engine of token ids knows their number and their ends, and no text. */
function withoutTexts({ config, endIds }: Policy): Tokenizer {
  const absent = (): never => {
    throw new Error('this engine was made without a tokenizer, which texts need: inProcessEngine(policy, await loadTokenizer(folder))');
  };
  return { size: config.vocabSize, endIds, padId: config.padId ?? endIds[0] ?? 0, encode: absent, decode: absent, stream: absent };
}

/** The advice of a number that is not finite. */
const UNTOUCHED = { advice: 'the weights are untouched and no gradient is kept' };
const NONE_GIVEN = { advice: 'the weights, or what they compute, are not finite' };

async function read(tensor: tf.Tensor): Promise<number> {
  const [value] = await tensor.data();
  tensor.dispose();
  return value;
}

/** A frozen copy of an adapter's matrices: what reads them asks for tensors only. */
const copyOf = (variables: ReadonlyMap<string, tf.Variable>) =>
  new Map([...variables].map(([name, variable]) => [name, tf.clone(variable)])) as unknown as ReadonlyMap<string, tf.Variable>;

function tokenValues(
  policy: Policy,
  loss: Loss,
  chunk: readonly Scored[],
  { teacher, checkpoint }: { readonly teacher: tf.Tensor2D | null; readonly checkpoint: boolean },
): { values: TokenValues; entropy?: tf.Tensor1D } {
  if (loss.reads === 'logits') return { values: loss.perToken(teacher as tf.Tensor2D, scoredLogits(policy, chunk, checkpoint)) };
  const hidden = warmed(scoredHidden(policy, chunk, checkpoint), loss.temperature ?? 1);
  const { logProbs, entropy } = selectedLogProbs(hidden, headOf(policy), targetsOf(chunk));
  return { values: loss.perToken(logProbs, chunk), entropy };
}

/** One value a token: others would be broadcast, or their sum be of another number of tokens. */
function checkTokenValues({ name }: Loss, { loss, metrics }: TokenValues, chunk: readonly Scored[]): void {
  const tokens = chunk.reduce((sum, { scored }) => sum + scored.length, 0);
  for (const [what, { shape }] of Object.entries({ loss, ...metrics }))
    if (`${shape}` !== `${tokens}`)
      throw new RangeError(`${name}: perToken gave ${what} as [${shape}], expected [${tokens}], a value for each scored token`);
}

/** Hidden states [N, d] that predict the scored tokens of all sequences, in order. */
function scoredHidden(model: DecoderWeights, data: readonly Scored[], checkpoint = false): tf.Tensor2D {
  const { tokens, positions, segments, states, stateOf } = pack(data);
  const hidden = decode(model, tokens, [1, tokens.length], { positions, segments, rows: states, checkpoint }); // [1, R, d]
  return embedding(tf.reshape(hidden, [states.length, model.config.hiddenSize]), tf.tensor1d(stateOf, 'int32')); // [N, d]
}

/** Hidden states whose logits are those of x divided by the temperature. */
const warmed = (x: tf.Tensor2D, temperature: number): tf.Tensor2D => (temperature === 1 ? x : tf.div(x, temperature));

const scoredLogits = (model: DecoderWeights, data: readonly Scored[], checkpoint = false): tf.Tensor2D =>
  linear(scoredHidden(model, data, checkpoint), headOf(model)) as tf.Tensor2D; // [N, V]

const teacherLogits = (model: DecoderWeights, data: readonly Paired[]): tf.Tensor2D =>
  scoredLogits(
    model,
    data.map(({ teacher }) => teacher),
  ); // [N, V]

const targetsOf = (data: readonly Scored[]): tf.Tensor1D =>
  tf.tensor1d(
    data.flatMap(({ tokens, scored }) => scored.map((t) => tokens[t])),
    'int32',
  ); // [N]

/** Adds gradients, which it takes over, to those of the same names. */
function addGradients(sums: Map<string, tf.Tensor>, names: readonly string[], fresh: readonly (tf.Tensor | undefined)[]): void {
  names.forEach((name, i) => {
    const gradient = fresh[i];
    if (!gradient) return;
    const before = sums.get(name);
    sums.set(name, before ? tf.add(before, gradient) : gradient);
    if (before) tf.dispose([before, gradient]);
  });
}

/** One array an item, in the order the rows were scored. */
function splitByItem(values: Float32Array, data: readonly Scored[]): Float32Array[] {
  let at = 0;
  return data.map(({ scored }) => values.slice(at, (at += scored.length)));
}
