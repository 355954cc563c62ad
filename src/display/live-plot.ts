/** A plot that is redrawn in place while a loop runs. */
import { checkObject } from '../arguments.js';
import { liveOutput, untilShown } from './bundle.js';
import { forPlotly, type Layout, PLOTLY_CONFIG, plot, type Trace } from './figure.js';
import { describe } from './show-plot.js';
import { figurePng } from './still-picture.js';

/** Milliseconds between two drawings, at least: each sends the whole figure. */
const INTERVAL = 100;

/** A plot that grows while work goes on. */
export interface LivePlot {
  /** Draws these traces in place of the last ones, ten times a second at most. Front ends that know Plotly redraw; others wait for `finish`. */
  update(traces: readonly Trace[]): void;
  /** The last state, with its picture for GitHub and the book. */
  finish(): Promise<void>;
}

/**
 * A plot below the running cell whose traces grow. Outside of a notebook nothing is drawn.
 *
 *     const curves = livePlot({ xaxis: 'step', yaxis: 'exact match (0 to 1)' });
 *     for (...) curves.update([{ x: steps, y: reward, name: 'reward' }]);
 *     await curves.finish();
 *
 * @example
 * ```ts
 * import { livePlot } from 'search-e1/display';
 *
 * const live = livePlot({ title: 'Reward', xaxis: 'step', yaxis: 'exact match (0 to 1)' });
 * live.update([{ y: [0.3] }]);
 * typeof live.finish; // 'function'
 * ```
 */
export function livePlot(layout: Layout): LivePlot {
  checkObject('livePlot', 'layout', layout);
  const output = liveOutput();
  let traces: readonly Trace[] = [];
  const bundle = () => {
    const figure = plot(traces, layout);
    return {
      figure,
      data: { 'text/plain': describe(figure), 'application/vnd.plotly.v1+json': { ...forPlotly(figure), config: PLOTLY_CONFIG } },
    };
  };
  let drawnAt = Number.NEGATIVE_INFINITY;
  let late: NodeJS.Timeout | undefined;
  const draw = () => {
    clearTimeout(late);
    late = undefined;
    drawnAt = performance.now();
    output?.update(bundle().data);
  };
  const drawLast = async () => {
    clearTimeout(late);
    if (!output || traces.length === 0) return;
    const { figure, data } = bundle();
    const { width, height } = figure.layout;
    output.update({ ...data, 'image/png': Buffer.from(await figurePng(figure)).toString('base64') }, { 'image/png': { width, height } });
  };
  return {
    update(next) {
      plot(next, layout); // What cannot be drawn is an error of this call.
      traces = next;
      const left = drawnAt + INTERVAL - performance.now();
      if (left <= 0) draw();
      else if (output) late ??= setTimeout(draw, left);
    },
    finish: () => untilShown(drawLast()),
  };
}
