/** A plot as notebook output: text for everyone, a picture for GitHub and the book, Plotly's JSON where the reader can zoom. */
import { checkObject } from '../arguments.js';
import { inNotebook, liveOutput, show, untilShown } from './bundle.js';
import { type Figure, forPlotly, type Layout, PLOTLY_CONFIG, plot, type Trace } from './figure.js';
import { printableLine } from './printable.js';
import { figurePng } from './still-picture.js';

/**
 * Shows a figure, or traces with a layout, below the running cell. Outside of a notebook prints one line.
 *
 *     await showPlot([{ x: steps, y: reward, name: 'GRPO' }], { xaxis: 'step', yaxis: 'exact match (0 to 1)' });
 *
 * @example
 * ```ts
 * import { showPlot } from 'search-e1/display';
 *
 * await showPlot([{ y: [0.3, 0.4] }], { title: 'Reward', xaxis: 'step', yaxis: 'exact match (0 to 1)' });
 * ```
 */
export function showPlot(figure: Figure | readonly Trace[], layout?: Layout): Promise<void> {
  return untilShown(draw(figure, layout));
}

async function draw(figure: Figure | readonly Trace[], layout?: Layout): Promise<void> {
  if (!Array.isArray(figure)) checkObject('showPlot', 'figure', figure, ['data', 'layout']);
  const complete = 'layout' in figure ? plot(figure.data, { ...figure.layout, ...layout }) : plot(figure, layout);
  const text = describe(complete);
  if (!inNotebook()) {
    show({ 'text/plain': text });
    return;
  }
  // Of this cell, which may have ended by the time the picture is drawn.
  const output = liveOutput();
  const png = Buffer.from(await figurePng(complete)).toString('base64');
  output?.update({
    'text/plain': text,
    'image/png': png,
    'application/vnd.plotly.v1+json': { ...forPlotly(complete), config: PLOTLY_CONFIG },
  });
}

/** `Plot "Reward": exact match (0 to 1) over step; traces: GRPO, OFSD`. */
export function describe({ data, layout }: Figure): string {
  const title = (key: string) => (layout[key] as { title?: { text?: string } } | undefined)?.title?.text;
  const heading = (layout.title as { text?: string } | undefined)?.text;
  const names = data.map((trace) => trace.name).filter(Boolean);
  const axes = title('xaxis') && title('yaxis') ? `: ${title('yaxis')} over ${title('xaxis')}` : '';
  return printableLine(`Plot${heading ? ` "${heading}"` : ''}${axes}${names.length ? `; traces: ${names.join(', ')}` : ''}`);
}
