/**
 * Plotly figures with the habits of a good plot: every axis titled with its unit, a legend as soon as there are two traces, colours that
 * colour-blind readers can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/), white ground and a readable font.
 *
 * Labels are text: what stands in angle brackets or between dollars is shown as it is written, and a line feed begins a new line. Plotly itself would
 * read markup and formulas, so `forPlotly` writes a figure out before it is handed over.
 */
import { checkObject, described } from '../arguments.js';
import { localTime } from './local-time.js';
import { printable } from './printable.js';

/**
 * A Plotly trace, https://plotly.com/javascript/reference/: `x` and `y` may be typed arrays, sets and danfo.js series, dates are shown in the local time
 * zone, and `title` (of a colour bar) may be plain text.
 */
export type Trace = Readonly<Record<string, unknown>>;

/** A Plotly layout, in which axes and every `title` may also be given as plain text: `{ xaxis: 'step', yaxis: 'reward (0 to 1)' }`. */
export type Layout = Readonly<Record<string, unknown>>;

/** What Plotly draws. JSON all through. */
export interface Figure {
  /** Its traces. */
  readonly data: readonly Trace[];
  /** Its layout, with a size that is known. */
  readonly layout: Readonly<Record<string, unknown>> & { readonly width: number; readonly height: number };
}

/** Okabe and Ito's palette without its yellow, which is faint on white. */
export const PALETTE = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'] as const;

const WITHOUT_AXES = new Set([
  'pie',
  'table',
  'sankey',
  'sunburst',
  'treemap',
  'icicle',
  'funnelarea',
  'indicator',
  'parcoords',
  'parcats',
  'scatterpolar',
  'barpolar',
  'scatterternary',
]);

/**
 * A figure from traces and a layout. @throws Error when an axis has no title, or one of several traces no name.
 *
 * @example
 * ```ts
 * import { plot } from 'search-e1/display';
 *
 * const { layout } = plot([{ x: [1, 2], y: [0.3, 0.4], name: 'exact match' }], { title: 'Reward', xaxis: 'step', yaxis: 'exact match (0 to 1)' });
 * layout.width > 0; // true
 * ```
 */
export function plot(traces: readonly Trace[], layout: Layout = {}): Figure {
  if (!Array.isArray(traces)) throw new TypeError(`plot: expected a list of traces, got ${described(traces)}`);
  if (traces.length === 0) throw new Error('plot: expected at least one trace, got none.');
  for (const [i, trace] of traces.entries()) checkObject('plot', `trace ${i + 1} of ${traces.length}`, trace);
  checkObject('plot', 'layout', layout);
  const axes = new Set(
    traces.flatMap((trace) => (WITHOUT_AXES.has(String(trace.type)) ? [] : [axisKey(trace.xaxis, 'x'), axisKey(trace.yaxis, 'y')])),
  );
  const given = titled(
    Object.fromEntries(
      Object.entries(layout).map(([key, value]) => [
        key,
        /^[xy]axis\d*$/.test(key) && typeof value === 'string' ? { title: value } : value,
      ]),
    ),
  ) as Readonly<Record<string, unknown>>;
  for (const key of axes) {
    const { title, visible, showticklabels } = (given[key] ?? {}) as AxisLayout;
    if (!title?.text?.trim() && visible !== false && showticklabels !== false) {
      throw new Error(`plot: ${key} has no title. Say what it shows and in which unit, such as { ${key}: 'reward (0 to 1)' }.`);
    }
  }
  const showlegend = (layout.showlegend as boolean | undefined) ?? traces.length > 1;
  if (showlegend) {
    const nameless = traces.findIndex((trace) => !trace.name && trace.showlegend !== false);
    if (nameless >= 0)
      throw new Error(`plot: trace ${nameless + 1} of ${traces.length} has no name for the legend. Give it one, or showlegend: false.`);
  }
  const titleText = (given.title as { text?: string } | undefined)?.text;
  const titleLines = titleText ? titleText.split('\n').length : 0;
  const framed = {
    showline: true,
    linecolor: '#888',
    gridcolor: '#e4e4e4',
    zerolinecolor: '#bbb',
    ticks: 'outside',
    tickcolor: '#888',
    automargin: true,
  };
  return json({
    data: traces.map(titled),
    layout: {
      width: 720,
      height: 420,
      paper_bgcolor: '#fff',
      plot_bgcolor: '#fff',
      colorway: PALETTE,
      font: { family: 'DejaVu Sans, Verdana, sans-serif', size: 13, color: '#222' },
      margin: { l: 64, r: 24, t: titleLines ? 32 + 24 * titleLines : 24, b: 64 },
      ...given,
      ...Object.fromEntries([...axes].map((key) => [key, { ...framed, ...(given[key] as object | undefined) }])),
      showlegend,
    },
  }) as Figure;
}

