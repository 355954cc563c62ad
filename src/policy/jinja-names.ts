/**
 * What a chat template may call and ask: Transformers' functions beside Jinja's, its tests, and the names that mean something of their own in Python.
 */
import { refused, type Value } from './python-text.js';

/** Jinja's `MAX_RANGE`. */
const MAX_RANGE = 100_000;

export const CONSTANTS = { true: true, false: false, none: null, True: true, False: false, None: null };

export const FUNCTIONS = {
  raise_exception: (message: unknown) => {
    throw new Error(String(message));
  },
  range: (...args: unknown[]) => {
    const whole = args.map((arg) => (typeof arg === 'boolean' ? Number(arg) : arg)) as number[];
    if (args.length < 1 || args.length > 3 || !whole.every(Number.isInteger))
      throw new Error(`range() of ${args.join(', ')}: expected one to three integers`);
    const [start, stop, step] = whole.length === 1 ? [0, whole[0], 1] : [whole[0], whole[1], whole[2] ?? 1];
    if (step === 0) throw new Error('range() arg 3 must not be zero');
    const length = Math.max(0, Math.ceil((stop - start) / step));
    if (length > MAX_RANGE) throw new Error(`Range too big: ${length} numbers, where Jinja's sandbox allows ${MAX_RANGE}`);
    return Array.from({ length }, (_, i) => start + i * step);
  },
  strftime_now: (format: unknown) => strftime(new Date(), String(format)),
};

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

function strftime(now: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const parts: Readonly<Record<string, string>> = {
    Y: String(now.getFullYear()),
    y: two(now.getFullYear() % 100),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    H: two(now.getHours()),
    I: two(now.getHours() % 12 || 12),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    p: now.getHours() < 12 ? 'AM' : 'PM',
    b: MONTHS[now.getMonth()].slice(0, 3),
    B: MONTHS[now.getMonth()],
    a: DAYS[now.getDay()].slice(0, 3),
    A: DAYS[now.getDay()],
    '%': '%',
  };
  return format.replace(/%([\s\S]?)/g, (code, letter: string) => {
    if (parts[letter] === undefined) throw refused(`strftime_now's ${code}`);
    return parts[letter];
  });
}

export const PYTHON_GLOBALS: ReadonlySet<string> = new Set(['self', 'dict', 'lipsum', 'cycler', 'joiner']);
/** What `dir(dict)` names; and `dir` of strings, lists, tuples and numbers too: attributes of theirs in Python, whatever keys there are. */
export const DICTIONARY: ReadonlySet<string> = new Set(
  'clear copy fromkeys get items keys pop popitem setdefault update values'.split(' '),
);
export const PYTHON_NAMES: ReadonlySet<string> = new Set(
  'append as_integer_ratio bit_count bit_length capitalize casefold center clear conjugate copy count denominator encode endswith expandtabs extend find format format_map from_bytes fromhex fromkeys get hex imag index insert is_integer isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper items join keys ljust lower lstrip maketrans numerator partition pop popitem real remove removeprefix removesuffix replace reverse rfind rindex rjust rpartition rsplit rstrip setdefault sort split splitlines startswith strip swapcase title to_bytes translate update upper values zfill'.split(
    ' ',
  ),
);

/** Jinja's tests, as far as chat templates use them. */
export function isTrue(test: string, { type, value }: Value): boolean {
  const text = type === 'StringValue' ? (value as string) : null;
  const isList = type === 'ArrayValue' || type === 'TupleValue';
  const integer = type === 'BooleanValue' ? Number(value) : type === 'IntegerValue' ? (value as number) : null;
  switch (test) {
    case 'defined':
      return type !== 'UndefinedValue';
    case 'undefined':
      return type === 'UndefinedValue';
    case 'none':
      return type === 'NullValue';
    case 'true':
    case 'false':
      return type === 'BooleanValue' && value === (test === 'true');
    case 'boolean':
      return type === 'BooleanValue';
    case 'string':
      return text !== null;
    case 'integer':
      return type === 'IntegerValue';
    case 'float':
      return type === 'FloatValue';
    case 'number':
      return type === 'IntegerValue' || type === 'FloatValue' || type === 'BooleanValue';
    case 'mapping':
      return type === 'ObjectValue';
    case 'sequence':
      return text !== null || isList || type === 'ObjectValue' || type === 'UndefinedValue';
    case 'iterable':
      return text !== null || isList || type === 'ObjectValue' || type === 'UndefinedValue';
    case 'callable':
      return type === 'FunctionValue' || type === 'UndefinedValue'; // jinja2's Undefined has both methods, which throw
    case 'odd':
    case 'even':
      if (integer === null) throw new Error(`"${test}" is of integers: got ${type}`);
      return Math.abs(integer % 2) === (test === 'odd' ? 1 : 0);
    case 'lower':
    case 'upper': {
      if (text === null) throw refused(`the test "${test}" of a ${type}`);
      const same = test === 'lower' ? text.toLowerCase() : text.toUpperCase();
      return text === same && text.toLowerCase() !== text.toUpperCase();
    }
    default:
      throw refused(`the test "${test}"`);
  }
}
