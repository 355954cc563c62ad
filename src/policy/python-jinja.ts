/**
 * Jinja as Python runs it, over `@huggingface/jinja`'s parser and interpreter, which are JavaScript's in what they print, compare and count. Each expression gives what
 * Transformers' sandbox gives, or is refused by name: never something else without a word.
 *
 * Bounded as a template is untrusted: ranges as in Jinja's sandbox (100,000), and steps and sizes, of which its authors leave the bound to the process.
 */
import * as library from '@huggingface/jinja';
import { checkGrammar, type Token } from './jinja-grammar.js';
import { CONSTANTS, DICTIONARY, FUNCTIONS, isTrue, PYTHON_GLOBALS, PYTHON_NAMES } from './jinja-names.js';
import { cased, equal, floatText, indented, refused, str, strip, type Value, words } from './python-text.js';

/** Expressions evaluated, statements run and items of lists made; published templates take some hundreds a message. */
const MAX_STEPS = 1_000_000;

/** Nodes within one another, calls of macros included. Templates in use stay below a hundred. */
const MAX_DEPTH = 500;
const MAX_LENGTH = 10_000_000;

/** A node of the parsed template, as far as it is looked at here. */
interface Node {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: the library's nodes have a field for each kind of part
  readonly [field: string]: any;
}

interface Scope {
  set(name: string, value: unknown): Value;
}

type Evaluate = (node: Node | undefined, scope: Scope) => Value;

/** The library's parts, whose declarations name files that Node's resolution does not find. */
const { Environment, Interpreter, parse, tokenize } = library as unknown as {
  readonly Environment: new () => Scope;
  readonly Interpreter: new (scope: Scope) => LibraryInterpreter;
  readonly parse: (tokens: readonly Token[]) => Node;
  readonly tokenize: (source: string, options: { readonly lstrip_blocks: boolean; readonly trim_blocks: boolean }) => Token[];
};

interface LibraryInterpreter {
  evaluate(node: Node | undefined, scope: Scope): Value;
  run(program: Node): Value;
}

/**
 * Compiles a template once.
 *
 * @throws Error where it is no Jinja; the returned function throws where the template refuses its messages, is not supported, or does not end
 */
export function compile(source: string): (variables: Readonly<Record<string, unknown>>) => string {
  const tokens = tokenize(source.replace(/\r\n?/g, '\n'), { lstrip_blocks: true, trim_blocks: true });
  const joins = checkGrammar(tokens);
  const program = printing(parse(tokens));
  return (variables) => {
    const scope = new Environment();
    const names = { ...CONSTANTS, ...FUNCTIONS, ...variables };
    for (const [name, value] of Object.entries(names)) scope.set(name, value);
    return new PythonInterpreter(scope, joins).run(program).value as string;
  };
}

/** The template with what is printed marked as such: `{{ none }}` prints None, where a block that says nothing prints nothing. */
function printing(node: Node): Node {
  const statements = new Set([
    'Set',
    'If',
    'For',
    'Macro',
    'CallStatement',
    'FilterStatement',
    'Break',
    'Continue',
    'Comment',
    'StringLiteral',
  ]);
  const bodies = ['body', 'alternate', 'defaultBlock'];
  const changed = { ...node };
  for (const name of bodies)
    if (Array.isArray(node[name]))
      changed[name as 'body'] = node[name].map((part: Node) =>
        statements.has(part.type) ? printing(part) : { type: 'Print', printed: part },
      );
  return changed;
}

class PythonInterpreter extends Interpreter {
  #steps = 0;
  #depth = 0;
  readonly #paid = new WeakSet<object>();
  /** Lists that are iterators or views in Python, with what makes them: they print as such there. */
  readonly #views = new WeakMap<object, string>();
  /** Iterators of these that a name was asked for: they are empty afterwards. */
  readonly #taken = new WeakSet<object>();
  readonly #joins: ReadonlySet<object>;

  constructor(scope: Scope, joins: ReadonlySet<object>) {
    super(scope);
    this.#joins = joins;
  }