interface AxisLayout {
  readonly title?: { readonly text?: string };
  readonly visible?: boolean;
  readonly showticklabels?: boolean;
}

const axisKey = (reference: unknown, letter: 'x' | 'y') => `${letter}axis${reference ? String(reference).slice(1) : ''}`;

/** What a caller's own objects are for: nothing in them is a title or a label. */
const CALLERS_OWN = new Set(['meta', 'customdata']);

/** With every title that is plain text, however deep, as the object that Plotly wants; of axes, legends and colour bars among others. */
function titled(value: unknown): unknown {
  if (Array.isArray(value)) return value.some((item) => item && typeof item === 'object') ? value.map(titled) : value;
  if (!isPlain(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (CALLERS_OWN.has(key)) return [key, item];
      return [key, (key === 'title' || key === 'legendgrouptitle') && typeof item === 'string' ? { text: item } : titled(item)];
    }),
  );
}

/** Markup that the author of a plot writes on purpose, formats with `<` and `>` of their own, and addresses. */
const NO_LABEL = /template$|format$|^(source|operation)$/;

/** The figure with its labels written so that Plotly shows them as they are. Not to be done twice. */
export function forPlotly({ data, layout }: Figure): Figure {
  return { data: literal(data, ''), layout: literal(layout, '') } as Figure;
}

function literal(value: unknown, key: string): unknown {
  if (typeof value === 'string') return NO_LABEL.test(key) ? printable(value) : literalText(value);
  if (Array.isArray(value)) return value.map((item) => literal(item, key));
  if (value && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, literal(item, name)]));
  return value;
}

const literalText = (text: string): string =>
  printable(text.replace(/\r\n?/g, '\n'))
    .replace(/[&<>]/g, (char) => `&#${char.charCodeAt(0)};`)
    .replace(/\n/g, '<br>');

/** How Plotly is to be called: its own sign left out, and dollars as dollars, not as formulas. */
export const PLOTLY_CONFIG = { displaylogo: false, typesetMath: false } as const;

/** Typed arrays, sets and series as arrays, what is no number as a gap. `path` is where in the figure it stands; `above` is what it lies in. */
function json(value: unknown, path = 'plot', above: readonly object[] = []): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (typeof value === 'function' || typeof value === 'symbol') throw unusable(path, `a ${typeof value}`);
  if (!value || typeof value !== 'object') return value;
  if (above.includes(value)) throw unusable(path, 'an object that holds itself');
  const below = [...above, value];
  const list = listOf(value);
  if (list) return Array.from(list, (item, index) => json(item, `${path}[${index}]`, below));
  if (value instanceof Date) return localTime(value) ?? null;
  if (value instanceof Map) throw unusable(path, 'a Map: give its keys and values as x and y');
  if ('dataSync' in value) throw unusable(path, 'a tensor: give what "await tensor.array()" or "await tensor.data()" returns');
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, json(item, path === 'plot' ? key : `${path}.${key}`, below)]),
  );
}

/** What can be gone through in order, or undefined. */
function listOf(value: object): Iterable<unknown> | undefined {
  if (Array.isArray(value) || value instanceof Set) return value;
  if (ArrayBuffer.isView(value)) return value instanceof DataView ? undefined : (value as unknown as Iterable<unknown>);
  // A danfo.js series.
  const { $isSeries, values } = value as { $isSeries?: boolean; values?: unknown };
  return $isSeries && Array.isArray(values) ? values : undefined;
}

const unusable = (path: string, got: string) => new Error(`plot: expected numbers, text, dates or lists of them as ${path}, got ${got}.`);

const isPlain = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value));
