/**
 * A policy small enough to roll out and train in a test: one block of width 16 on Tinypedia's tokenizer, taught for a moment to search, and to
 * answer Ada or Eva. Both rewards occur, so that GRPO and the siblings have work.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { crossEntropyLoss } from '../../src/engines/cross-entropy.js';
import { type InProcessEngine, inProcessEngine } from '../../src/engines/in-process.js';
import { Policy } from '../../src/policy/policy.js';
import { random } from '../../src/random.js';
import { basePolicyConfig, scoredTrace } from '../../src/tinypedia/pretrain.js';
import type { Trace } from '../../src/tinypedia/traces.js';
import { tokenizer } from './scripted.js';
import { tinyEnvironment, tinyQuestions } from './shelf.js';

export { tinyEnvironment, tinyQuestions };

const TOKENIZER_FOLDER = 'datasets/tinypedia/tokenizer';

export const tinyConfig = {
  ...basePolicyConfig(tokenizer),
  hiddenSize: 16,
  intermediateSize: 24,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
};

/** Random weights, wide enough that every distribution has its own shape. */
export const randomEngine = (seed: number): InProcessEngine =>
  inProcessEngine(Policy.initialize(tinyConfig, random(seed), { scale: 0.4 }), tokenizer, { tokenizerFolder: TOKENIZER_FOLDER });

const taught = new Map<string, Promise<Map<string, Float32Array>>>();

/** Some steps of supervised training on episodes that search or do not, and answer either: made once, then handed out again. */
export async function taughtEngine(seed = 1, steps = 120): Promise<InProcessEngine> {
  const key = `${seed} ${steps}`;
  const values = taught.get(key) ?? teach(seed, steps);
  taught.set(key, values);
  return inProcessEngine(Policy.fromValues(tinyConfig, await values), tokenizer, { tokenizerFolder: TOKENIZER_FOLDER });
}

async function teach(seed: number, steps: number): Promise<Map<string, Float32Array>> {
  const engine = randomEngine(seed);
  const { protocol } = tinyEnvironment;
  const information = protocol.observation([{ id: '1', title: 'Amber Falcon', text: 'a book . author Ada .' }]);
  for (let step = 0; step < steps; step++) {
    const source = random(seed, 'teach', step);
    const traces = Array.from({ length: 8 }, () => {
      const { question } = source.pick(tinyQuestions);
      const search = { text: `<search> ${source.pick(['Ada', 'Eva', 'author'])}</search>`, scored: true };
      const segments = [
        ...(source.uniform() < 0.5 ? [search, { text: information, scored: false }] : []),
        { text: `<answer> ${source.pick(['Ada', 'Eva'])}</answer>`, scored: true },
      ];
      return scoredTrace({ prompt: protocol.prompt(question), segments } as unknown as Trace, tokenizer);
    });
    await engine.forwardBackward(crossEntropyLoss(traces));
    await engine.optimStep({ learningRate: 0.03, clipNorm: 1 });
  }
  const values = await engine.policy.values();
  engine.dispose();
  return values;
}

/** The weights as they are, bit for bit. */
export async function weightsOf(engine: { readonly policy: Policy }): Promise<Record<string, Float32Array>> {
  const weights: ReadonlyMap<string, tf.Variable> = engine.policy.weights;
  return Object.fromEntries(
    await Promise.all([...weights].map(async ([name, w]) => [name, Float32Array.from(await w.data<'float32'>())] as const)),
  );
}