  override evaluate(node: Node | undefined, scope: Scope): Value {
    // Of its own, well below the stack: the library takes an exhausted stack for a variable that is not defined, and prints on.
    if (++this.#depth > MAX_DEPTH) throw new Error(`the chat template goes more than ${MAX_DEPTH} calls deep`);
    try {
      return this.#counted(this.#value(node, scope) ?? this.#make(undefined));
    } finally {
      this.#depth--; // `break` and `continue` leave by an exception
    }
  }

  /** The value, once it is paid for. */
  #counted(value: Value): Value {
    const { value: held } = value;
    this.#steps++;
    // What is made is paid for too, once: a loop over a long list takes as many steps.
    if (Array.isArray(held) && !this.#paid.has(held)) {
      this.#paid.add(held);
      this.#steps += held.length;
    } else if (typeof held === 'string') this.#steps += held.length / 100_000;
    if (this.#steps > MAX_STEPS) throw new Error(`the chat template does not end within ${MAX_STEPS} steps`);
    if (typeof held === 'string' && held.length > MAX_LENGTH)
      throw new Error(`the chat template makes a text of ${held.length} characters, more than ${MAX_LENGTH}`);
    if (value.type === 'IntegerValue' && !Number.isSafeInteger(held)) throw refused(`an integer beyond 2 ** 53, ${held},`);
    return value;
  }

  /** As the library does it. */
  readonly #library: Evaluate = (node, scope) => super.evaluate(node, scope);

  #value(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case 'Given':
        return node.value;
      case 'Print':
        return this.#make(this.#printed(node.printed, scope));
      case 'Asked':
        return this.#asked(node.asked, scope);
      case 'If':
      case 'SelectExpression':
        return this.#library({ ...node, test: asked(node.test) }, scope);
      case 'Ternary':
        return this.#library({ ...node, condition: asked(node.condition) }, scope);
      case 'UnaryExpression':
        return this.#library(node.operator.value === 'not' ? { ...node, argument: asked(node.argument) } : node, scope);
      case 'BinaryExpression':
        return this.#binary(node, scope);
      case 'MemberExpression':
        return this.#member(node, scope);
      case 'CallExpression':
        return this.#call(node, scope);
      case 'FilterExpression':
        return this.#filter(node.filter, this.evaluate(node.operand, scope), scope);
      case 'FilterStatement':
        throw refused('a filter block');
      case 'TestExpression': {
        const operand = this.#looked(node.operand, scope);
        if (this.#views.has(operand) && !/^(?:un)?defined$|^none$/.test(node.test.value))
          throw refused(`the test "${node.test.value}" of what "${this.#views.get(operand)}" gives`);
        const holds = isTrue(node.test.value, operand);
        return this.#make(node.negate ? !holds : holds);
      }
      case 'Identifier':
        return this.#identifier(node, scope);
      case 'Set':
        if (node.assignee.value === 'loop') throw refused('a variable named "loop"');
        return this.#library(node, scope);
      default:
        return this.#library(node, scope);
    }
  }

  #identifier(node: Node, scope: Scope): Value {
    const found = this.#library(node, scope);
    if (node.value === 'loop' && found.type !== 'UndefinedValue') throw refused('"loop" but for what it knows');
    if (ITERATORS.has(this.#views.get(found) ?? '')) {
      if (this.#taken.has(found)) throw refused(`"${node.value}" read twice, which is an iterator`);
      this.#taken.add(found);
    }
    if (found.type === 'UndefinedValue' && PYTHON_GLOBALS.has(node.value)) throw refused(`"${node.value}"`);
    return found;
  }

  /** A value of which nothing is read. */
  #looked(node: Node, scope: Scope): Value {
    return node.type === 'Identifier' && node.value !== 'loop' ? this.#library(node, scope) : this.evaluate(node, scope);
  }

  /** A condition: an iterator is true, whatever it holds. */
  #asked(node: Node, scope: Scope): Value {
    const value = this.#looked(node, scope);
    return ITERATORS.has(this.#views.get(value) ?? '') ? this.#make(true) : value;
  }

