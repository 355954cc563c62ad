/**
 * Plotly figures as PNG, without a browser: plotly.js draws SVG under jsdom, resvg turns it into pixels.
 *
 * plotly.js measures text through the browser's layout, which jsdom has none of: resvg measures instead, with the same font that draws. The
 * font is DejaVu Sans from npm, so that a picture is the same on every machine, also on one without any font. 2-D SVG traces only: no WebGL.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkObject, checkOptions } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import { type Figure, forPlotly, PLOTLY_CONFIG } from './figure.js';
import { optionalPackage, packageFolder } from './optional-package.js';
import { layOutText, type MeasuredWindow } from './text-layout.js';

/** How large the picture is. */
export interface PngOptions {
  /** Pixels of the picture a pixel of the layout; default 1, because JupyterLab and GitHub show pictures pixel by pixel. Print wants 2 or more. */
  readonly scale?: number;
}

/**
 * The figure as a PNG file's bytes. The first call loads plotly.js (about 3 s), later ones take about 0.3 s.
 *
 * @example
 * ```ts
 * import { figurePng, plot } from 'search-e1/display';
 *
 * const png = await figurePng(plot([{ y: [0.3, 0.4] }], { xaxis: 'step', yaxis: 'exact match (0 to 1)' }));
 * png[1] === 0x50; // true
 * ```
 */
export async function figurePng(figure: Figure, options: PngOptions = {}): Promise<Uint8Array> {
  checkOptions('figurePng', options, ['scale'] satisfies (keyof PngOptions)[]);
  const { scale = 1 } = options;
  checkNumber('figurePng: scale', scale, { above: 0 });
  const svg = await figureSvg(figure);
  return (await started()).render(svg, scale);
}

/** What the picture is made from. */
export async function figureSvg(figure: Figure): Promise<string> {
  checkObject('figurePng', 'figure', figure, ['data', 'layout']);
  return (await started()).draw(forPlotly(figure));
}

interface Drawing {
  draw(figure: Figure): Promise<string>;
  render(svg: string, scale: number): Uint8Array;
}

let drawing: Promise<Drawing> | undefined;

function started(): Promise<Drawing> {
  drawing ??= startDrawing().catch((error) => {
    drawing = undefined;
    throw error;
  });
  return drawing;
}

async function startDrawing(): Promise<Drawing> {
  const purpose = 'Drawing a plot';
  const { Resvg } = await optionalPackage<typeof import('@resvg/resvg-js')>('@resvg/resvg-js', purpose);
  const { JSDOM } = await optionalPackage<{ JSDOM: new (html: string, options: object) => { window: PlotWindow } }>('jsdom', purpose);
  const fonts = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf', 'DejaVuSans-Oblique.ttf'].map((name) =>
    join(packageFolder('dejavu-fonts-ttf', purpose), 'ttf', name),
  );
  const font = { loadSystemFonts: false, fontFiles: fonts, defaultFontFamily: 'DejaVu Sans', sansSerifFamily: 'DejaVu Sans' };
  const { window } = new JSDOM('<!doctype html><body></body>', { runScripts: 'outside-only' });
  layOutText(window, (svg) => new Resvg(svg, { font }).getBBox()?.width ?? 0);
  window.URL.createObjectURL = () => '';
  window.HTMLCanvasElement.prototype.getContext = () => null;
  window.eval(readFileSync(join(packageFolder('plotly.js-dist-min', purpose), 'plotly.min.js'), 'utf8'));
  window.HTMLCanvasElement.prototype.getContext = () => {
    throw new Error(
      'A still picture holds SVG traces only (scatter, bar, box, ...): heatmap, image and WebGL traces need a canvas, and there is none.',
    );
  };
  // plotly.js asks for it where it breaks a table's cells into lines, by the heights of rectangles, which have none here.
  Object.defineProperty(window.SVGElement.prototype, 'transform', {
    get() {
      throw new Error(
        'A still picture holds a table trace only where no cell needs a second line or holds markup: show its rows with table().',
      );
    },
  });
  return {
    async draw({ data, layout }) {
      const place = window.document.createElement('div');
      window.document.body.appendChild(place);
      try {
        // Plotly writes into what it is given, and wants objects of its own window.
        const own = window.eval(`(${JSON.stringify({ data, layout })})`);
        await window.Plotly.newPlot(place, own.data, own.layout, { ...PLOTLY_CONFIG, staticPlot: true });
        const { width, height } = layout;
        const url = await window.Plotly.toImage(place, { format: 'svg', width, height });
        return decodeURIComponent(url.slice(url.indexOf(',') + 1));
      } finally {
        window.Plotly.purge(place);
        place.remove();
      }
    },
    render: (svg, scale) => new Resvg(svg, { font, fitTo: { mode: 'zoom', value: scale } }).render().asPng(),
  };
}

/** As much of a jsdom window as is used here (the project has no DOM types). */
interface PlotWindow extends MeasuredWindow {
  eval(code: string): { data: unknown; layout: unknown };
  readonly document: { createElement(name: string): { remove(): void }; readonly body: { appendChild(element: object): void } };
  readonly Plotly: {
    newPlot(place: object, data: unknown, layout: unknown, config: object): Promise<unknown>;
    toImage(place: object, options: object): Promise<string>;
    purge(place: object): void;
  };
  readonly URL: { createObjectURL: () => string };
  readonly HTMLCanvasElement: { readonly prototype: { getContext: () => null } };
}
