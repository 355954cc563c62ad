/**
 * Plotly figures with the habits of a good plot: every axis titled with its unit, a legend as soon as there are two traces, colours that
 * colour-blind readers can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/), white ground and a readable font.
 */

/** A Plotly trace, https://plotly.com/javascript/reference/: `x` and `y` may be typed arrays. */
export type Trace = Readonly<Record<string, unknown>>;

/** A Plotly layout, in which `title` and the axes may also be given as plain text: `{ xaxis: 'step', yaxis: 'reward (0 to 1)' }`. */
export type Layout = Readonly<Record<string, unknown>>;

/** What Plotly draws. JSON all through. */
export interface Figure {
  readonly data: readonly Trace[];
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
]);

/** A figure from traces and a layout. @throws Error when an axis has no title, or one of several traces no name. */
export function plot(traces: readonly Trace[], layout: Layout = {}): Figure {
  if (traces.length === 0) throw new Error('plot: expected at least one trace, got none.');
  const axes = new Set(
    traces.flatMap((trace) => (WITHOUT_AXES.has(String(trace.type)) ? [] : [axisKey(trace.xaxis, 'x'), axisKey(trace.yaxis, 'y')])),
  );
  const given = Object.fromEntries(Object.entries(layout).map(([key, value]) => [key, /^[xy]axis\d*$/.test(key) ? axis(value) : value]));
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
  const titleText = typeof layout.title === 'string' ? layout.title : (layout.title as { text?: string } | undefined)?.text;
  const titleLines = titleText ? titleText.split('<br>').length : 0;
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
    data: traces.map((trace) => ({ ...trace })),
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
      ...(typeof layout.title === 'string' ? { title: { text: layout.title } } : {}),
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

function axis(value: unknown): unknown {
  if (typeof value === 'string') return { title: { text: value } };
  const { title } = (value ?? {}) as { title?: unknown };
  return typeof title === 'string' ? { ...(value as object), title: { text: title } } : value;
}

/** Typed arrays as arrays, what is no number as a gap. */
function json(value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as Float32Array, (number) => json(number));
  if (Array.isArray(value)) return value.map(json);
  if (value instanceof Date) return value.toISOString();
  if (value && typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => [key, json(item)]),
    );
  }
  return value;
}