  /** `safe` makes a text that escapes what is joined to it: here it may be the last filter alone, where it says nothing. */
  #printed(node: Node, scope: Scope): string {
    const isSafe = node.type === 'FilterExpression' && node.filter.value === 'safe';
    return this.#str(this.evaluate(isSafe ? node.operand : node, scope));
  }

  #tuple(items: readonly Value[]): Value {
    return this.#library({ type: 'TupleLiteral', value: items.map(given) }, new Environment());
  }

  #make(value: unknown): Value {
    return new Environment().set('value', value);
  }

  #list(items: readonly Value[]): Value {
    return new (this.#make([]).constructor as new (items: readonly Value[]) => Value)(items);
  }

  #str(value: Value): string {
    const view = this.#views.get(value);
    if (view) throw refused(`printing what "${view}" gives`);
    return str(value, (each) => {
      if (this.#views.has(each)) throw refused(`printing what "${this.#views.get(each)}" gives`);
    });
  }

  #view(value: Value, name: string): Value {
    if (Array.isArray(value.value)) this.#views.set(value, name);
    return value;
  }

  #binary(node: Node, scope: Scope): Value {
    const operator: string = node.operator.value;
    if (operator === 'and' || operator === 'or') {
      const first = this.evaluate(node.left, scope);
      if (ITERATORS.has(this.#views.get(first) ?? '')) throw refused(`"${operator}" after what "${this.#views.get(first)}" gives`);
      return this.#library({ ...node, left: given(first) }, scope);
    }
    const [left, right] = [this.evaluate(node.left, scope), this.evaluate(node.right, scope)];
    const numbers = [left, right].every(({ type }) => type === 'IntegerValue' || type === 'FloatValue');
    const [a, b] = [left.value as number, right.value as number];
    const view = this.#views.get(left) ?? (/in$/.test(operator) ? undefined : this.#views.get(right));
    if (view) throw refused(`"${operator}" of what "${view}" gives`);
    switch (operator) {
      case '==':
        return this.#make(equal(left, right));
      case '!=':
        return this.#make(!equal(left, right));
      case '**':
        // Python binds a folded minus less than `**`, and the last digits of other powers are the processor's.
        if (left.type !== 'IntegerValue' || right.type !== 'IntegerValue' || a < 0 || b < 0 || node.left.type === 'UnaryExpression')
          throw refused(`${this.#str(left)} ** ${this.#str(right)}, a power of other than whole numbers from 0 on,`);
        break;
      case '~':
        if (this.#joins.has(node.operator) && left.type !== 'StringValue') throw refused('"~" after "+" or "-" of numbers');
        return this.#make(this.#str(left) + this.#str(right));
      case 'in':
      case 'not in':
        if (Array.isArray(right.value)) return this.#make(right.value.some((item: Value) => equal(item, left)) === (operator === 'in'));
        break;
      case '+':
        if ((left.type === 'StringValue') !== (right.type === 'StringValue'))
          throw new Error(`"+" joins a string to a string alone: got ${left.type} and ${right.type}`);
        if (Array.isArray(left.value) && Array.isArray(right.value)) {
          if (left.type !== right.type)
            throw new Error(`"+" joins a list to a list, a tuple to a tuple: got ${left.type} and ${right.type}`);
          const items = [...left.value, ...right.value];
          return left.type === 'TupleValue' ? this.#tuple(items) : this.#list(items);
        }
        break;
      case '/':
      case '//':
      case '%':
        if (numbers && b === 0) throw new Error(`${a} ${operator} 0: division by zero`);
        if (numbers && operator === '%') {
          // The sign of the divisor; of an integer the remainder is one.
          const rest = a % b;
          const modulo = rest === 0 ? (b < 0 ? -0 : 0) : rest < 0 !== b < 0 ? rest + b : rest;
          const Type = (left.type === 'FloatValue' ? left : right).constructor as new (value: number) => Value;
          return new Type(modulo === 0 && left.type === 'IntegerValue' && right.type === 'IntegerValue' ? 0 : modulo);
        }
        break;
    }
    return this.#library({ ...node, left: given(left), right: given(right) }, scope);
  }

  /** JSON of floats differs, and some values have none. */
  #checkJson(value: Value): void {
    const { type, value: held } = value;
    if (type === 'FloatValue' && JSON.stringify(held) !== floatText(held as number))
      throw refused(`tojson of ${floatText(held as number)}`);
    const view = this.#views.get(value);
    if (view || !/^(?:Null|Boolean|Integer|Float|String|Array|Object)Value$/.test(type))
      throw new Error(`tojson: ${view ?? type} has no JSON`);
    if (Array.isArray(held)) for (const item of held) this.#checkJson(item);
    else if (held instanceof Map) for (const item of held.values()) this.#checkJson(item);
  }

  #member(node: Node, scope: Scope): Value {
    const isLoop = node.object.type === 'Identifier' && node.object.value === 'loop';
    const object = isLoop ? this.#library(node.object, scope) : this.evaluate(node.object, scope);
    const name: unknown = node.computed ? undefined : node.property.value;
    if (object.type === 'UndefinedValue') throw new Error(`${described(node.object)} is undefined`);
    if (isLoop && !LOOP.has(String(name))) throw refused(`loop.${name}`);
    if (name === 'length' && object.type !== 'ObjectValue') throw refused('".length"');
    const slice = node.computed && node.property.type === 'SliceExpression';
    const view = this.#views.get(object);
    if (view && (slice || view !== 'range')) throw refused(`a part of what "${view}" gives`);
    if (slice && node.property.step && this.evaluate(node.property.step, scope).value === 0) throw new Error('slice step cannot be zero');
    if (slice && object.type === 'TupleValue')
      return this.#tuple(this.#library({ ...node, object: given(object) }, scope).value as Value[]);
    if (object.type === 'StringValue' && node.computed && /[\ud800-\udfff]/.test(object.value as string)) {
      const points = this.#make([...(object.value as string)]);
      const found = this.#library({ ...node, object: given(points) }, scope);
      return Array.isArray(found.value) ? this.#make(found.value.map((char: Value) => char.value).join('')) : found;
    }
    const found = this.#library({ ...node, object: given(object) }, scope);
    const hidden =
      object.value instanceof Map
        ? DICTIONARY.has(String(name)) && object.value.has(name)
        : found.type === 'UndefinedValue' && PYTHON_NAMES.has(String(name));
    if (hidden && object.type !== 'NamespaceValue') throw refused(`".${name}" of a ${object.type.replace('Value', '').toLowerCase()}`);
    return found;
  }

  #call(node: Node, scope: Scope): Value {
    const { callee } = node;
    if (callee.type === 'Identifier' && callee.value === 'range') return this.#view(this.#library(node, scope), 'range');
    if (callee.type !== 'MemberExpression' || callee.computed) return this.#library(node, scope);
    const object = this.evaluate(callee.object, scope);
    const name: string = callee.property.value;
    const call = { ...node, callee: { ...callee, object: given(object) } };
    if (object.type === 'ObjectValue' && DICTIONARY.has(name) && (object.value as Map<string, Value>).has(name))
      throw refused(`".${name}()" of a dictionary with such a key`);
    if (object.type === 'StringValue') return this.#stringMethod(call, object.value as string, name, scope);
    const result = this.#library(call, scope);
    if (object.type !== 'ObjectValue' || !VIEWS.has(name)) return result;
    return this.#pairs(result, name);
  }

  /** What `items` gives: a view of pairs. */
  #pairs(value: Value, name: string, view = name): Value {
    if (name !== 'items' && name !== 'dictsort') return this.#view(value, name);
    const pairs = this.#list((value.value as Value[]).map((pair) => this.#tuple(pair.value as Value[])));
    return name === 'dictsort' ? pairs : this.#view(pairs, name === 'items' ? view : name);
  }

  #stringMethod(node: Node, text: string, name: string, scope: Scope): Value {
    const named = node.args.find(({ type }: Node) => type !== 'KeywordArgumentExpression' && type.includes('Spread'));
    if (named) throw refused(`"*" in a call of "${name}"`);
    const keywords: Node[] = node.args.filter(({ type }: Node) => type === 'KeywordArgumentExpression');
    if (keywords.some(({ key }) => !(name === 'replace' && key.value === 'count')))
      throw refused(`"${name}" with ${keywords[0].key.value}=`);
    const args: Value[] = node.args.filter((arg: Node) => !keywords.includes(arg)).map((arg: Node) => this.evaluate(arg, scope));
    if (args.length > (MOST_ARGUMENTS[name] ?? 0)) throw refused(`"${name}" with ${args.length} arguments`);
    if (/^(?:starts|ends)with$/.test(name) && args[0]?.type === 'ArrayValue')
      throw new Error(`${name}() takes a string or a tuple of strings, got a list`);
    if (!PYTHON_METHODS.has(name)) return this.#library({ ...node, args: [...args.map(given), ...keywords] }, scope);
    switch (name) {
      case 'strip':
      case 'lstrip':
      case 'rstrip': {
        const [chars] = args;
        if (chars && chars.type !== 'StringValue' && chars.type !== 'NullValue')
          throw new Error(`${name}() takes a string, got ${chars.type}`);
        return this.#make(strip(text, chars ? (chars.value as string | null) : null, name));
      }
      case 'split': {
        const [separator, count] = args;
        if (separator && separator.type !== 'NullValue') return this.#library({ ...node, args: withoutNegative(args).map(given) }, scope);
        if (count && count.type !== 'IntegerValue') throw new Error(`split() takes an integer, got ${count.type}`);
        return this.#make(words(text, count ? (count.value as number) : -1));
      }
      default:
        return this.#make(cased(text, name as 'title' | 'capitalize'));
    }
  }

  #filter(filter: Node, operand: Value, scope: Scope): Value {
    const name: string = filter.type === 'CallExpression' ? filter.callee.value : filter.value;
    const args: Node[] = filter.type === 'CallExpression' ? filter.args : [];
    const keywords = args.filter(({ type }) => type === 'KeywordArgumentExpression').map(({ key }) => key.value as string);
    const unknown = keywords.find((key) => !(KEYWORDS[name] ?? []).includes(key));
    if (unknown !== undefined) throw refused(`the filter "${name}" with ${unknown}=`);
    if (args.some(({ type }) => type.includes('Spread'))) throw refused(`"*" in the filter "${name}"`);
    const positional = args.filter(({ type }) => type !== 'KeywordArgumentExpression');
    const most = POSITIONAL[name] ?? 0;
    if (positional.length > most) throw refused(`the filter "${name}" with ${positional.length} arguments`);
    const library = (given_ = operand) => this.#library({ type: 'FilterExpression', operand: given(given_), filter }, scope);
    const text = operand.type === 'StringValue' ? (operand.value as string) : null;
    const view = this.#views.get(operand);
    if (view && !(OF_ITERATORS.has(name) || (name === 'length' && !ITERATORS.has(view))))
      throw refused(`the filter "${name}" of what "${view}" gives`);
    switch (name) {
      case 'safe':
      case 'escape':
      case 'e':
        throw refused(`the filter "${name}" but as the last of what is printed`);
      case 'indent': {
        const named = (key: string, at: number) => {
          const keyword = args.find((arg) => arg.type === 'KeywordArgumentExpression' && arg.key.value === key);
          const node = keyword?.value ?? positional[at];
          return node && this.evaluate(node, scope);
        };
        const [width, first, blank] = ['width', 'first', 'blank'].map(named);
        if (text === null || (width && width.type !== 'IntegerValue' && width.type !== 'StringValue'))
          throw refused(`the filter "indent" of a ${operand.type} by a ${width?.type}`);
        if ([first, blank].some((flag) => flag && flag.type !== 'BooleanValue'))
          throw refused('the filter "indent" with flags that are none');
        const space =
          width === undefined
            ? '    '
            : typeof width.value === 'string'
              ? width.value
              : ' '.repeat(Math.max(0, Math.min(width.value as number, MAX_LENGTH)));
        return this.#make(indented(text, space, { first: first?.value === true, blank: blank?.value === true }));
      }
      case 'string':
        return this.#make(this.#str(operand));
      case 'length':
        return text === null ? library() : this.#make([...text].length);
      case 'trim':
        return this.#make(strip(this.#str(operand), null, 'strip'));
      case 'capitalize':
        return text === null ? library() : this.#make(cased(text, 'capitalize'));
      case 'title':
        return text === null ? library() : this.#make(cased(text, 'title filter'));
      case 'list':
        if (text !== null) return this.#make([...text]);
        return Array.isArray(operand.value) ? this.#list(operand.value) : library();
      case 'join': {
        const items = text !== null ? [...text] : Array.isArray(operand.value) ? operand.value.map((item: Value) => this.#str(item)) : null;
        if (!items) return library();
        const separator = positional.length ? this.evaluate(positional[0], scope) : this.#make('');
        return this.#make(items.join(this.#str(separator)));
      }
      case 'int':
      case 'float': {
        if (text !== null && /\d/.test(text) && !/^[+-]?\d{1,15}(?:\.\d{0,15})?$/.test(strip(text, null, 'strip')))
          throw refused(`the filter "${name}" of ${JSON.stringify(text.slice(0, 40))}`);
        if (text !== null && !/\d/.test(text) && /nan|inf/i.test(text)) throw refused(`the filter "${name}" of ${JSON.stringify(text)}`);
        if (name === 'int' && operand.type === 'FloatValue') return this.#make(Math.trunc(operand.value as number));
        return library(text === null ? operand : this.#make(strip(text, null, 'strip')));
      }
      case 'tojson':
        this.#checkJson(operand);
        for (const { key, value } of args.filter(({ type }) => type === 'KeywordArgumentExpression')) {
          const set = this.evaluate(value, scope);
          if (key.value === 'indent' && set.type !== 'NullValue' && !(Number(set.value) > 0)) throw refused(`tojson(indent=${set.value})`);
        }
        return library();
      case 'unique': {
        if (!Array.isArray(operand.value)) throw refused(`the filter "unique" of a ${operand.type}`);
        const items = operand.value as Value[];
        if (!['StringValue', 'IntegerValue'].some((type) => items.every((item) => item.type === type)))
          throw refused('the filter "unique" of mixed kinds');
        const seen = new Set<unknown>();
        const key = ({ value }: Value) => (typeof value === 'string' ? value.toLowerCase() : value);
        return this.#view(this.#list(items.filter((item) => !seen.has(key(item)) && seen.add(key(item)))), name);
      }
      case 'reverse':
        return this.#view(library(), name);
      case 'map':
      case 'selectattr':
      case 'rejectattr':
        if (name !== 'map' && positional.length > 1) {
          const test: unknown = positional[1].value;
          if (!ATTRIBUTE_TESTS.has(String(test))) throw refused(`${name} with the test "${test}"`);
        }
        return this.#view(library(), name);
      case 'items':
      case 'dictsort':
        return this.#pairs(library(), name, 'the filter items');
      default:
        return library();
    }
  }
}

