/**
 * AdamW (Loshchilov and Hutter, 2019) as `torch.optim.AdamW` computes it, with `torch.nn.utils.clip_grad_norm_` before it.
 *
 *     weight *= 1 - learningRate weightDecay
 *     first   = beta1 first  + (1 - beta1) g
 *     second  = beta2 second + (1 - beta2) g^2
 *     weight -= learningRate / (1 - beta1^t) * first / (sqrt(second) / sqrt(1 - beta2^t) + epsilon)
 */
import * as tf from '@tensorflow/tfjs-core';
import { hasKernel, runKernel } from './dispatch.js';
import { sumOfSquares } from './finite.js';

export interface AdamWSettings {
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
  readonly first: Readonly<Record<string, Float32Array>>;
  readonly second: Readonly<Record<string, Float32Array>>;
}

interface Moments {
  readonly first: tf.Variable;
  readonly second: tf.Variable;
}

/** The optimiser's life with a set of variables: it owns their moments, and writes the variables it was given. */
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
   * One step. A variable without a gradient stays as it is.
   *
   * @param gradients by variable name, each of its variable's shape; the caller disposes them
   * @returns the norm of all gradients together, before clipping
   * @throws RangeError for a gradient without a variable
   */
  async step(
    gradients: Readonly<Record<string, tf.Tensor>>,
    { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, clipNorm = 0 }: AdamWSettings,
  ): Promise<number> {
    for (const [name, { shape }] of Object.entries(gradients)) {
      const variable = this.#variables[name];
      if (!variable) throw new RangeError(`AdamW: gradient of ${name}, which is not among the variables`);
      if (`${shape}` !== `${variable.shape}`)
        throw new RangeError(`AdamW: gradient of ${name} is [${shape}], the variable [${variable.shape}]`);
    }
    const norm = tf.tidy(() => globalNorm(Object.values(gradients)));
    this.#steps++;
    const rate = learningRate / (1 - beta1 ** this.#steps);
    const rootOfCorrection = Math.sqrt(1 - beta2 ** this.#steps);
    if (hasKernel('SearchE1AdamW')) {
      const [normValue] = await norm.data();
      norm.dispose();
      const gradientScale = clipNorm > 0 ? Math.min(1, clipNorm / (normValue + 1e-6)) : 1;
      const settings = { gradientScale, beta1, beta2, rate, rootOfCorrection, epsilon, keep: 1 - learningRate * weightDecay };
      for (const [name, gradient] of Object.entries(gradients)) this.#stepByKernel(name, gradient, settings);
      return normValue;
    }
    tf.tidy(() => {
      const scale = clipNorm > 0 ? tf.minimum(1, tf.div(clipNorm, tf.add(norm, 1e-6))) : undefined;
      for (const [name, gradient] of Object.entries(gradients)) {
        tf.tidy(() => {
          const weight = this.#variables[name];
          const { first, second } = this.#moments.get(name) as Moments;
          const g = scale ? tf.mul(gradient, scale) : gradient;
          first.assign(tf.add(tf.mul(first, beta1), tf.mul(g, 1 - beta1)));
          second.assign(tf.add(tf.mul(second, beta2), tf.mul(tf.square(g), 1 - beta2)));
          const change = tf.div(tf.mul(first, rate), tf.add(tf.div(tf.sqrt(second), rootOfCorrection), epsilon));
          weight.assign(tf.sub(tf.mul(weight, 1 - learningRate * weightDecay), change));
        });
      }
    });
    const [value] = await norm.data();
    norm.dispose();
    return value;
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
   * Takes over a state.
   *
   * @throws RangeError when a variable's moments are missing or of another size
   */
  restore(state: AdamWState): void {
    for (const [name, moments] of this.#moments) {
      for (const which of ['first', 'second'] as const) {
        const values = state[which][name];
        const { shape, size } = moments[which];
        if (values?.length !== size)
          throw new RangeError(`AdamW: ${which} moment of ${name} should hold ${size} numbers, got ${values?.length ?? 'none'}`);
        tf.tidy(() => moments[which].assign(tf.tensor(values, shape, 'float32')));
      }
    }
    this.#steps = state.steps;
  }

  dispose(): void {
    for (const { first, second } of this.#moments.values()) tf.dispose([first, second]);
    this.#moments.clear();
  }
}

const zerosLike = (variable: tf.Variable): tf.Variable => tf.tidy(() => tf.variable(tf.zeros(variable.shape), false));

/** Root of the sum of squares of all elements; a scalar. */
function globalNorm(gradients: readonly tf.Tensor[]): tf.Scalar {
  if (gradients.length === 0) return tf.scalar(0);
  return tf.sqrt(tf.addN(gradients.map(sumOfSquares)));
}
