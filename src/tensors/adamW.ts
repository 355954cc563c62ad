/**
 * AdamW (Loshchilov and Hutter, 2019) as `torch.optim.AdamW` computes it, with `torch.nn.utils.clip_grad_norm_` before it.
 *
 *     weight *= 1 - learningRate weightDecay
 *     first   = beta1 first  + (1 - beta1) g
 *     second  = beta2 second + (1 - beta2) g^2
 *     weight -= learningRate / (1 - beta1^t) * first / (sqrt(second) / sqrt(1 - beta2^t) + epsilon)
 */
import * as tf from '@tensorflow/tfjs-core';
import { assertFinite, NonFiniteError } from '../non-finite.js';
import { hasKernel, runKernel } from './dispatch.js';
import { assertFiniteTensors, sumOfSquares } from './finite.js';

/** What one step is told. */
export interface AdamWSettings {
  /** Step size, at least 0. No default. */
  readonly learningRate: number;
  /** Decay of the first moment; torch: 0.9. */
  readonly beta1?: number;
  /** Decay of the second moment; torch: 0.999. */
  readonly beta2?: number;
  /** Added to the root of the second moment; torch: 1e-8. */
  readonly epsilon?: number;
  /** Decoupled decay, times the learning rate; TRL: 0. */
  readonly weightDecay?: number;
  /** Largest norm of all gradients together; larger ones are scaled down to it. 0 (the default) switches clipping off; TRL: 1. */
  readonly clipNorm?: number;
}

/** What a run needs to go on as if never interrupted. */
export interface AdamWState {
  /** Steps taken. */
  readonly steps: number;
  /** First moments by variable, as flat arrays. */
  readonly first: Readonly<Record<string, Float32Array>>;
  /** Second moments by variable, as flat arrays; none is below 0. */
  readonly second: Readonly<Record<string, Float32Array>>;
}

interface Moments {
  readonly first: tf.Variable;
  readonly second: tf.Variable;
}

/**
 * The optimiser's life with a set of variables: it owns their moments, and writes the variables it was given.
 *
 * @example
 * ```ts
 * import { AdamW, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const weight = tf.variable(tf.tensor1d([1, 2]));
 * const optimizer = new AdamW({ weight });
 * const norm = await optimizer.step({ weight: tf.tensor1d([3, 4]) }, { learningRate: 0.1, clipNorm: 1 });
 * norm; // 5
 * Array.from(await weight.data(), (value) => value.toFixed(2)); // [ '0.90', '1.90' ]
 * ```
 */
export class AdamW {
  readonly #variables: Readonly<Record<string, tf.Variable>>;
  readonly #moments = new Map<string, Moments>();
  #steps = 0;

  /** @param variables what is trained, by the names that gradients, state and errors use */
  constructor(variables: Readonly<Record<string, tf.Variable>>) {
    this.#variables = variables;
    for (const [name, variable] of Object.entries(variables)) {
      this.#moments.set(name, { first: zerosLike(variable), second: zerosLike(variable) });
    }
  }

