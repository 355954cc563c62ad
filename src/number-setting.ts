/** Numbers that a caller sets, refused by name where they are none or out of range: JavaScript passes anything. */

export interface NumberRange {
  /** Whether only whole numbers are allowed. */
  readonly integer?: boolean;
  /** Least value allowed. */
  readonly min?: number;
  /** Greatest value allowed. */
  readonly max?: number;
  /** Greater than this. */
  readonly above?: number;
  /** Less than this. */
  readonly below?: number;
}

/**
 * @param name what the caller knows it by: `groupSize`, `optimizer.learningRate`
 * @throws TypeError where the value is no number
 * @throws RangeError where it is not finite, not whole or out of range
 */
export function checkNumber(name: string, value: unknown, range: NumberRange = {}): asserts value is number {
  if (typeof value !== 'number') throw new TypeError(`${name}: expected ${words(range)}, got ${shown(value)}`);
  const { integer = false, min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, above, below } = range;
  const within = value >= min && value <= max && !(above !== undefined && value <= above) && !(below !== undefined && value >= below);
  if (!Number.isFinite(value) || !within || (integer && !Number.isInteger(value)))
    throw new RangeError(`${name}: expected ${words(range)}, got ${value}`);
}

/**
 * @throws TypeError where the value is none of those allowed
 */
export function checkChoice<T extends string>(name: string, value: unknown, allowed: readonly T[]): asserts value is T {
  if (!allowed.includes(value as T))
    throw new TypeError(`${name}: expected ${allowed.map((each) => `'${each}'`).join(' or ')}, got ${shown(value)}`);
}

/** A value as an error names it: short, whatever it is. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return `a ${value.constructor?.name ?? 'bare object'}`;
  return typeof value === 'function' ? 'a function' : String(value);
}

function words({ integer, min, max, above, below }: NumberRange): string {
  const from = [min !== undefined && `from ${min}`, above !== undefined && `above ${above}`];
  const to = [max !== undefined && `to ${max}`, below !== undefined && `below ${below}`];
  return [integer ? 'a whole number' : 'a number', ...from, ...to].filter(Boolean).join(' ');
}
