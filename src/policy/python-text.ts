/**
 * Values as Python prints them, where JavaScript prints otherwise: `str()` and `repr()` of what a template holds, and the methods of `str` that chat templates use.
 *
 * Strings are sequences of code points there, white space and letters are of another table, and a float is never written as an integer.
 */
import { SPACE } from './unicode.js';

/** A value of the template library, told by its type's name. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
}

/** An error for what would differ. */
export const refused = (what: string): Error =>
  new Error(`${what} is not supported here: this chat template would say something else in Transformers`);

/** `repr(float)`: shortest digits that read back, an exponent below 1e-4 and from 1e16, and `.0` where there is no fraction. */
export function floatText(x: number): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'nan' : x > 0 ? 'inf' : '-inf';
  if (x === 0) return Object.is(x, -0) ? '-0.0' : '0.0';
  const [digits, exponent] = x.toExponential().split('e');
  const power = Number(exponent);
  if (power < -4 || power >= 16) return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  if (Number.isInteger(x)) return `${x}.0`;
  return power >= -6 ? String(x) : x.toFixed(20).replace(/0+$/, '');
}

/** `str(value)`, which is what is printed. `check` may refuse what is within. */
export function str(value: Value, check: (value: Value) => void): string {
  if (value.type === 'UndefinedValue') return '';
  return value.type === 'StringValue' ? (value.value as string) : repr(value, check);
}

function repr(value: Value, check: (value: Value) => void): string {
  switch (value.type) {
    case 'NullValue':
      return 'None';
    case 'BooleanValue':
      return value.value ? 'True' : 'False';
    case 'IntegerValue':
      return String(value.value);
    case 'FloatValue':
      return floatText(value.value as number);
    case 'StringValue':
      return quoted(value.value as string);
    case 'ArrayValue':
    case 'TupleValue': {
      const items = (value.value as Value[]).map((item) => repr(item, check));
      check(value);
      if (value.type === 'ArrayValue') return `[${items.join(', ')}]`;
      return `(${items.join(', ')}${items.length === 1 ? ',' : ''})`;
    }
    case 'ObjectValue':
      return `{${[...(value.value as Map<string, Value>)].map(([key, item]) => `${quoted(key)}: ${repr(item, check)}`).join(', ')}}`;
    default:
      throw refused(`printing a ${value.type.replace('Value', '').toLowerCase()}`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** `repr(str)`: single quotes unless the text has these alone; escaped is what cannot be printed. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = [...text].map((char) => {
    if (char === quote) return `\\${char}`;
    if (ESCAPES[char]) return ESCAPES[char];
    if (char === ' ' || !/[\p{C}\p{Z}]/u.test(char)) return char;
    const code = char.codePointAt(0) as number;
    const [letter, width] = code <= 0xff ? ['x', 2] : code <= 0xffff ? ['u', 4] : ['U', 8];
    return `\\${letter}${code.toString(16).padStart(width as number, '0')}`;
  });
  return `${quote}${inner.join('')}${quote}`;
}

/** `==`: by value, also of lists and dictionaries; True is 1. */
export function equal(a: Value, b: Value): boolean {
  const isNumber = ({ type }: Value) => ['IntegerValue', 'FloatValue', 'BooleanValue'].includes(type);
  if (isNumber(a) && isNumber(b)) return Number(a.value) === Number(b.value);
  if (a.type !== b.type) return false;
  if (a.type === 'NullValue' || a.type === 'UndefinedValue') return true;
  if (Array.isArray(a.value) && Array.isArray(b.value)) {
    const other = b.value as Value[];
    return a.value.length === other.length && a.value.every((item: Value, i) => equal(item, other[i]));
  }
  if (a.value instanceof Map && b.value instanceof Map) {
    const other = b.value as Map<string, Value>;
    return (
      a.value.size === other.size &&
      [...(a.value as Map<string, Value>)].every(([key, item]) => other.has(key) && equal(item, other.get(key) as Value))
    );
  }
  return a.value === b.value;
}

const isAscii = (text: string): boolean => /^[\0-\x7f]*$/.test(text);

/** `str.strip` and its kin: `chars` are removed whatever their order, white space where there are none. */
export function strip(text: string, chars: string | null, where: 'strip' | 'lstrip' | 'rstrip'): string {
  const removed = chars === null ? null : new Set(chars);
  const isRemoved = (char: string) => (removed ? removed.has(char) : PYTHON_SPACE.test(char));
  const points = [...text];
  let start = 0;
  let end = points.length;
  if (where !== 'rstrip') while (start < end && isRemoved(points[start])) start++;
  if (where !== 'lstrip') while (end > start && isRemoved(points[end - 1])) end--;
  return points.slice(start, end).join('');
}

/** `str.isspace()`: of the library's white space, and the four separators of ASCII. */
const PYTHON_SPACE = new RegExp(`[${SPACE}\\x1c-\\x1f]`);

/** `str.split()` at white space. */
export function words(text: string, most: number): string[] {
  const found: string[] = [];
  let rest = strip(text, null, 'lstrip');
  while (rest !== '') {
    if (most >= 0 && found.length === most) return [...found, rest];
    const end = [...rest].findIndex((char) => PYTHON_SPACE.test(char));
    if (end < 0) return [...found, rest];
    const word = [...rest].slice(0, end).join('');
    found.push(word);
    rest = strip(rest.slice(word.length), null, 'lstrip');
  }
  return found;
}

/** What ends a line for `str.splitlines`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these end lines in Python
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

/** Jinja's filter `indent`: every line but the first, and no empty one, unless they are asked for. */
export function indented(text: string, space: string, { first, blank }: { readonly first: boolean; readonly blank: boolean }): string {
  const lines = text.split(LINE_END).map((line, i) => (i > 0 && (blank || line !== '') ? space + line : line));
  return (first ? space : '') + lines.join('\n');
}

/** `str.capitalize`, `str.title` and Jinja's filter `title`, of ASCII: letters beyond have title cases of their own. */
export function cased(text: string, how: 'capitalize' | 'title' | 'title filter'): string {
  if (!isAscii(text)) throw refused(`"${how}" of letters beyond ASCII`);
  const first = (word: string) => word.slice(0, 1).toUpperCase() + word.slice(1).toLowerCase();
  if (how === 'capitalize') return first(text);
  if (how === 'title') return text.replace(/[a-z]+/gi, first);
  return text
    .split(/([-\s({[<]+)/)
    .map(first)
    .join('');
}
