/**
 * Text of models, passages and files on a terminal: nothing in it may move the cursor, set the title or turn the reading direction around.
 *
 * Control characters are shown as `\x1b`; line feeds and tabs stay.
 */

/** C0 but tab and line feed, DEL, C1, and the invisible characters that order text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** The text with every character that could steer a terminal made visible. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => {
    const code = char.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
}

/** JSON that means the same and can be printed: what JSON itself leaves raw is escaped. Numbers that are not finite become null. */
export function printableJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent).replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
