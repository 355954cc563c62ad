/** A plot that is redrawn in place while a loop runs. */
import { liveOutput } from './bundle.js';
import { type Layout, plot, type Trace } from './figure.js';
import { describe } from './show-plot.js';
import { figurePng } from './still-picture.js';

export interface LivePlot {
  /** Draws these traces in place of the last ones. Front ends that know Plotly redraw; others wait for `finish`. */
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
 */
export function livePlot(layout: Layout): LivePlot {
  const output = liveOutput();
  let traces: readonly Trace[] = [];
  const bundle = () => {
    const figure = plot(traces, layout);
    return {
      figure,
      data: { 'text/plain': describe(figure), 'application/vnd.plotly.v1+json': { ...figure, config: { displaylogo: false } } },
    };
  };
  return {
    update(next) {
      traces = next;
      output?.update(bundle().data);
    },
    async finish() {
      if (!output || traces.length === 0) return;
      const { figure, data } = bundle();
      const { width, height } = figure.layout;
      output.update({ ...data, 'image/png': Buffer.from(await figurePng(figure)).toString('base64') }, { 'image/png': { width, height } });
    },
  };
}
