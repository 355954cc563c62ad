/**
 * One output with several mime types, and outputs that are replaced in place: the only place that knows tslab's inside.
 *
 * tslab 1.0.22 shows one mime type an output; its kernel's own `lastWriteDisplayData` takes a whole bundle. Where no tslab kernel runs, the
 * text is printed instead, so that the same code works in a script.
 */
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { printable } from './printable.js';

/** Data by mime type: text as it is, images in base64, `application/...+json` as an object. `text/plain` is what is shown where nothing else can be. */
export interface Bundle {
  /** For those who see no HTML; always there. */
  readonly 'text/plain': string;
  readonly [mimeType: string]: unknown;
}

/** Hints for a mime type's renderer, such as `{ 'image/png': { width: 720 } }` (CSS pixels). */
export type BundleMetadata = Readonly<Record<string, unknown>>;

/** An output that changes. */
export interface LiveOutput {
  /** Shows the bundle in place of what was shown. */
  update(bundle: Bundle, metadata?: BundleMetadata): void;
}

type WriteDisplayData = (message: { data: object; metadata: object; transient: { display_id?: string } }, update?: boolean) => void;

/**
 * Shows a bundle below the running cell; outside of a notebook prints its `text/plain`, in which nothing steers the terminal.
 *
 * @example
 * ```ts
 * import { show } from 'search-e1/display';
 *
 * show({ 'text/plain': 'exact match 0.44', 'text/html': '<b>exact match</b> 0.44' });
 * ```
 */
export function show(bundle: Bundle, metadata: BundleMetadata = {}): void {
  const write = writer();
  if (write) write({ data: bundle, metadata, transient: {} }, false);
  else console.log(printable(bundle['text/plain']));
}

/**
 * HTML with its plain-text twin. The caller has escaped what came from elsewhere.
 *
 * @example
 * ```ts
 * import { showHtml } from 'search-e1/display';
 *
 * showHtml('<b>0.44</b>', '0.44');
 * ```
 */
export function showHtml(html: string, text: string): void {
  show({ 'text/html': html, 'text/plain': text });
}

/**
 * An output of the running cell that can be replaced, also after the cell has ended. Undefined outside of a notebook.
 *
 * @example
 * ```ts
 * import { liveOutput } from 'search-e1/display';
 *
 * liveOutput(); // undefined
 * ```
 */
export function liveOutput(): LiveOutput | undefined {
  const write = writer();
  if (!write) return undefined;
  const transient = { display_id: randomUUID() };
  let shown = false;
  return {
    update(bundle, metadata = {}) {
      write({ data: bundle, metadata, transient }, shown);
      shown = true;
    },
  };
}

/** What is still being drawn, where the kernel's launcher looks: a cell ends when this has been shown, also where nobody waits for it. */
const PENDING = Symbol.for('search-e1.pending-displays');

/** The work, which its cell will wait for. */
export function untilShown<T>(work: Promise<T>): Promise<T> {
  const kept = globalThis as { [PENDING]?: Set<Promise<unknown>> };
  kept[PENDING] ??= new Set();
  const pending = kept[PENDING];
  pending.add(work);
  const done = () => void pending.delete(work);
  work.then(done, done);
  return work;
}

/**
 * True inside a cell of a tslab notebook.
 *
 * @example
 * ```ts
 * import { inNotebook } from 'search-e1/display';
 *
 * inNotebook(); // false
 * ```
 */
export const inNotebook = (): boolean => writer() !== undefined;

/**
 * Text made safe for HTML, inside of elements and of quoted attributes.
 *
 * @example
 * ```ts
 * import { escapeHtml } from 'search-e1/display';
 *
 * escapeHtml('<b>'); // '&#60;b&#62;'
 * ```
 */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

/** The kernel's writer, found in the module that is already loaded: the kernel's own copy of tslab, wherever it was installed. */
function writer(): WriteDisplayData | undefined {
  const { cache } = createRequire(join(process.cwd(), 'noop.js'));
  const path = Object.keys(cache).find((name) => /[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(name));
  const kernel = path === undefined ? undefined : (cache[path]?.exports as { lastWriteDisplayData?: WriteDisplayData | null } | undefined);
  return kernel?.lastWriteDisplayData ?? undefined;
}
