/** Numbers that are NaN or infinite, found before anything is built on them. */

/**
 * A number that is NaN or infinite where the result would be built on it.
 *
 * @example
 * ```ts
 * import { AdamW, NonFiniteError, startBackend, tf } from 'search-e1/tensors';
 *
 * await startBackend();
 * const optimizer = new AdamW({ weight: tf.variable(tf.tensor1d([1, 2])) });
 * const failed = await optimizer.step({ weight: tf.tensor1d([0.1, Number.NaN]) }, { learningRate: 0.1 }).catch((error) => error);
 * failed instanceof NonFiniteError; // true
 * failed.what; // 'AdamW: gradient of weight'
 * ```
 */
export class NonFiniteError extends Error {
  /** `NonFiniteError`, for those who catch without the class. */
  override readonly name = 'NonFiniteError';

  /**
   * @param what the name of the tensor or list
   * @param index of the first such number, in order of the elements; undefined where `what` is a single number
   * @param advice what is kept as it was and what to do, as a sentence part: 'the weights are as before this step; lower the learning rate'
   */
  constructor(
    readonly what: string,
    /** The number: NaN, Infinity or -Infinity. */
    readonly value: number,
    readonly index?: number,
    advice?: string,
  ) {
    super(`${what}: ${index === undefined ? '' : `element ${index} `}is ${value}, expected a finite number${advice ? `; ${advice}` : ''}`);
  }
}

/** A step's work, whose numbers that are not finite are named with the step they come up in and what is kept. */
export function located<T>(work: Promise<T>, where: string, kept: string): Promise<T> {
  return work.catch((error: unknown) => {
    if (!(error instanceof NonFiniteError)) throw error;
    throw new NonFiniteError(`${where}: ${error.what}`, error.value, error.index, `${kept}; a lower learning rate may help`);
  });
}

export interface FiniteOptions {
  /** Goes into the message: what is kept as it was, and what to do. */
  readonly advice?: string;
}

/**
 * @param what names the number or numbers in the error
 * @throws NonFiniteError for the first that is NaN or infinite
 */
export function assertFinite(what: string, values: number | ArrayLike<number>, { advice }: FiniteOptions = {}): void {
  if (typeof values === 'number') {
    if (!Number.isFinite(values)) throw new NonFiniteError(what, values, undefined, advice);
    return;
  }
  const index = firstNonFinite(values);
  if (index >= 0) throw new NonFiniteError(what, values[index], index, advice);
}

/** Index of the first number that is NaN or infinite; -1 where there is none. */
export function firstNonFinite(values: ArrayLike<number>): number {
  for (let i = 0; i < values.length; i++) if (values[i] - values[i] !== 0) return i;
  return -1;
}