/** An expression that has been evaluated. */
const given = (value: Value): Node => ({ type: 'Given', value });

/** An expression whose truth alone is asked. */
const asked = (node: Node): Node => ({ type: 'Asked', asked: node });

const withoutNegative = (args: readonly Value[]): readonly Value[] => (args[1] && (args[1].value as number) < 0 ? args.slice(0, 1) : args);

const described = ({ type, value, property }: Node): string =>
  JSON.stringify(type === 'Identifier' ? value : (property?.value ?? 'an expression'));

const LOOP: ReadonlySet<string> = new Set(['index', 'index0', 'revindex', 'revindex0', 'first', 'last', 'length', 'previtem', 'nextitem']);
/** What gives an iterator in Python: true whatever it holds, without a length, and empty once it was read. */
const ITERATORS: ReadonlySet<string> = new Set(['map', 'selectattr', 'rejectattr', 'unique', 'reverse', 'the filter items']);
const OF_ITERATORS: ReadonlySet<string> = new Set([
  'list',
  'join',
  'map',
  'selectattr',
  'rejectattr',
  'first',
  'sort',
  'unique',
  'default',
  'tojson',
]);
const VIEWS: ReadonlySet<string> = new Set(['items', 'keys', 'values', 'dictsort']);
const PYTHON_METHODS: ReadonlySet<string> = new Set(['strip', 'lstrip', 'rstrip', 'split', 'title', 'capitalize']);
const MOST_ARGUMENTS: Readonly<Record<string, number>> = {
  strip: 1,
  lstrip: 1,
  rstrip: 1,
  split: 2,
  startswith: 1,
  endswith: 1,
  replace: 3,
};
const ATTRIBUTE_TESTS: ReadonlySet<string> = new Set(['equalto', 'eq', 'defined', 'none', 'string', 'true', 'false', 'mapping', 'boolean']);

/** Keyword and positional arguments that the library heeds, filter by filter: others it would leave out without a word. */
const KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  tojson: ['indent', 'ensure_ascii', 'separators'],
  default: ['boolean'],
  sort: ['reverse', 'case_sensitive', 'attribute'],
  map: ['attribute', 'default'],
  indent: ['width', 'first', 'blank'],
  replace: ['count'],
};
const POSITIONAL: Readonly<Record<string, number>> = {
  join: 1,
  int: 1,
  float: 1,
  default: 2,
  sort: 3,
  selectattr: 3,
  rejectattr: 3,
  indent: 3,
  replace: 3,
};