  /**
   * One step. A variable without a gradient stays as it is. A step that is refused changes nothing: no weight, no moment, no count.
   *
   * @param gradients by variable name, each of its variable's shape; the caller disposes them
   * @returns the norm of all gradients together, before clipping
   * @throws RangeError for a gradient without a variable, and for settings out of their range
   * @throws NonFiniteError for a gradient with a NaN or an infinity, or gradients whose norm float32 cannot hold
   */
  async step(gradients: Readonly<Record<string, tf.Tensor>>, settings: AdamWSettings): Promise<number> {
    const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, clipNorm = 0 } = settings;
    const steps = this.#steps + 1;
    const rate = learningRate / (1 - beta1 ** steps);
    checkSettings({ learningRate, beta1, beta2, epsilon, weightDecay, clipNorm }, rate);
    for (const [name, { shape }] of Object.entries(gradients)) {
      const variable = this.#variables[name];
      if (!variable) throw new RangeError(`AdamW: gradient of ${name}, which is not among the variables`);
      if (`${shape}` !== `${variable.shape}`)
        throw new RangeError(`AdamW: gradient of ${name} is [${shape}], the variable [${variable.shape}]`);
    }
    const norm = await this.#norm(gradients, steps);
    this.#steps = steps;
    const rootOfCorrection = Math.sqrt(1 - beta2 ** steps);
    const gradientScale = clipNorm > 0 ? Math.min(1, clipNorm / (norm + 1e-6)) : 1;
    const keep = 1 - learningRate * weightDecay;
    if (hasKernel('SearchE1AdamW')) {
      const attributes = { gradientScale, beta1, beta2, rate, rootOfCorrection, epsilon, keep };
      for (const [name, gradient] of Object.entries(gradients)) this.#stepByKernel(name, gradient, attributes);
      return norm;
    }
    for (const [name, gradient] of Object.entries(gradients)) {
      tf.tidy(() => {
        const weight = this.#variables[name];
        const { first, second } = this.#moments.get(name) as Moments;
        const g = gradientScale < 1 ? tf.mul(gradient, gradientScale) : gradient;
        first.assign(tf.add(tf.mul(first, beta1), tf.mul(g, 1 - beta1)));
        second.assign(tf.add(tf.mul(second, beta2), tf.mul(tf.square(g), 1 - beta2)));
        const change = tf.div(tf.mul(first, rate), tf.add(tf.div(tf.sqrt(second), rootOfCorrection), epsilon));
        weight.assign(tf.sub(tf.mul(weight, keep), change));
      });
    }
    return norm;
  }

  /** Of all gradients together; what makes it no finite number is looked for only then. */
  async #norm(gradients: Readonly<Record<string, tf.Tensor>>, step: number): Promise<number> {
    const norm = tf.tidy(() => globalNorm(Object.values(gradients)));
    const [value] = await norm.data();
    norm.dispose();
    if (Number.isFinite(value)) return value;
    const advice = `weights and moments are as they were before step ${step}; a smaller learning rate or clipNorm may keep gradients finite`;
    const named = Object.fromEntries(Object.entries(gradients).map(([name, gradient]) => [`AdamW: gradient of ${name}`, gradient]));
    await assertFiniteTensors(named, { advice });
    throw new NonFiniteError('AdamW: the norm of all gradients', value, undefined, advice);
  }

  #stepByKernel(name: string, gradient: tf.Tensor, settings: object): void {
    const weight = this.#variables[name];
    const { first, second } = this.#moments.get(name) as Moments;
    const next = runKernel('SearchE1AdamW', { weight, gradient, first, second }, settings);
    [weight, first, second].forEach((variable, i) => {
      variable.assign(next[i]);
      next[i].dispose();
    });
  }

  /** A copy of the moments on the heap. */
  async state(): Promise<AdamWState> {
    const first: Record<string, Float32Array> = {};
    const second: Record<string, Float32Array> = {};
    for (const [name, moments] of this.#moments) {
      first[name] = (await moments.first.data<'float32'>()).slice();
      second[name] = (await moments.second.data<'float32'>()).slice();
    }
    return { steps: this.#steps, first, second };
  }

  /**
   * Takes over a state, or nothing of one that is refused.
   *
   * @throws RangeError when a variable's moments are missing or of another size, or the count of steps is none
   * @throws NonFiniteError for a moment that is NaN or infinite
   */
  restore(state: AdamWState): void {
    if (!Number.isSafeInteger(state.steps) || state.steps < 0)
      throw new RangeError(`AdamW: steps should be an integer from 0 on, got ${state.steps}`);
    const found = [...this.#moments].flatMap(([name, moments]) =>
      (['first', 'second'] as const).map((which) => ({
        moment: moments[which],
        values: checkedMoment(state, which, name, moments[which].size),
      })),
    );
    for (const { moment, values } of found) tf.tidy(() => moment.assign(tf.tensor(values, moment.shape, 'float32')));
    this.#steps = state.steps;
  }

  /** Gives the moments back; the variables are their owner's. */
  dispose(): void {
    for (const { first, second } of this.#moments.values()) tf.dispose([first, second]);
    this.#moments.clear();
  }
}

function checkedMoment(state: AdamWState, which: 'first' | 'second', name: string, size: number): Float32Array {
  const values = state[which][name];
  if (values?.length !== size)
    throw new RangeError(`AdamW: ${which} moment of ${name} should hold ${size} numbers, got ${values?.length ?? 'none'}`);
  assertFinite(`AdamW: ${which} moment of ${name}`, values);
  const negative = which === 'second' ? values.findIndex((value) => value < 0) : -1;
  if (negative >= 0) throw new RangeError(`AdamW: second moment of ${name} should not be negative, got ${values[negative]} at ${negative}`);
  return values;
}

/** @param rate the learning rate with its correction, which float32 should hold too */
function checkSettings(settings: Required<AdamWSettings>, rate: number): void {
  const check = (name: keyof AdamWSettings, right: boolean, expected: string) => {
    if (!right) throw new RangeError(`AdamW: ${name} should be ${expected}, got ${settings[name]}`);
  };
  const atLeastZero = (name: keyof AdamWSettings) =>
    check(
      name,
      settings[name] !== undefined && settings[name] >= 0 && Number.isFinite(Math.fround(settings[name])),
      'a finite number from 0 on',
    );
  for (const name of ['learningRate', 'epsilon', 'weightDecay'] as const) atLeastZero(name);
  for (const name of ['beta1', 'beta2'] as const) check(name, settings[name] >= 0 && settings[name] < 1, 'from 0 up to 1, without 1');
  check('learningRate', Number.isFinite(Math.fround(rate)), 'a rate that float32 can hold, divided by 1 - beta1^step too');
  check('clipNorm', settings.clipNorm >= 0, '0 (no clipping) or more');
}

const zerosLike = (variable: tf.Variable): tf.Variable => tf.tidy(() => tf.variable(tf.zeros(variable.shape), false));

/** Root of the sum of squares of all elements; a scalar. */
function globalNorm(gradients: readonly tf.Tensor[]): tf.Scalar {
  if (gradients.length === 0) return tf.scalar(0);
  return tf.sqrt(tf.addN(gradients.map(sumOfSquares)));
}
