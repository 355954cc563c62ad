/**
 * What callers without types hand in, looked at where they enter the package: what was got, what was expected. A misspelt option is refused, for it would
 * otherwise be left out without a word.
 */

/** A value as an error shows it. */
export function described(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return `an object of ${Object.keys(value).slice(0, 5).join(', ') || 'nothing'}`;
  return String(value);
}

/** Options by name, of which `names` are all there are. TypeError for another. */
export function checkOptions(where: string, options: unknown, names: readonly string[]): void {
  checkObject(where, 'options', options);
  const unknown = Object.keys(options as object).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new TypeError(`${where}: there is no option ${unknown}; expected ${names.join(', ')}`);
}

/** An object with at least these properties. */
export function checkObject(where: string, what: string, value: unknown, properties: readonly string[] = []): void {
  const expected = properties.length ? `an object with ${properties.join(', ')}` : 'an object';
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TypeError(`${where}: ${what}: expected ${expected}, got ${described(value)}`);
  const missing = properties.find((name) => (value as Record<string, unknown>)[name] === undefined);
  if (missing !== undefined) throw new TypeError(`${where}: ${what}: expected ${expected}, got ${described(value)}, without ${missing}`);
}

/** The path of a folder or file. */
export function checkPath(where: string, path: unknown): void {
  if (typeof path !== 'string' || path.trim() === '') throw new TypeError(`${where}: expected a path, got ${described(path)}`);
}

export function checkText(where: string, what: string, text: unknown): void {
  if (typeof text !== 'string') throw new TypeError(`${where}: ${what}: expected a text, got ${described(text)}`);
}

/** A list of texts: one text alone is none, though it would be read letter by letter. */
export function checkTexts(where: string, what: string, texts: unknown): void {
  if (!Array.isArray(texts)) throw new TypeError(`${where}: ${what}: expected a list of texts, got ${described(texts)}`);
  const at = texts.findIndex((text) => typeof text !== 'string');
  if (at >= 0) throw new TypeError(`${where}: ${what}: expected a list of texts, got ${described(texts[at])} at ${at}`);
}

/** One of a few names. */
export function checkChoice(where: string, what: string, value: unknown, choices: readonly string[]): void {
  if (!choices.includes(value as string))
    throw new RangeError(`${where}: ${what}: expected ${choices.join(', ')}; got ${described(value)}`);
}
