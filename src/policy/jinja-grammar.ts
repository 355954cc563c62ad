/**
 * Where Jinja reads another expression than `@huggingface/jinja`'s parser does from the same tokens: refused before the parser drops what tells them apart, the parentheses.
 */
import { refused } from './python-text.js';

export interface Token {
  readonly type: string;
  readonly value: string;
}

/**
 * Looks through a template's tokens.
 *
 * @returns the `~` that follow a `+` or `-` of their own level: Jinja joins before it adds
 * @throws Error for what is no Jinja, or would be read as something else
 */
export function checkGrammar(tokens: readonly Token[]): ReadonlySet<object> {
  const joins = new Set<object>();
  tokens.forEach((token, i) => {
    const after = tokens[i + 1];
    if (
      token.type === 'NumericLiteral' &&
      after?.type === 'Identifier' &&
      /^(?:[eE_]|[xXbBoO][\da-fA-F])/.test(after.value) &&
      after.value !== 'else'
    )
      throw refused(`the number ${token.value}${after.value}`);
    if (after && endsValue(token.type) && beginsValue(after) && !(token.type === 'StringLiteral' && after.type === 'StringLiteral'))
      throw new Error(`expected a comma or an operator between "${token.value}" and "${after.value}"`);
    const test = token.type === 'Identifier' && token.value === 'is' ? i + (after?.value === 'not' ? 2 : 1) : -1;
    const [name, next] = test < 0 || tokens[i - 1]?.type === 'Dot' ? [] : tokens.slice(test, test + 2);
    // Jinja takes the word after a test for its argument.
    if (name && next?.type === 'Identifier' && !/^(?:else|or|and)$/.test(next.value))
      throw new Error(`expected the end of the test "${name.value}", got "${next.value}": put it in parentheses`);
  });
  /** What has been read of the innermost brackets since the last comma or word that binds less. */
  const levels = [fresh()];
  tokens.forEach((token, i) => {
    const { type, value } = token;
    const level = levels[levels.length - 1];
    const before = tokens[i - 1];
    if (type.startsWith('Open')) {
      const word = type === 'OpenStatement' ? tokens[i + 1]?.value : undefined;
      levels.push({ ...fresh(), loop: word === 'for', branch: word === 'if' || word === 'elif' });
    } else if (type.startsWith('Close')) {
      if (levels.length > 1) levels.pop();
    } else if (type === 'ComparisonBinaryOperator' || (type === 'Identifier' && value === 'in' && before?.type !== 'Dot')) {
      if (level.loop && !level.iterable) level.iterable = true;
      else {
        if (level.compared) throw refused(`a chain of comparisons ("${value}" after another)`);
        Object.assign(level, { compared: true, added: false });
      }
    } else if (type === 'AdditiveBinaryOperator') {
      if (value === '~' && level.added) joins.add(token);
      if (value !== '~' && before && endsOperand(before)) level.added = true;
    } else if (/^(?:Comma|Colon|Equals)$/.test(type)) Object.assign(level, { compared: false, added: false });
    else if (type === 'Identifier' && before?.type !== 'Dot' && /^(?:if|else|and|or)$/.test(value)) {
      const isWord = before?.type === 'OpenStatement';
      if ((level.loop && value === 'else') || (level.branch && /^(?:if|else)$/.test(value) && !isWord))
        throw new Error('"if" and "for" take no "… if … else …" without parentheses');
      Object.assign(level, { compared: false, added: false });
    }
  });
  return joins;
}

const fresh = () => ({ compared: false, added: false, loop: false, branch: false, iterable: false });

const endsValue = (type: string): boolean => /^(?:Numeric|String)Literal$|^Close(?:Paren|SquareBracket|CurlyBracket)$/.test(type);

const WORDS = /^(?:if|else|in|not|is|and|or|recursive)$/;

const endsOperand = ({ type, value }: Token): boolean => endsValue(type) || (type === 'Identifier' && !WORDS.test(value));

const beginsValue = ({ type, value }: Token): boolean =>
  /^(?:Numeric|String)Literal$/.test(type) || (type === 'Identifier' && !WORDS.test(value));
