/**
 * Text of models, passages and files made fit to be shown: on a terminal, on a page, in a picture. Nothing in it may move the cursor, set the title,
 * turn the reading direction around or break the SVG that it becomes part of.
 *
 * Control characters are shown as `\x1b`; line feeds and tabs stay.
 */

/**
 * C0 but tab and line feed, DEL, C1, the invisible characters that order or annotate text, halves of surrogate pairs, and what Unicode says is no character
 * (which XML refuses).
 */
const UNPRINTABLE = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\p{Surrogate}\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff]/gu;

/** The text with every character that could steer a terminal made visible. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => {
    const code = char.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
}

/** The same on one line. */
export const printableLine = (text: string): string => printable(text.replace(/\s+/g, ' '));

/** JSON that means the same and can be printed: what JSON itself leaves raw is escaped. Numbers that are not finite become null. */
export function printableJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent).replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
