/**
 * Plotly figures as PNG, without a browser: plotly.js draws SVG under jsdom, resvg turns it into pixels.
 *
 * plotly.js measures text through the browser's layout, which jsdom has none of: resvg measures instead, with the same font that draws. The
 * font is DejaVu Sans from npm, so that a picture is the same on every machine, also on one without any font. 2-D SVG traces only: no WebGL.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Figure } from './figure.js';
import { optionalPackage } from './optional-package.js';

export interface PngOptions {
  /** Pixels of the picture a CSS pixel of the layout; default 2, sharp on today's screens. */
  readonly scale?: number;
}

/** The figure as a PNG file's bytes. The first call loads plotly.js (about 3 s), later ones take about 0.3 s. */
export async function figurePng(figure: Figure, { scale = 2 }: PngOptions = {}): Promise<Uint8Array> {
  drawing ??= startDrawing().catch((error) => {
    drawing = undefined;
    throw error;
  });
  const { draw, render } = await drawing;
  return render(await draw(figure), scale);
}

interface Drawing {
  draw(figure: Figure): Promise<string>;
  render(svg: string, scale: number): Uint8Array;
}

let drawing: Promise<Drawing> | undefined;

async function startDrawing(): Promise<Drawing> {
  const purpose = 'Drawing a plot';
  const { Resvg } = await optionalPackage<typeof import('@resvg/resvg-js')>('@resvg/resvg-js', purpose);
  const { JSDOM } = await optionalPackage<{ JSDOM: new (html: string, options: object) => { window: PlotWindow } }>('jsdom', purpose);
  const fonts = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf', 'DejaVuSans-Oblique.ttf'].map((name) =>
    join(packageFolder('dejavu-fonts-ttf', purpose), 'ttf', name),
  );
  const font = { loadSystemFonts: false, fontFiles: fonts, defaultFontFamily: 'DejaVu Sans', sansSerifFamily: 'DejaVu Sans' };
  const { window } = new JSDOM('<!doctype html><body></body>', { runScripts: 'outside-only' });
  measureText(window, (svg) => new Resvg(svg, { font }).getBBox()?.width ?? 0);
  window.URL.createObjectURL = () => '';
  window.HTMLCanvasElement.prototype.getContext = () => null;
  window.eval(readFileSync(join(packageFolder('plotly.js-dist-min', purpose), 'plotly.min.js'), 'utf8'));
  return {
    async draw({ data, layout }) {
      const place = window.document.createElement('div');
      window.document.body.appendChild(place);
      try {
        // Plotly writes into what it is given, and wants objects of its own window.
        const own = window.eval(`(${JSON.stringify({ data, layout })})`);
        await window.Plotly.newPlot(place, own.data, own.layout, { staticPlot: true });
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
interface PlotWindow {
  eval(code: string): { data: unknown; layout: unknown };
  readonly document: {
    createElement(name: string): PlotElement & { remove(): void };
    readonly body: { appendChild(element: object): void };
  };
  readonly Plotly: {
    newPlot(place: object, data: unknown, layout: unknown, config: object): Promise<unknown>;
    toImage(place: object, options: object): Promise<string>;
    purge(place: object): void;
  };
  readonly URL: { createObjectURL: () => string };
  readonly HTMLCanvasElement: { readonly prototype: { getContext: () => null } };
  readonly Element: { readonly prototype: { getBoundingClientRect: (this: PlotElement) => Box } };
  readonly SVGElement: {
    readonly prototype: {
      getBBox: (this: PlotElement) => Box;
      getComputedTextLength: (this: PlotElement) => number;
      getScreenCTM: () => object;
    };
  };
}

interface PlotElement {
  readonly tagName: string;
  readonly textContent: string | null;
  readonly parentNode: PlotElement | null;
  getAttribute?(name: string): string | null;
  querySelectorAll(selector: string): ArrayLike<PlotElement>;
}

type Box = ReturnType<typeof box>;

/** Gives text its size. Lines are `tspan.line`; the font is inherited from `style`; a rotated text takes the box around it. */
function measureText(window: PlotWindow, inkWidth: (svg: string) => number): void {
  const known = new Map<string, number>();
  const width = (text: string, weight: string) => {
    const key = `${weight} ${text}`;
    let value = known.get(key);
    if (value === undefined) {
      // Between two letters, because ink ends where a space begins.
      const svg = (content: string) =>
        `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text xml:space="preserve" font-family="DejaVu Sans" font-weight="${weight}" font-size="100">${content}</text></svg>`;
      const escaped = text.replace(/[&<]/g, (char) => `&#${char.charCodeAt(0)};`);
      value = (inkWidth(svg(`x${escaped}x`)) - inkWidth(svg('xx'))) / 100;
      known.set(key, value);
    }
    return value;
  };
  const measure = (element: PlotElement, rotated: boolean): Box => {
    const texts = element.tagName === 'text' ? [element] : Array.from(element.querySelectorAll('text'));
    if (texts.length === 0 && element.tagName === 'tspan') texts.push(element);
    const boxes = texts.map((text) => {
      const size = Number.parseFloat(inherited(text, 'font-size') ?? '12');
      const weight = inherited(text, 'font-weight') ?? 'normal';
      const found = Array.from(text.querySelectorAll('tspan.line'));
      const lines = found.length ? found : [text];
      const w = Math.max(...lines.map((line) => width(line.textContent ?? '', weight) * size));
      const h = size * 1.3 * lines.length;
      const angle = rotated
        ? (Number.parseFloat(/rotate\(\s*(-?[\d.]+)/.exec(text.getAttribute?.('transform') ?? '')?.[1] ?? '0') * Math.PI) / 180
        : 0;
      const across = Math.abs(w * Math.cos(angle)) + Math.abs(h * Math.sin(angle));
      const down = Math.abs(w * Math.sin(angle)) + Math.abs(h * Math.cos(angle));
      const anchor = text.getAttribute?.('text-anchor');
      return box(anchor === 'middle' ? -across / 2 : anchor === 'end' ? -across : 0, -size, across, down);
    });
    if (boxes.length === 0) return box(0, 0, 0, 0);
    const left = Math.min(...boxes.map(({ x }) => x));
    return box(
      left,
      Math.min(...boxes.map(({ y }) => y)),
      Math.max(...boxes.map(({ right }) => right)) - left,
      Math.max(...boxes.map(({ height }) => height)),
    );
  };
  window.SVGElement.prototype.getBBox = function () {
    return measure(this, false);
  };
  window.Element.prototype.getBoundingClientRect = function () {
    return measure(this, true);
  };
  window.SVGElement.prototype.getComputedTextLength = function () {
    return measure(this, false).width;
  };
  window.SVGElement.prototype.getScreenCTM = () => ({ a: 1, b: 0, c: 0, d: 1, e: 0, f: 0, inverse: () => ({}) });
}

const box = (x: number, y: number, width: number, height: number) => ({
  x,
  y,
  width,
  height,
  left: x,
  top: y,
  right: x + width,
  bottom: y + height,
});

function inherited(element: PlotElement, property: string): string | undefined {
  for (let at: PlotElement | null = element; at; at = at.parentNode) {
    const value = new RegExp(`(?:^|[;\\s])${property}:\\s*([^;]+)`).exec(at.getAttribute?.('style') ?? '')?.[1];
    if (value) return value;
  }
  return undefined;
}

/** Where a package without an entry point of its own lies: beside this package, or in the project that runs. */
function packageFolder(name: string, purpose: string): string {
  const roots = typeof __dirname === 'string' ? [__dirname, process.cwd()] : [process.cwd()];
  for (const root of roots) {
    try {
      return dirname(createRequire(join(root, 'noop.js')).resolve(`${name}/package.json`));
    } catch {
      // Looked for in the next place.
    }
  }
  throw new Error(`${purpose} needs the package "${name}", which is not installed. Run "npm install ${name}" in your project.`);
}
